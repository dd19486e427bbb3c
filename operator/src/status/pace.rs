use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use weighbridge_crds::ModelDeploymentStatus;
use weighbridge_crds::condition::{READY, Reason};

/// Between two statuses of a model that starts, which differ only in how far it is: a pod is placed, its image comes, its
/// engine loads. Whoever looks sees it a moment later, and a start that takes a moment is told once.
const PACE: Duration = Duration::from_secs(2);
/// Models that start at once, as far as they are remembered; of more, each tells what it is told.
const MOST: usize = 4096;

/// When the status of each model that starts was written last, by this process.
#[derive(Default)]
pub struct Paces(Mutex<HashMap<String, Instant>>);

impl Paces {
    /// How long the status `new` of the model with this UID waits, in whose place `old` is; `None` where it is written now.
    pub fn wait(
        &self,
        uid: &str,
        old: Option<&ModelDeploymentStatus>,
        new: &ModelDeploymentStatus,
    ) -> Option<Duration> {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !starts(new) {
            written.remove(uid);
            return None;
        }
        let waited = written.get(uid).map(Instant::elapsed).filter(|waited| *waited < PACE);
        if old.is_some_and(|old| old == new) {
            return None;
        }
        match waited {
            Some(waited) if old.is_none_or(|old| only_moves(old, new)) => Some(PACE - waited),
            Some(_) | None => {
                if written.len() >= MOST {
                    written.clear();
                }
                written.insert(uid.to_owned(), Instant::now());
                None
            }
        }
    }
}

/// Whether the model is on its way, and nothing stands in it.
fn starts(status: &ModelDeploymentStatus) -> bool {
    let mut conditions = status.conditions.iter();
    let waits = conditions.clone().any(|condition| condition.type_ == READY && condition.status != "True");
    waits
        && conditions
            .all(|condition| condition.status == "True" || condition.reason == Reason::Progressing.as_str())
}

/// Whether `new` says of the same start how far it is.
fn only_moves(old: &ModelDeploymentStatus, new: &ModelDeploymentStatus) -> bool {
    let of = |status: &ModelDeploymentStatus| {
        (status.observed_generation, status.revision.clone(), status.served.clone())
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
}
