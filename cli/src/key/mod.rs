//! `weighbridge key`: API keys, and what a cluster may know of them.
//!
//! A key is made here, shown once and kept nowhere; a ModelAccess holds what it hashes to. Lives here: making, hashing
//! and writing. May not live here: what a key may do, which is the gateway's.

mod create;
mod expiry;
mod hash;

pub use create::{CreateError, create};
pub use hash::{HashError, hash};
