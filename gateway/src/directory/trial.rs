//! A revision of a model on trial beside the one that runs: which request goes to which, and what comes of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use weighbridge_crds::{Latencies, RevisionFigures, TrialFigures, TrialKey, labels};

use super::target::Endpoint;

/// Between two figures that are told: they move with every request.
const APART: Duration = Duration::from_secs(2);

/// How a source says that requests are shared out between two revisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The revision that runs.
    pub stable: String,
    /// The revision on trial.
    pub canary: String,
    /// Percent of requests that go to the latter, at most 100.
    pub traffic: u64,
    /// What is measured; none while nothing is.
    pub key: Option<TrialKey>,
}

/// One of two revisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Stable,
    Canary,
}

/// A split, with what was counted of it. Lives on from snapshot to snapshot while it is the same.
#[derive(Debug)]
pub(crate) struct Trial {
    /// Name of the ModelDeployment.
    model: String,
    split: Split,
    turns: AtomicU64,
    stable: Arc<Counts>,
    canary: Arc<Counts>,
    told: Mutex<Option<Told>>,
}

/// What was told of it last.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    at: Instant,
    /// How often it was another than before.
    pub times: u64,
    pub figures: Arc<TrialFigures>,
}

impl Trial {
    pub(super) fn new(model: &str, split: Split) -> Self {
        let (stable, canary) = (Arc::default(), Arc::default());
        let (turns, told) = (AtomicU64::new(0), Mutex::new(None));
        Self { model: model.to_owned(), split, turns, stable, canary, told }
    }

    pub(super) fn is(&self, split: &Split) -> bool {
        self.split == *split
    }

    pub(super) fn is_measured(&self) -> bool {
        self.split.key.is_some()
    }

    /// Whose turn it is. Of any hundred that follow each other so many are the canary's as are to be, and as far from each
    /// other as can be.
    pub(crate) fn turn(&self) -> Side {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed) % 100;
        let so_far = |turns: u64| turns * self.split.traffic.min(100) / 100;
        if so_far(turn + 1) > so_far(turn) { Side::Canary } else { Side::Stable }
    }

    /// Of which revision `endpoint` is; none where it is of neither.
    pub(crate) fn side(&self, endpoint: &Endpoint) -> Option<Side> {
        let is = |revision: &str| labels::is_pod_of(&endpoint.name, &self.model, revision);
        let canary = is(&self.split.canary).then_some(Side::Canary);
        canary.or_else(|| is(&self.split.stable).then_some(Side::Stable))
    }

    /// Where what comes of a request at `endpoint` is counted; none while nothing is measured.
    pub(crate) fn counts(&self, endpoint: &Endpoint) -> Option<Arc<Counts>> {
        self.split.key.as_ref()?;
        let counts = match self.side(endpoint)? {
            Side::Stable => &self.stable,
            Side::Canary => &self.canary,
        };
        Some(Arc::clone(counts))
    }

    /// The same, as it is told: it stays as it is for a while, so that who hears of it is not told of every request.
    pub(crate) fn told(&self) -> Option<Told> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.as_ref().is_none_or(|told| told.at.elapsed() >= APART) {
            let (figures, at) = (self.figures()?, Instant::now());
            *told = Some(match told.take() {
                Some(before) if *before.figures == figures => Told { at, ..before },
                Some(Told { times, .. }) => Told { at, times: times + 1, figures: Arc::new(figures) },
                None => Told { at, times: 0, figures: Arc::new(figures) },
            });
        }
        told.clone()
    }

    /// What was counted since the step began, or since this gateway knows of it.
    pub(super) fn figures(&self) -> Option<TrialFigures> {
        Some(TrialFigures {
            key: self.split.key.clone()?,
            stable_figures: self.stable.figures(),
            canary_figures: self.canary.figures(),
        })
    }
}

/// What comes of the requests to one revision.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    answered: AtomicU64,
    failed: AtomicU64,
    time_to_first_token: Buckets,
    inter_token_latency: Buckets,
}

