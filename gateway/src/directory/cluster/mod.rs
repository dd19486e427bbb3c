//! The directory's source in a cluster: watches, the facts they bring, and entries made of them.
//!
//! Only `watch` has a client. `facts` and `assemble` are pure, so that lost, doubled and malformed objects
//! can be tested without a cluster.

mod assemble;
mod facts;
mod watch;

pub use watch::follow;
