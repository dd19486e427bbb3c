//! The CPU backend on synthetic models, step by step, below the scheduler.
#![allow(clippy::unwrap_used, clippy::panic)] // A model that cannot be made fails the test.

mod invariance;
mod kv_kinds;
mod support;