impl Counts {
    /// An answer came to its end, or was refused for what the caller asked.
    pub(crate) fn answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// No answer came, or it was cut off.
    pub(crate) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn first_token(&self, after: Duration) {
        self.time_to_first_token.count(after.as_secs_f64(), 1);
    }

    /// So many tokens came, each so many seconds after the one before.
    pub(crate) fn tokens(&self, count: u32, gap: f64) {
        self.inter_token_latency.count(gap, u64::from(count));
    }

    fn figures(&self) -> RevisionFigures {
        let failed = self.failed.load(Ordering::Relaxed);
        RevisionFigures {
            requests: self.answered.load(Ordering::Relaxed) + failed,
            failed,
            time_to_first_token: self.time_to_first_token.read(),
            inter_token_latency: self.inter_token_latency.read(),
        }
    }
}

/// Lengths of time by their buckets: 1.5 KB, and as many as models on trial, times four.
#[derive(Debug)]
struct Buckets(Box<[AtomicU64]>);

impl Default for Buckets {
    fn default() -> Self {
        Self((0..Latencies::BUCKETS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Buckets {
    fn count(&self, seconds: f64, count: u64) {
        if let Some(bucket) = self.0.get(usize::from(Latencies::bucket(seconds))) {
            bucket.fetch_add(count, Ordering::Relaxed);
        }
    }

    fn read(&self) -> Latencies {
        let mut counted = Latencies::default();
        for (bucket, count) in (0..).zip(&self.0) {
            counted.count_in(bucket, count.load(Ordering::Relaxed));
        }
        counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(traffic: u64) -> Split {
        Split { stable: "old".into(), canary: "new".into(), traffic, key: None }
    }

    fn key() -> TrialKey {
        TrialKey {
            stable: "old".into(),
            canary: "new".into(),
            step: 2,
            begun_at: serde_json::from_value("2026-01-01T00:00:00Z".into()).expect("a time"),
        }
    }

    #[test]
    fn of_any_hundred_so_many_are_the_canarys_as_are_to_be() {
        for traffic in 0..=100 {
            let trial = Trial::new("m", split(traffic));
            let turns: Vec<u64> = (0..350).map(|_| u64::from(trial.turn() == Side::Canary)).collect();
            for hundred in turns.windows(100) {
                assert_eq!(hundred.iter().sum::<u64>(), traffic);
            }
            // As far from each other as can be.
            if let Some(each) = 100_u64.checked_div(traffic) {
                let each = each as usize;
                assert!(turns.windows(each).all(|some| some.iter().sum::<u64>() <= 1), "{traffic}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_moves_with_every_request_is_told_now_and_then() {
        let key = key();
        let trial = Trial::new("m", Split { key: Some(key), ..split(10) });
        let told = || {
            let told = trial.told().expect("measured");
            (told.times, told.figures.canary_figures.requests)
        };
        assert_eq!(told(), (0, 0));
        trial.canary.answered();
        assert_eq!(told(), (0, 0));
        tokio::time::advance(APART).await;
        assert_eq!([told(), told()], [(1, 1); 2]);
        tokio::time::advance(APART).await;
        assert_eq!(told(), (1, 1), "no news");
    }

    #[test]
    fn what_is_counted_is_told_by_the_step_it_was_counted_for() {
        let key = key();
        let trial = Trial::new("m", Split { key: Some(key.clone()), ..split(10) });
        trial.canary.answered();
        trial.canary.failed();
        trial.canary.first_token(Duration::from_millis(250));
        trial.canary.tokens(3, 0.02);
        let told = trial.figures().expect("measured");
        assert_eq!((told.key, told.stable_figures), (key, RevisionFigures::default()));
        let RevisionFigures { requests, failed, time_to_first_token, inter_token_latency } =
            told.canary_figures;
        assert_eq!((requests, failed), (2, 1));
        assert_eq!((time_to_first_token.count(), inter_token_latency.count()), (1, 3));
        assert_eq!(Trial::new("m", split(10)).figures(), None, "nothing is measured");
    }
}
