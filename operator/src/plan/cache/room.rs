use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use std::time::Duration;

use weighbridge_crds::{CacheEntry, EntryState, labels};

use super::entries::{troubled, without_words};
use super::job::{self, Store};
use super::{Drafted, JobSeen, JobState, Work, over};

/// After a Job that could not make room, and for an entry that was found to be read though no pod is known to.
const WAIT: Duration = Duration::from_secs(300);
/// What an entry says that was to go and was read.
const READ: &str = "it was to go, and somebody reads it";

/// What goes, so that no more is held than may be. What is to go is marked first; one Job at a time takes out what was marked
/// before, and is still not needed.
pub(super) fn decide(draft: &mut Drafted<'_>) {
    let observed = draft.observed;
    let evicts = |job: &&JobSeen| matches!(job.work, Work::Evict { .. });
    match observed.jobs.iter().find(evicts) {
        Some(job) => under_way(draft, job),
        None => {
            take_out(draft);
            mark(draft);
        }
    }
}

/// A Job makes room, or has.
fn under_way(draft: &mut Drafted<'_>, job: &JobSeen) {
    let Work::Evict { entries: asked } = &job.work else { return };
    let waits = |entry: &CacheEntry| entry.state == EntryState::Evicting && asked.contains(&entry.name);
    match &job.state {
        JobState::Going | JobState::Running { .. } => {}
        JobState::Evicted { kept } => {
            if !draft.observed.recorded.iter().any(waits) {
                draft.remove(job, "the status has what it took out");
                return;
            }
            let now = draft.now;
            let wanted = draft.plan.wanted.clone();
            draft.plan.entries.retain_mut(|entry| {
                if !waits(entry) {
                    return true;
                }
                if kept.contains(&entry.name) {
                    *entry = CacheEntry {
                        state: EntryState::Held,
                        message: Some(READ.to_owned()),
                        last_used: Some(MicroTime(now)),
                        ..without_words(entry.clone())
                    };
                    return true;
                }
                if wanted.contains(&entry.name) {
                    gone(entry);
                    return true;
                }
                false
            });
        }
        // What it took out is not known: what is needed is fetched anew, which finds what is there.
        JobState::Fetched { .. } | JobState::Ended => draft.remove(job, "it ended without a word"),
        JobState::Failed { at, why } => {
            let again = over(*at, WAIT);
            for entry in draft.plan.entries.iter_mut().filter(|entry| waits(entry)) {
                *entry = troubled(entry.clone(), EntryState::Evicting, why);
            }
            let told = draft
                .observed
                .recorded
                .iter()
                .filter(|entry| waits(entry))
                .all(|entry| entry.message.is_some());
            if told && draft.now >= again {
                draft.remove(job, "it failed, and is tried again");
            } else {
                draft.look_again(again);
            }
        }
    }
}

/// It is not there any more.
fn gone(entry: &mut CacheEntry) {
    *entry = CacheEntry {
        state: EntryState::Waiting,
        digest: None,
        bytes: 0,
        last_used: None,
        ..without_words(entry.clone())
    };
}

/// The Job for what was marked before. What is needed by now stays.
fn take_out(draft: &mut Drafted<'_>) {
    let mut going = Vec::new();
    let mut entries = std::mem::take(&mut draft.plan.entries);
    for entry in entries.iter_mut().filter(|entry| entry.state == EntryState::Evicting) {
        if !draft.is_needed(&entry.name) {
            going.push(entry.name.clone());
        } else if entry.message.is_some() {
            // A Job has failed halfway: fetching it anew finds what is there.
            gone(entry);
        } else {
            entry.state = EntryState::Held;
        }
    }
    draft.plan.entries = entries;
    if going.is_empty() {
        return;
    }
    let store = Store { owner: &draft.valid.owner, claim: draft.valid.claim.name() };
    let mut decisions = Vec::new();
    let known: Vec<&str> = draft.plan.entries.iter().map(|entry| entry.name.as_str()).collect();
    let job = job::evict(&store, &going, &known, draft.images, &mut decisions);
    draft.plan.decisions.append(&mut decisions);
    draft.decided(
        format!("Job {}", labels::evict_job(draft.valid.owner.name())),
        format!("it takes out what was used longest ago and nobody needs: {}", going.join(", ")),
    );
    draft.plan.jobs.push(job);
}

/// Marks what is to go: what was used longest ago first, until what is left fits.
fn mark(draft: &mut Drafted<'_>) {
    let Some(most) = draft.valid.max_bytes else { return };
    let size = |entry: &CacheEntry| {
        let there = entry.bytes.max(entry.total_bytes.unwrap_or_default());
        match entry.state {
            EntryState::Refused | EntryState::Evicting => 0,
            EntryState::Waiting | EntryState::Fetching | EntryState::Failed | EntryState::Held => {
                u64::try_from(there).unwrap_or_default()
            }
        }
    };
    let mut total: u64 = draft.plan.entries.iter().map(size).fold(0, u64::saturating_add);
    let mut may_go: Vec<_> = (0..draft.plan.entries.len())
        .filter(|at| {
            let entry = &draft.plan.entries[*at];
            entry.state == EntryState::Held && !draft.is_needed(&entry.name)
        })
        .collect();
    let key = |entry: &CacheEntry| (entry.last_used.as_ref().map(|time| time.0), entry.name.clone());
    may_go.sort_by_key(|at| key(&draft.plan.entries[*at]));
    for at in may_go {
        if total <= most {
            return;
        }
        let entry = &draft.plan.entries[at];
        let rests = entry.last_used.as_ref().filter(|_| entry.message.is_some());
        if let Some(until) = rests.map(|time| over(time.0, WAIT)).filter(|until| *until > draft.now) {
            draft.look_again(until);
            continue;
        }
        let (name, source) = (entry.name.clone(), entry.source.clone());
        total = total.saturating_sub(size(entry));
        draft.plan.entries[at] =
            CacheEntry { state: EntryState::Evicting, ..without_words(draft.plan.entries[at].clone()) };
        draft.decided(
            format!("entry {name}, {source}, is to go"),
            "more is held than maxSize, it was used longest ago, and nobody needs it",
        );
    }
}
