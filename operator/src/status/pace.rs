use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use weighbridge_crds::condition::{READY, ROUTABLE, Reason};
use weighbridge_crds::{CacheEntry, ModelCacheStatus, ModelDeploymentStatus};

/// Between two statuses of a model that starts, which differ only in how far it is: a pod is placed, its image comes, its
/// engine loads. Whoever looks sees it a moment later, and a start that takes a moment is told once.
const PACE: Duration = Duration::from_secs(2);
/// Between two statuses of a cache that differ only in how many bytes have come.
const PACE_OF_BYTES: Duration = Duration::from_secs(10);
/// Models that start at once, as far as they are remembered; of more, each tells what it is told.
const MOST: usize = 4096;

/// How long gateways may take to follow before it is told that they do not: as a rule they have by the time that it would be
/// written.
const PATIENCE: Duration = Duration::from_secs(3);

/// When the status of each model that starts, and each cache that fetches, was written last, and since when each waits for its gateways, by this process.
#[derive(Default)]
pub struct Paces(Mutex<Known>);

#[derive(Default)]
struct Known {
    written: HashMap<String, Instant>,
    awaits: HashMap<String, Instant>,
}

impl Paces {
    /// How long the status `new` of the model with this UID waits, in whose place `old` is; `None` where it is written now.
    pub fn wait(
        &self,
        uid: &str,
        old: Option<&ModelDeploymentStatus>,
        new: &ModelDeploymentStatus,
    ) -> Option<Duration> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { written, awaits } = &mut *known;
        let waits_for_gateways = awaits_gateways(new);
        if !waits_for_gateways {
            awaits.remove(uid);
        }
        if old.is_some_and(|old| old == new) {
            return None;
        }
        // Of a swap of worlds gateways are told by the status itself.
        if waits_for_gateways && old.is_none_or(|old| old.served == new.served) {
            let since = since(awaits, uid);
            return PATIENCE.checked_sub(since.elapsed()).filter(|left| !left.is_zero());
        }
        if !starts(new) {
            written.remove(uid);
            return None;
        }
        match written.get(uid).map(Instant::elapsed).filter(|waited| *waited < PACE) {
            Some(waited) if old.is_none_or(|old| only_moves(old, new)) => Some(PACE - waited),
            Some(_) | None => {
                written.remove(uid);
                since(written, uid);
                None
            }
        }
    }

    /// How long the status `new` of the cache with this UID waits, in whose place `old` is; `None` where it is written now.
    pub fn wait_for_bytes(
        &self,
        uid: &str,
        old: Option<&ModelCacheStatus>,
        new: &ModelCacheStatus,
    ) -> Option<Duration> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if old.is_some_and(|old| old == new) {
            return None;
        }
        let written = &mut known.written;
        let waited = written.get(uid).map(Instant::elapsed).filter(|waited| *waited < PACE_OF_BYTES);
        match waited {
            Some(waited) if old.is_some_and(|old| only_counts(old, new)) => Some(PACE_OF_BYTES - waited),
            Some(_) | None => {
                written.remove(uid);
                since(written, uid);
                None
            }
        }
    }
}

/// Whether `new` says nothing but how many bytes have come, beside what `old` says.
fn only_counts(old: &ModelCacheStatus, new: &ModelCacheStatus) -> bool {
    let uncounted = |status: &ModelCacheStatus| {
        let mut status = status.clone();
        for CacheEntry { bytes, bytes_per_second, .. } in &mut status.entries {
            (*bytes, *bytes_per_second) = (0, None);
        }
        status
    };
    uncounted(old) == uncounted(new)
}

/// Since when `uid` is in `known`: since now, where it was not.
fn since(known: &mut HashMap<String, Instant>, uid: &str) -> Instant {
    if known.len() >= MOST {
        known.clear();
    }
    *known.entry(uid.to_owned()).or_insert_with(Instant::now)
}

/// Whether all that the model lacks is that gateways follow.
fn awaits_gateways(status: &ModelDeploymentStatus) -> bool {
    let ready = status.conditions.iter().find(|condition| condition.type_ == READY);
    ready.is_some_and(|ready| ready.reason == Reason::AwaitingGateways.as_str())
}

/// Whether the model is on its way, and nothing stands in it.
fn starts(status: &ModelDeploymentStatus) -> bool {
    let conditions = status.conditions.iter();
    let waits = conditions.clone().any(|condition| condition.type_ == READY && condition.status != "True");
    // That gateways are not known stands in no way.
    waits
        && conditions
            .filter(|condition| condition.type_ != ROUTABLE)
            .all(|condition| condition.status == "True" || condition.reason == Reason::Progressing.as_str())
}

