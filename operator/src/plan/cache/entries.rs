use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use weighbridge_crds::condition::Reason;
use weighbridge_crds::{CacheEntry, EntryState, labels};

use super::job::{self, Store};
use super::{Drafted, JobSeen, JobState, Progress, Work, over};
use crate::validate::{Refusal, Wanted};

/// Fetches at once for one cache: each takes several connections already, and more share the same line and disk.
const MOST_FETCHES: usize = 4;
/// After the first Job that was tried as often as it may be; doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(60);
/// The longest.
const LONGEST_WAIT: Duration = Duration::from_secs(1800);

/// How long the next Job waits after so many that failed in a row.
pub fn backoff(failures: i32) -> Duration {
    let doubled = u32::try_from(failures.saturating_sub(1)).unwrap_or_default();
    FIRST_WAIT.saturating_mul(2_u32.saturating_pow(doubled)).min(LONGEST_WAIT)
}

/// What becomes of each entry, but for what goes to make room.
pub(super) fn decide(draft: &mut Drafted<'_>) {
    let observed = draft.observed;
    let fetches = |job: &&JobSeen| matches!(job.work, Work::Fetch { .. });
    let is_over = |job: &JobSeen| matches!(job.state, JobState::Fetched { .. } | JobState::Ended);
    let mut free =
        MOST_FETCHES.saturating_sub(observed.jobs.iter().filter(fetches).filter(|job| !is_over(job)).count());
    for wanted in &draft.valid.wanted {
        let entry = asked_for(draft, wanted, &mut free);
        draft.plan.entries.push(entry);
    }
    for recorded in &observed.recorded {
        if !draft.plan.wanted.contains(&recorded.name) {
            no_longer(draft, recorded);
        }
    }
    for job in observed.jobs.iter().filter(fetches) {
        let Work::Fetch { entry, source, revision, failures: _ } = &job.work else { continue };
        if draft.plan.wanted.contains(entry) {
            continue;
        }
        match (&job.state, draft.recorded(entry).map(|recorded| recorded.state)) {
            (JobState::Fetched { .. }, Some(EntryState::Held)) => {
                draft.remove(job, "the status has what it fetched");
            }
            // It is there, and somebody must know of it, or it would never go.
            (JobState::Fetched { digest, bytes }, _) => {
                let mut entry = empty(entry, source, revision.as_ref(), EntryState::Held);
                held(draft, &mut entry, digest.as_ref(), *bytes);
                draft.plan.entries.retain(|other| other.name != entry.name);
                draft.plan.entries.push(entry);
            }
            (
                JobState::Going
                | JobState::Running { .. }
                | JobState::Evicted { .. }
                | JobState::Ended
                | JobState::Failed { .. },
                _,
            ) => draft.remove(job, "nobody asks for what it fetches any more"),
        }
    }
}

/// An entry that is to be held.
fn asked_for(draft: &mut Drafted<'_>, wanted: &Wanted, free: &mut usize) -> CacheEntry {
    let Wanted { entry: name, source, revision, located } = wanted;
    let observed = draft.observed;
    let of_it = |job: &&JobSeen| matches!(&job.work, Work::Fetch { entry, .. } if entry == name);
    let job = observed.jobs.iter().find(of_it);
    let recorded = draft.recorded(name).cloned();
    let mut entry =
        recorded.clone().unwrap_or_else(|| empty(name, source, revision.as_ref(), EntryState::Waiting));
    entry.used_by = draft.used_by(name);
    if let Some(job) = job
        && entry.state == EntryState::Held
    {
        draft.remove(job, "the status has what it fetched");
    }
    match entry.state {
        EntryState::Held => return used(draft, entry, recorded.as_ref()),
        // What goes has gone, or is looked at again, before anything else.
        EntryState::Evicting => return entry,
        EntryState::Refused | EntryState::Waiting | EntryState::Fetching | EntryState::Failed => {}
    }
    let located = match located {
        Ok(located) => located,
        Err(why) => {
            if let Some(job) = job {
                draft.remove(job, "what it fetches is refused now");
            }
            return troubled(entry, EntryState::Refused, why);
        }
    };
    let failures = entry.failures;
    let mut decisions = Vec::new();
    let store = Store { owner: &draft.valid.owner, claim: draft.valid.claim.name() };
    let asked = job::fetch(&store, name, located, failures, draft.images, &mut decisions);
    let Some(job) = job else {
        if let Some(why) = draft.plan.trouble.clone() {
            return troubled(entry, EntryState::Waiting, &why);
        }
        if *free == 0 {
            let words = format!("{MOST_FETCHES} others are fetched first");
            return troubled(entry, EntryState::Waiting, &Refusal::new(Reason::Progressing, words));
        }
        *free -= 1;
        draft.decided(
            format!("Job {}", labels::fetch_job(draft.valid.owner.name(), name)),
            format!("it fetches {source} into the cache, once for all who ask for it"),
        );
        draft.plan.decisions.append(&mut decisions);
        draft.plan.jobs.push(asked.job);
        entry.state = EntryState::Fetching;
        return without_words(entry);
    };
    let same = job.made_from == asked.made_from;
    match &job.state {
        JobState::Going => {
            entry.state = EntryState::Waiting;
            without_words(entry)
        }
        JobState::Fetched { digest, bytes } => {
            held(draft, &mut entry, digest.as_ref(), *bytes);
            entry
        }
        JobState::Ended | JobState::Evicted { .. } => {
            draft.remove(job, "it ended without a word");
            entry.state = EntryState::Waiting;
            without_words(entry)
        }
        JobState::Running { .. } | JobState::Failed { .. } if !same => {
            draft.remove(job, "it is asked for otherwise now");
            entry.state = EntryState::Waiting;
            without_words(entry)
        }
        JobState::Running { progress, trouble } => running(entry, *progress, trouble.as_ref()),
        JobState::Failed { at, why } => {
            let Work::Fetch { failures, .. } = &job.work else { return entry };
            let failures = failures.saturating_add(1);
            let again = over(*at, backoff(failures));
            let told = entry.state == EntryState::Failed && entry.failures == failures;
            if told && draft.now >= again {
                draft.remove(job, "it failed, and is tried again");
            } else if told {
                draft.look_again(again);
            }
            entry.failures = failures;
            troubled(entry, EntryState::Failed, why)
        }
    }
}

