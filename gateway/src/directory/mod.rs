//! What models exist and where they answer.
//!
//! A snapshot is immutable and swapped whole, so a request sees one state and readers never wait. Sources:
//! the cluster ([`cluster`]) or a list given by the caller ([`Directory::from_entries`]). Nothing here
//! talks to an upstream.

mod absence;
pub mod cluster;
mod kind;
mod metrics;
mod snapshot;
mod target;
mod trial;

pub use absence::Absence;
pub use kind::{data_policy, kind, place};
pub use snapshot::Directory;
pub(crate) use snapshot::{Changes, Snapshot};
pub(crate) use target::{Deployment, Endpoint, Lease, Target};
pub use target::{ENGINE, Entry, EntryEndpoint, Seen, World};
pub use trial::Split;
pub(crate) use trial::{Counts, Side};
