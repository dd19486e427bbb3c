//! The directory's source in a cluster: watches, the facts they bring, and entries made of them.
//!
//! Only `watch` has a client. `facts` and `assemble` are pure, so that lost, doubled and malformed objects
//! can be tested without a cluster.

mod absence;
mod assemble;
mod facts;
mod watch;

pub(crate) use facts::Known;
pub(crate) use watch::changes;
pub use watch::follow;
