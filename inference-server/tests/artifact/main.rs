//! Model sources against files on disk and against a hub that misbehaves. No test waits for time to pass.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed helper is a failed test

mod beginning;
mod buckets;
mod held;
mod hub;
mod local;
mod mischief;
mod parts;
mod program;
mod refusals;
mod registry;
mod signatures;
mod web;
mod world;
