//! The `weighbridge` command as a person meets it: a process, its output and its exit code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed helper is a failed test

mod access;
mod adapters;
mod bad_input;
mod chat;
mod drain;
mod external;
mod families;
mod hub;
mod official_client;
mod plan;
mod process;
mod promote;
mod provider;
mod rollback;
mod synth;
mod tls;
mod up;
