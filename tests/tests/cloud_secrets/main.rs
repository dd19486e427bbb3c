//! The canary of the clouds' keys. A binary of its own: what is logged is looked at, and other tests log at the same time.
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

#[path = "../clouds/bed.rs"]
#[allow(dead_code, reason = "the rest is for the tests that it is shared with")]
mod bed;
mod secrets;
