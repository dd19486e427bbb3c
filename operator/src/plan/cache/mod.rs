//! What a ModelCache's claim is to hold: which Jobs fetch, which make room, and what its entries are by then.
//!
//! `entries` says what becomes of each source, `room` what goes, `job` how a Job looks, `network` whom it may call.

mod entries;
mod job;
mod network;
mod room;

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use weighbridge_crds::CacheEntry;
use weighbridge_crds::condition::Reason;

use super::{CacheChildren, ChildKind, Decision, Guard, Images, Prepared, Removal, names};
use crate::validate::{ClaimAsked, Refusal, ValidatedCache};

pub use entries::backoff;
pub(super) use job::store_folder;

/// What exists of a ModelCache.
#[derive(Clone, Debug, Default)]
pub struct ObservedCache {
    /// Claims that were made for it.
    pub claims: Vec<Arc<PersistentVolumeClaim>>,
    /// The claim that its spec means, whoever made it.
    pub claim: Option<ClaimSeen>,
    /// Its NetworkPolicies.
    pub network_policies: Vec<Arc<NetworkPolicy>>,
    /// Its Jobs.
    pub jobs: Vec<JobSeen>,
    /// Models with pods that read an entry, by the entry's name.
    pub used: BTreeMap<String, BTreeSet<String>>,
    /// Entries as its status has them, as far as they are of this claim.
    pub recorded: Vec<CacheEntry>,
}

/// A claim as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimSeen {
    /// Its UID.
    pub uid: String,
    /// Why nothing can be put on it, where so much is known.
    pub trouble: Option<String>,
}

/// A Job of a ModelCache.
#[derive(Clone, Debug, PartialEq)]
pub struct JobSeen {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// What it does.
    pub work: Work,
    /// Stands for its pod template.
    pub made_from: String,
    /// How far it is.
    pub state: JobState,
}

/// What a Job does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// It fetches.
    Fetch {
        /// The entry.
        entry: String,
        /// Its source.
        source: String,
        /// Its revision, where one is named.
        revision: Option<String>,
        /// Jobs before it that failed in a row.
        failures: i32,
    },
    /// It makes room.
    Evict {
        /// The entries that are to go.
        entries: Vec<String>,
    },
}

/// How far a Job is.
#[derive(Clone, Debug, PartialEq)]
pub enum JobState {
    /// It is on its way out.
    Going,
    /// Its pod is made, or runs.
    Running {
        /// Bytes that are there, and in all, and how many come in a second, where it says so.
        progress: Option<Progress>,
        /// What stands in its way, for now.
        trouble: Option<Refusal>,
    },
    /// It fetched what it was to.
    Fetched {
        /// Digest of the bytes; several files have none.
        digest: Option<String>,
        /// How many there are.
        bytes: u64,
    },
    /// It made room.
    Evicted {
        /// Entries that somebody reads.
        kept: Vec<String>,
    },
    /// It ended well, and what it said is not known.
    Ended,
    /// It was tried as often as it may be.
    Failed {
        /// When it was given up.
        at: Timestamp,
        /// Why the last try failed.
        why: Refusal,
    },
}

/// How far a fetch is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are there.
    pub bytes: u64,
    /// Bytes in all, once they are known.
    pub total: Option<u64>,
    /// How many come in a second.
    pub per_second: Option<u64>,
}

/// What should exist for a ModelCache, what should go, what its entries are, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct CachePlan {
    /// What should exist and stay.
    pub children: CacheChildren<Prepared>,
    /// Jobs that are to be there, made once and never changed.
    pub jobs: Vec<Job>,
    /// What should go.
    pub removals: Vec<Removal>,
    /// What the status is to say of each entry, in the order of their sources.
    pub entries: Vec<CacheEntry>,
    /// Names of the entries that are to be held.
    pub wanted: BTreeSet<String>,
    /// Why nothing can be held now.
    pub trouble: Option<Refusal>,
    /// When to look again at the latest, though nothing was seen to change.
    pub look_again: Option<Timestamp>,
    /// Each decision with its reason.
    pub decisions: Vec<Decision>,
}

/// What is being decided.
struct Drafted<'a> {
    valid: &'a ValidatedCache,
    observed: &'a ObservedCache,
    images: &'a Images,
    now: Timestamp,
    plan: CachePlan,
}

