//! The first step of reconcile: everything that a spec names, and every child, as far as it is known.
//!
//! Reads only. Of a Secret nothing leaves this step but whether a key is there, and what a certificate of ours says.

mod cache;
mod inspection;
mod model;
mod provider;
mod secret;

use crate::certificates::LeafFacts;

pub use cache::{Cache, LookError, Sources, cache};
pub use model::{Model, model};
pub use provider::{Provider, provider};
pub use secret::{Presence, SecretError, Secrets};

/// The certificate of a resource's pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// There are no pods, and none are asked for.
    NotNeeded,
    /// What is there.
    Needed(Option<LeafFacts>),
    /// Secrets of the namespace are not the operator's to read.
    Forbidden,
}

impl Certificate {
    /// The same, if there are pods or will be.
    pub fn in_use(&self, pods: bool) -> &Self {
        if pods { self } else { &Self::NotNeeded }
    }
}
