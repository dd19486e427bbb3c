//! What models exist and where they answer.
//!
//! A snapshot is immutable and swapped whole, so a request sees one state and readers never wait. Sources:
//! the cluster ([`cluster`]) or a list given by the caller ([`Directory::from_entries`]). Nothing here
//! talks to an upstream.

pub mod cluster;
mod kind;
mod metrics;
mod snapshot;
mod target;

pub use kind::{data_policy, kind};
pub use snapshot::Directory;
pub use target::{ENGINE, Entry, EntryEndpoint, World};
pub(crate) use target::{Endpoint, Lease, Target};
