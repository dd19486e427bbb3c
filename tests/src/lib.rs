//! Everything that needs more than one crate: the testbed, real clients, benchmarks.

pub mod testbed;