/// An entry that nobody asks for: what is there stays, and what is half there is forgotten.
fn no_longer(draft: &mut Drafted<'_>, recorded: &CacheEntry) {
    let entry = CacheEntry { used_by: draft.used_by(&recorded.name), ..recorded.clone() };
    match recorded.state {
        EntryState::Held => {
            let entry = used(draft, entry, Some(recorded));
            draft.plan.entries.push(entry);
        }
        EntryState::Evicting => draft.plan.entries.push(entry),
        EntryState::Refused | EntryState::Waiting | EntryState::Fetching | EntryState::Failed => {}
    }
}

/// The last pod that used it went just now.
fn used(draft: &Drafted<'_>, mut entry: CacheEntry, recorded: Option<&CacheEntry>) -> CacheEntry {
    let was_used = recorded.is_some_and(|recorded| !recorded.used_by.is_empty());
    if was_used && entry.used_by.is_empty() {
        entry.last_used = Some(MicroTime(draft.now));
    }
    entry
}

/// It is there now.
fn held(draft: &Drafted<'_>, entry: &mut CacheEntry, digest: Option<&String>, bytes: u64) {
    let bytes = number(bytes);
    *entry = CacheEntry {
        state: EntryState::Held,
        digest: digest.cloned(),
        bytes,
        total_bytes: Some(bytes),
        failures: 0,
        last_used: Some(MicroTime(draft.now)),
        ..without_words(entry.clone())
    };
}

/// As statuses hold a number.
fn number(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn running(mut entry: CacheEntry, progress: Option<Progress>, trouble: Option<&Refusal>) -> CacheEntry {
    if let Some(Progress { bytes, total, per_second }) = progress {
        entry.bytes = number(bytes);
        entry.total_bytes = total.map(number).or(entry.total_bytes);
        entry.bytes_per_second = per_second.map(number);
    } else {
        entry.bytes_per_second = None;
    }
    match trouble {
        Some(why) => troubled(entry, EntryState::Fetching, why),
        None => {
            let bytes_per_second = entry.bytes_per_second;
            CacheEntry { state: EntryState::Fetching, bytes_per_second, ..without_words(entry) }
        }
    }
}

pub(super) fn troubled(entry: CacheEntry, state: EntryState, why: &Refusal) -> CacheEntry {
    CacheEntry {
        state,
        reason: Some(why.reason.as_str().to_owned()),
        message: Some(why.message.clone()),
        bytes_per_second: None,
        ..entry
    }
}

pub(super) fn without_words(entry: CacheEntry) -> CacheEntry {
    CacheEntry { reason: None, message: None, bytes_per_second: None, ..entry }
}

fn empty(name: &str, source: &str, revision: Option<&String>, state: EntryState) -> CacheEntry {
    CacheEntry {
        name: name.to_owned(),
        source: source.to_owned(),
        revision: revision.cloned(),
        state,
        digest: None,
        bytes: 0,
        total_bytes: None,
        bytes_per_second: None,
        reason: None,
        message: None,
        failures: 0,
        used_by: Vec::new(),
        last_used: None,
    }
}
