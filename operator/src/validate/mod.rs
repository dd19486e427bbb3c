//! The second step of reconcile: spec and what it names, to types that carry the proof.
//!
//! Pure: knows no client and no clock. Nothing after this step looks at a spec again.

mod cache;
mod fitting;
mod hardware;
mod model;
mod pod_template;
mod provider;
mod provider_place;
mod references;
mod rollout;
mod weights;

pub use cache::{
    Availability, CacheSeen, ClaimAsked, Fetched, Held, HeldEntry, Located, ValidatedCache, Wanted,
    as_weights, asks, cache, gigabytes,
};
pub use fitting::Fitting;
pub use hardware::{CountedBy, GPU_PRODUCT_LABEL, Hardware};
pub use model::{Closed, Open, ProfileSeen, Served, ValidatedModel, model};
pub use pod_template::{
    AddedContainer, AddedMetadata, AddedSpec, CONFINING_ANNOTATIONS, ENGINE_CONTAINER, PodTemplate, confines,
};
pub use provider::{BaseUrl, ProviderKey, ValidatedProvider, provider};
pub use provider_place::ProviderPlace;
pub use references::{
    Asker, CacheAsked, CacheReferences, Header, KeyLookup, ModelReferences, Named, ProviderReferences, Right,
};
pub use rollout::Strategy;
pub use weights::{AdapterPlace, HubFile, ImageFile, OpenAdapter, StoredFile, Weights};

use weighbridge_crds::condition::Reason;

/// Why a spec can't be served, in a condition's terms.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The condition's reason.
    pub reason: Reason,
    /// Names the field and the fix.
    pub message: String,
}

impl Refusal {
    /// A refusal for `reason`, said in words.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Refusal { reason, message: message.into() }
    }

    fn invalid(message: impl Into<String>) -> Self {
        Refusal::new(Reason::InvalidSpec, message)
    }
}

/// Where a model is to be served. Each place refuses what it can't enforce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Pods of a cluster.
    Cluster,
    /// One process on this machine: `weighbridge up`.
    Machine,
}