/// Decides what should exist for a cache at the time `now`.
///
/// Guarantees: each entry has one Job at most. What a pod uses, or somebody asks for, does not go. An entry that is to go is told
/// in the status first, and looked at again, before a Job takes it out. A Job whose word the status does not have yet stays.
pub fn cache(valid: &ValidatedCache, observed: &ObservedCache, images: &Images, now: Timestamp) -> CachePlan {
    let mut decisions = vec![Decision::new(
        format!("weights are kept on claim {}", valid.claim.name()),
        match &valid.claim {
            ClaimAsked::Named(_) => "claim.name names it; it outlives the cache",
            ClaimAsked::Made { .. } => "claim.size asks for it; it goes with the cache, once no pod uses it",
        },
    )];
    let network_policy = network::policy(valid, images, &mut decisions);
    let children = CacheChildren { claim: claim(valid), network_policy, state: PhantomData };
    let mut draft = Drafted {
        valid,
        observed,
        images,
        now,
        plan: CachePlan {
            children,
            jobs: Vec::new(),
            removals: Vec::new(),
            entries: Vec::new(),
            wanted: valid.wanted.iter().map(|wanted| wanted.entry.clone()).collect(),
            trouble: trouble(valid, observed),
            look_again: None,
            decisions,
        },
    };
    entries::decide(&mut draft);
    room::decide(&mut draft);
    draft.plan.entries.sort_by(|one, other| (&one.source, &one.name).cmp(&(&other.source, &other.name)));
    draft.plan
}

impl Drafted<'_> {
    fn decided(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.plan.decisions.push(Decision::new(what, why));
    }

    fn remove(&mut self, job: &JobSeen, why: &str) {
        if job.state != JobState::Going {
            self.plan.removals.push(Removal {
                kind: ChildKind::Job,
                name: job.name.clone(),
                uid: job.uid.clone(),
                guard: Guard::SpecOnly,
                why: why.to_owned(),
            });
        }
    }

    /// Has a look come at `time`, if none comes before.
    fn look_again(&mut self, time: Timestamp) {
        self.plan.look_again = Some(self.plan.look_again.map_or(time, |other| other.min(time)));
    }

    fn recorded(&self, entry: &str) -> Option<&CacheEntry> {
        self.observed.recorded.iter().find(|recorded| recorded.name == entry)
    }

    fn used_by(&self, entry: &str) -> Vec<String> {
        self.observed.used.get(entry).into_iter().flatten().cloned().collect()
    }

    fn is_needed(&self, entry: &str) -> bool {
        self.plan.wanted.contains(entry) || self.observed.used.contains_key(entry)
    }
}

/// When a wait of `after` that began at `since` is over.
fn over(since: Timestamp, after: Duration) -> Timestamp {
    since.checked_add(after).unwrap_or(since)
}

/// Why nothing can be put on the claim.
fn trouble(valid: &ValidatedCache, observed: &ObservedCache) -> Option<Refusal> {
    let name = valid.claim.name();
    let words = match (&valid.claim, &observed.claim) {
        (_, Some(ClaimSeen { trouble: Some(words), uid: _ })) => format!("claim {name} {words}"),
        (ClaimAsked::Named(_), None) => format!(
            "claim.name names PersistentVolumeClaim {name:?}, which does not exist in this namespace: create it, or set \
             claim.size in its place to have one made"
        ),
        (ClaimAsked::Made { .. }, None) | (_, Some(ClaimSeen { trouble: None, uid: _ })) => return None,
    };
    Some(Refusal::new(Reason::ClaimNotReady, words))
}

fn claim(valid: &ValidatedCache) -> Option<PersistentVolumeClaim> {
    let ClaimAsked::Made { name, size, storage_class, access_modes } = &valid.claim else { return None };
    let owner = &valid.owner;
    Some(PersistentVolumeClaim {
        metadata: names::child(owner, name.clone(), names::cache_labels(owner, "cache")),
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(access_modes.iter().map(|mode| mode.as_str().to_owned()).collect()),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), size.clone())].into()),
                limits: None,
            }),
            storage_class_name: storage_class.clone(),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    })
}
