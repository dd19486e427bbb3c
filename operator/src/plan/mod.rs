//! The third step of reconcile: what should exist, and why.
//!
//! Pure: (validated resource, observed children) to desired children, each decision with its reason in words.
//! No client, no clock, no randomness: the same facts give the same bytes. Where time decides, it is one of the facts. What goes is decided here too;
//! `apply` only carries out.

mod added;
mod bounds;
mod cache;
mod canary;
pub mod certificate;
mod claims;
mod engine_pod;
mod fetching;
mod history;
mod images;
mod inspection;
mod model;
pub(crate) mod names;
mod network_policy;
mod offline;
mod pod;
mod provider;
mod proxy_pod;
pub mod restricted;
mod revision;
mod rollout;
mod service;
mod trial;

use std::marker::PhantomData;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;

use crate::validate::ProfileSeen;

pub use bounds::{Bounds, DEFAULT_BODY_BYTES};
pub use cache::{CachePlan, ClaimSeen, JobSeen, JobState, ObservedCache, Progress, Work, backoff, cache};
pub use canary::{Judged, Verdict, judge, set_aside};
pub use claims::named_templates;
pub use engine_pod::of_gpus;
pub use fetching::Proxies;
pub use images::{Images, PullPolicy};
pub use inspection::{Inspection, InspectionState};
pub use model::{ModelPlan, ObservedModel, model, refused, suspended};
pub use names::MANAGED_BY_KEY;
pub use offline::{Look, OfflineError, Planned, plan_offline, validate_local};
pub use provider::{ObservedProvider, ProviderPlan, provider};
pub use revision::Revision;
pub use rollout::OldPods;

/// One decision of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What was decided.
    pub what: String,
    /// Why.
    pub why: String,
}

impl Decision {
    fn new(what: impl Into<String>, why: impl Into<String>) -> Self {
        Decision { what: what.into(), why: why.into() }
    }
}

/// Children as planned: nothing is known to exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepared {}

/// Children as the server echoed them. Only `apply` makes this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {}

/// Children of a ModelDeployment. Both are absent where a closed API answers.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelChildren<State> {
    /// Pods of the current revision; absent too while it waits for those of an old one to go, and where its trial was aborted.
    pub deployment: Option<Deployment>,
    /// Pods of the revision that runs, while the current one is on trial beside it.
    pub stable: Option<Box<Deployment>>,
    /// The address in front of the pods of every revision.
    pub service: Option<Service>,
    pub(crate) state: PhantomData<State>,
}

/// Children of an ExternalProvider.
#[derive(Clone, Debug, PartialEq)]
pub struct ProviderChildren<State> {
    /// Who may call the proxy, and whom it may call.
    pub network_policy: NetworkPolicy,
    /// The address of the proxy.
    pub service: Service,
    /// The proxy, the only pod that holds the keys.
    pub deployment: Deployment,
    pub(crate) state: PhantomData<State>,
}

/// Children of a ModelCache that stay.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheChildren<State> {
    /// The claim, where it is to be made.
    pub claim: Option<PersistentVolumeClaim>,
    /// Whom its Jobs may call.
    pub network_policy: NetworkPolicy,
    pub(crate) state: PhantomData<State>,
}

/// Kinds of children.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChildKind {
    /// `apps/v1` Deployment.
    Deployment,
    /// `v1` Service.
    Service,
    /// `networking.k8s.io/v1` NetworkPolicy.
    NetworkPolicy,
    /// `apps/v1` ControllerRevision: the record of a past revision.
    ControllerRevision,
    /// `v1` Pod, of its own: those of Deployments are theirs.
    Pod,
    /// `batch/v1` Job.
    Job,
}

/// A child that is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Its kind.
    pub kind: ChildKind,
    /// Its name.
    pub name: String,
    /// Its UID: a child of the same name made later is not meant.
    pub uid: String,
    /// What must still hold on the server at the moment of deletion.
    pub guard: Guard,
    /// Why it goes.
    pub why: String,
}

/// A fact that a deletion leans on. `apply` reads it from the server, never from a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Nothing but the parent's spec.
    SpecOnly,
    /// The ResourceProfile that decided it is as it was seen.
    ProfileUnchanged(ProfileSeen),
    /// The child itself has no ready pod, so that nothing is lost.
    NothingReady,
    /// The named Deployment has this many ready pods of its current template.
    ReplacedBy {
        /// Name of the Deployment that takes over.
        name: String,
        /// Ready pods that it must have.
        ready: i32,
    },
}

/// Whether `deployment` runs `wanted` ready pods of its current template, as far as its status speaks of its spec.
pub fn has_ready(deployment: &Deployment, wanted: i32) -> bool {
    let Some(status) = &deployment.status else { return wanted <= 0 };
    let current = status.observed_generation >= deployment.metadata.generation;
    let updated = status.updated_replicas.unwrap_or_default();
    current && status.ready_replicas.unwrap_or_default().min(updated) >= wanted
}

/// Whether any pod of `deployment` is ready, whatever its template.
pub fn answers(deployment: &Deployment) -> bool {
    deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or_default() > 0
}