/// Whether `new` says of the same start how far it is.
fn only_moves(old: &ModelDeploymentStatus, new: &ModelDeploymentStatus) -> bool {
    let of = |status: &ModelDeploymentStatus| {
        (status.observed_generation, status.revision.clone(), status.served.clone(), status.rollout.clone())
    };
    starts(old) && of(old) == of(new)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use weighbridge_crds::condition;

    use super::super::conditions::{Says, merge};
    use super::*;

    fn status(generation: i64, says: Vec<Says>) -> ModelDeploymentStatus {
        let conditions = merge(&[], says, generation, Timestamp::UNIX_EPOCH);
        ModelDeploymentStatus {
            observed_generation: Some(generation),
            conditions,
            ..ModelDeploymentStatus::default()
        }
    }

    fn starting(placed: bool, words: &str) -> ModelDeploymentStatus {
        let scheduled = if placed {
            Says::yes(condition::SCHEDULED, Reason::PodsScheduled, "")
        } else {
            Says::no(condition::SCHEDULED, Reason::Progressing, "")
        };
        status(1, vec![scheduled, Says::no(READY, Reason::Progressing, words)])
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_that_come_are_told_every_ten_seconds_and_what_is_news_at_once() {
        let paces = Paces::default();
        let entry = |bytes: i64, state: &str| {
            let entry = serde_json::json!({"name": "e", "source": "s", "state": state, "bytes": bytes});
            ModelCacheStatus {
                entries: vec![serde_json::from_value(entry).unwrap()],
                ..ModelCacheStatus::default()
            }
        };
        let (early, late) = (entry(1, "Fetching"), entry(50, "Fetching"));
        assert_eq!(paces.wait_for_bytes("u", None, &early), None, "the first word");
        tokio::time::advance(PACE_OF_BYTES / 4).await;
        assert_eq!(paces.wait_for_bytes("u", Some(&early), &late), Some(PACE_OF_BYTES * 3 / 4));
        assert_eq!(paces.wait_for_bytes("u", Some(&early), &entry(50, "Held")), None, "it is there");
        tokio::time::advance(PACE_OF_BYTES).await;
        assert_eq!(paces.wait_for_bytes("u", Some(&early), &late), None, "it has waited long enough");
    }

    #[tokio::test(start_paused = true)]
    async fn how_far_a_start_is_waits_and_what_is_news_does_not() {
        let paces = Paces::default();
        let first = starting(false, "0 of 1 pods have a node");
        let placed = starting(true, "0 of 1 pods answer");
        assert_eq!(paces.wait("u", None, &first), None, "the first word");
        tokio::time::advance(PACE / 4).await;
        assert_eq!(paces.wait("u", None, &placed), Some(PACE * 3 / 4), "the first is not seen yet");
        assert_eq!(paces.wait("u", Some(&first), &placed), Some(PACE * 3 / 4));
        assert_eq!(paces.wait("other", Some(&first), &placed), None, "each has its own pace");
        let edited = ModelDeploymentStatus { observed_generation: Some(2), ..placed.clone() };
        assert_eq!(paces.wait("u", Some(&first), &edited), None, "another spec");
        for news in [
            Says::yes(READY, Reason::Serving, "1 of 1 pods answer"),
            Says::no(READY, Reason::ImagePull, "no such image"),
        ] {
            assert_eq!(paces.wait("u", Some(&first), &status(1, vec![news])), None);
        }
        assert_eq!(paces.wait("u", Some(&first), &placed), None, "out of trouble again");
        tokio::time::advance(PACE).await;
        assert_eq!(paces.wait("u", Some(&first), &placed), None, "it has waited long enough");
    }

    #[tokio::test(start_paused = true)]
    async fn gateways_have_a_while_to_follow_before_it_is_told_that_they_do_not() {
        let paces = Paces::default();
        let first = starting(true, "0 of 1 pods answer");
        let says = |type_| Says::no(type_, Reason::AwaitingGateways, "gateway a does not know of it");
        let awaiting = status(1, vec![says(ROUTABLE), says(READY)]);
        let ready = status(1, vec![Says::yes(READY, Reason::Serving, "")]);
        assert_eq!(paces.wait("u", Some(&first), &awaiting), Some(PATIENCE));
        tokio::time::advance(PATIENCE / 3).await;
        assert_eq!(paces.wait("u", Some(&first), &awaiting), Some(PATIENCE * 2 / 3));
        assert_eq!(paces.wait("u", Some(&first), &ready), None, "they have followed");
        // The next time is another time, though nothing was written in between.
        assert_eq!(paces.wait("u", Some(&ready), &awaiting), Some(PATIENCE));
        tokio::time::advance(PATIENCE / 3).await;
        assert_eq!(paces.wait("u", Some(&ready), &ready), None);
        assert_eq!(paces.wait("u", Some(&ready), &awaiting), Some(PATIENCE));
        tokio::time::advance(PATIENCE).await;
        assert_eq!(paces.wait("u", Some(&ready), &awaiting), None);
        assert_eq!(paces.wait("u", Some(&awaiting), &awaiting), None, "it is written");
        let other = awaiting.clone();
        let other = ModelDeploymentStatus { observed_generation: Some(2), ..other };
        assert_eq!(paces.wait("u", Some(&awaiting), &other), None, "and nothing new about it");
        // The first word was not seen to be written yet.
        assert_eq!(paces.wait("w", None, &awaiting), Some(PATIENCE));
        // Gateways can't follow before they are told.
        let served = Some(weighbridge_crds::Served { backend: "Open".to_owned(), model: "m".to_owned() });
        let swapped = ModelDeploymentStatus { served, ..awaiting.clone() };
        assert_eq!(paces.wait("v", Some(&first), &swapped), None);
    }
}
