//! What the operator knows of the cluster: one narrowed watch a kind, one store a kind.
//!
//! A store is a view that may be old. Reading it decides that there may be something to do, never what is
//! written. One object that can't be read is counted, named in the log, told by an Event on it where it is of a kind of
//! ours, and left out; the rest goes on.

mod gather;
mod index;
mod prune;
mod stores;
mod triggers;
mod unreadable;
mod watcher;

pub use gather::{Look, gathered};
pub use index::{Index, Parent, ParentKind};
pub use stores::{Scope, Stores};
pub use triggers::{Queues, Triggers};
pub use unreadable::Unreadable;
pub(crate) use watcher::events;
