use jiff::Timestamp;
use weighbridge_crds::condition::{self, Reason};
use weighbridge_crds::{CacheClaimStatus, CacheEntry, EntryState, ModelCache, ModelCacheStatus};

use super::conditions::{Says, merge, ours};
use crate::plan::CachePlan;
use crate::validate::{Refusal, ValidatedCache, gigabytes};

/// How far reconcile came with a ModelCache.
pub enum CacheOutcome {
    /// The spec can't be served, or a child can't be made.
    Refused(Refusal),
    /// Everything planned is so.
    Applied {
        /// What was planned for.
        valid: Box<ValidatedCache>,
        /// What was planned.
        plan: Box<CachePlan>,
        /// UID of the claim; none where there is none.
        claim: Option<String>,
    },
}

/// The status that `cache` should have.
pub fn cache(cache: &ModelCache, outcome: &CacheOutcome, now: Timestamp) -> ModelCacheStatus {
    let old = cache.status.clone().unwrap_or_default();
    let generation = cache.metadata.generation.unwrap_or_default();
    let (says, claim, entries) = match outcome {
        // What is held is still there.
        CacheOutcome::Refused(refusal) => {
            let accepted = Says::no(condition::ACCEPTED, refusal.reason, refusal.message.clone());
            let ready = accepted.as_type(condition::READY);
            (vec![accepted, ready], old.claim.clone(), old.entries.clone())
        }
        CacheOutcome::Applied { valid, plan, claim } => {
            let claim = claim
                .as_ref()
                .map(|uid| CacheClaimStatus { name: valid.claim.name().to_owned(), uid: uid.clone() });
            (applied(valid, plan), claim, plan.entries.clone())
        }
    };
    ModelCacheStatus {
        observed_generation: Some(generation),
        conditions: merge(&ours(&old.conditions), says, generation, now),
        claim,
        bytes: held_bytes(&entries),
        entries,
    }
}

/// Bytes of what is whole.
pub fn held_bytes(entries: &[CacheEntry]) -> i64 {
    let whole = entries.iter().filter(|entry| is_whole(entry));
    whole.map(|entry| entry.bytes).fold(0, i64::saturating_add)
}

fn is_whole(entry: &CacheEntry) -> bool {
    match entry.state {
        EntryState::Held | EntryState::Evicting => true,
        EntryState::Refused | EntryState::Waiting | EntryState::Fetching | EntryState::Failed => false,
    }
}

/// Without a number that moves by itself: those are in the entries.
fn applied(valid: &ValidatedCache, plan: &CachePlan) -> Vec<Says> {
    let accepted = Says::yes(condition::ACCEPTED, Reason::Valid, "the spec is valid");
    let artifact = match &plan.trouble {
        Some(why) => Says::no(condition::ARTIFACT_READY, why.reason, why.message.clone()),
        None => artifact(valid, plan),
    };
    let ready = artifact.as_type(condition::READY);
    vec![accepted, artifact, ready]
}

fn artifact(valid: &ValidatedCache, plan: &CachePlan) -> Says {
    let wanted: Vec<_> = plan.entries.iter().filter(|entry| plan.wanted.contains(&entry.name)).collect();
    let held = wanted.iter().filter(|entry| entry.state == EntryState::Held).count();
    let count = format!("{held} of {} that are asked for are held", wanted.len());
    // What people must mend is told before what takes its time.
    let rank = |entry: &CacheEntry| match (entry.state, &entry.reason) {
        (EntryState::Refused, _) => 0,
        (EntryState::Failed, _) => 1,
        (EntryState::Fetching, Some(_)) => 2,
        (EntryState::Fetching, None) => 3,
        (EntryState::Waiting | EntryState::Evicting, _) => 4,
        (EntryState::Held, _) => 5,
    };
    let first = wanted.iter().filter(|entry| entry.state != EntryState::Held).min_by_key(|entry| rank(entry));
    let Some(first) = first else {
        let room = too_much(valid, &plan.entries).unwrap_or_default();
        return Says::yes(condition::ARTIFACT_READY, Reason::ArtifactHeld, format!("{count}{room}"));
    };
    let words = match (first.state, &first.message) {
        (EntryState::Fetching, None) => "is being fetched".to_owned(),
        (EntryState::Evicting, None) => "goes, to be fetched anew".to_owned(),
        (_, Some(message)) => format!("is not: {message}"),
        (EntryState::Refused | EntryState::Waiting | EntryState::Failed | EntryState::Held, None) => {
            "is to be fetched".to_owned()
        }
    };
    let reason = first.reason.as_deref().and_then(Reason::named).unwrap_or(Reason::Progressing);
    Says::no(condition::ARTIFACT_READY, reason, format!("{count}; {} {words}", first.source))
}

/// What is said where more is held than may be, though nothing of it may go.
fn too_much(valid: &ValidatedCache, entries: &[CacheEntry]) -> Option<String> {
    let most = valid.max_bytes?;
    let held = held_bytes(entries);
    let goes = entries.iter().any(|entry| entry.state == EntryState::Evicting);
    (u64::try_from(held).unwrap_or_default() > most && !goes).then(|| {
        format!("; {} are held, which is more than maxSize, and all of it is needed", gigabytes(held))
    })
}
