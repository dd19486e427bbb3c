//! Who waits, in order, and within which bounds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use weighbridge_crds::HoldShare;

use crate::Limits;
use crate::directory::Deployment;
use crate::metrics::{GatewayMetrics, HoldEnd, HoldLabels, ModelLabels};

/// Who waits may have half of a gateway's places and of its memory for bodies, and for one model half of that memory: what
/// waits for one model must not shut others out.
const SHARE: usize = 2;

/// What may wait at this gateway, for all models together.
#[derive(Debug)]
struct Bounds {
    requests: usize,
    bytes: usize,
    /// Bytes for one model, beside a single request of whatever size.
    line_bytes: usize,
}

/// A line for each model that somebody waits for.
#[derive(Debug)]
pub(super) struct Lines {
    bounds: Bounds,
    waiting: Mutex<Waiting>,
    metrics: GatewayMetrics,
}

#[derive(Debug, Default)]
struct Waiting {
    requests: usize,
    bytes: usize,
    lines: HashMap<Deployment, Line>,
}

#[derive(Debug)]
struct Line {
    requests: usize,
    bytes: usize,
    /// Has one permit, and gives it in the order in which it is asked for.
    turn: Arc<Semaphore>,
}

/// Who comes, and how large it is.
pub(super) struct Comer<'a> {
    pub model: &'a Deployment,
    pub labels: ModelLabels,
    pub bytes: usize,
    /// What may wait for the model at this gateway.
    pub most: HoldShare,
}

/// A line that takes nobody more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// As many, or as much, as may wait for the model.
    Line,
    /// As many, or as much, as may wait here.
    Gateway,
}

/// A place in a line; it is free again when dropped. What was said of its end last is counted; where nothing was, its client
/// left.
#[derive(Debug)]
pub(super) struct Place {
    lines: Arc<Lines>,
    model: Deployment,
    labels: ModelLabels,
    bytes: usize,
    turn: Arc<Semaphore>,
    since: Instant,
    end: HoldEnd,
    gauges: [(Gauge, i64); 2],
}

impl Lines {
    pub(super) fn new(limits: &Limits, metrics: GatewayMetrics) -> Arc<Self> {
        let bytes = limits.buffered_bytes / SHARE;
        let bounds = Bounds { requests: (limits.requests / SHARE).max(1), bytes, line_bytes: bytes / SHARE };
        Arc::new(Self { bounds, waiting: Mutex::default(), metrics })
    }

    /// A place at the end of the model's line.
    ///
    /// # Errors
    /// Where there is none. It is counted.
    pub(super) fn enter(self: &Arc<Self>, comer: Comer<'_>) -> Result<Place, Full> {
        let Comer { model, labels, bytes, most } = comer;
        let turn = self.take(model, bytes, most).inspect_err(|full| {
            let end = match full {
                Full::Line => HoldEnd::full,
                Full::Gateway => HoldEnd::no_room,
            };
            self.count(labels.clone(), end);
        })?;
        let bytes_shown = i64::try_from(bytes).unwrap_or(i64::MAX);
        let gauges = [
            (self.metrics.held_requests.get_or_create_owned(&labels), 1),
            (self.metrics.held_bytes.get_or_create_owned(&labels), bytes_shown),
        ];
        for (gauge, amount) in &gauges {
            gauge.inc_by(*amount);
        }
        Ok(Place {
            lines: Arc::clone(self),
            model: model.clone(),
            labels,
            bytes,
            turn,
            since: Instant::now(),
            end: HoldEnd::left,
            gauges,
        })
    }

    /// Counts what became of a request.
    pub(super) fn count(&self, model: ModelLabels, end: HoldEnd) {
        self.metrics.holds.get_or_create(&HoldLabels { model, end }).inc();
    }

    fn take(&self, model: &Deployment, bytes: usize, most: HoldShare) -> Result<Arc<Semaphore>, Full> {
        let mut waiting = self.waiting();
        let (requests, line_bytes) =
            waiting.lines.get(model).map_or((0, 0), |line| (line.requests, line.bytes));
        let beyond = |most: usize| requests > 0 && line_bytes + bytes > most;
        if requests >= most.requests || beyond(most.bytes) {
            return Err(Full::Line);
        }
        let much = beyond(self.bounds.line_bytes);
        if much || waiting.requests >= self.bounds.requests || waiting.bytes + bytes > self.bounds.bytes {
            return Err(Full::Gateway);
        }
        waiting.requests += 1;
        waiting.bytes += bytes;
        let line = waiting.lines.entry(model.clone()).or_insert_with(|| Line {
            requests: 0,
            bytes: 0,
            turn: Arc::new(Semaphore::new(1)),
        });
        line.requests += 1;
        line.bytes += bytes;
        Ok(Arc::clone(&line.turn))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Comes back when everybody before has left the line, with what keeps those behind waiting until it is dropped.
    pub(super) fn turn(
        &self,
    ) -> impl Future<Output = Option<tokio::sync::OwnedSemaphorePermit>> + Send + use<> {
        let turn = Arc::clone(&self.turn);
        // Fails only when the semaphore is closed, which nobody does.
        async move { turn.acquire_owned().await.ok() }
    }

    /// How it ends.
    pub(super) fn ends(&mut self, end: HoldEnd) {
        self.end = end;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for (gauge, amount) in &self.gauges {
            gauge.dec_by(*amount);
        }
        let Lines { metrics, .. } = &*self.lines;
        metrics.held.get_or_create(&self.labels).observe(self.since.elapsed().as_secs_f64());
        self.lines.count(self.labels.clone(), self.end);
        let mut waiting = self.lines.waiting();
        waiting.requests -= 1;
        waiting.bytes -= self.bytes;
        if let Some(line) = waiting.lines.get_mut(&self.model) {
            line.requests -= 1;
            line.bytes -= self.bytes;
            if line.requests == 0 {
                waiting.lines.remove(&self.model);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Registry;

    fn lines(requests: usize, buffered_bytes: usize) -> Arc<Lines> {
        let limits = Limits { requests, buffered_bytes, ..Limits::default() };
        Lines::new(&limits, GatewayMetrics::register(&mut Registry::default()))
    }

    fn model(name: &str) -> Deployment {
        Deployment { namespace: "n".to_owned(), name: name.to_owned() }
    }

    fn enter(lines: &Arc<Lines>, name: &str, bytes: usize, requests: usize) -> Result<Place, Full> {
        let most = HoldShare { requests, bytes: usize::MAX };
        lines.enter(Comer { model: &model(name), labels: ModelLabels::default(), bytes, most })
    }

    #[test]
    fn a_line_takes_as_many_bytes_as_may_wait_or_one_request_of_whatever_size() {
        let lines = lines(100, 1000);
        let enter = |bytes| {
            let most = HoldShare { requests: 9, bytes: 20 };
            lines.enter(Comer { model: &model("m"), labels: ModelLabels::default(), bytes, most })
        };
        let first = enter(12).expect("room");
        assert_eq!(enter(9).map(drop), Err(Full::Line));
        let second = enter(8).expect("room");
        drop((first, second));
        let large = enter(21).expect("the only one");
        assert_eq!(enter(0).map(drop), Err(Full::Line));
        drop(large);
        assert!(enter(0).is_ok());
    }

    #[test]
    fn a_line_takes_as_many_as_may_wait_and_a_place_that_is_left_is_free() {
        let lines = lines(100, 100);
        let (first, second) =
            (enter(&lines, "m", 1, 2).expect("room"), enter(&lines, "m", 1, 2).expect("room"));
        assert_eq!(enter(&lines, "m", 1, 2).map(drop), Err(Full::Line));
        assert!(enter(&lines, "n", 1, 2).is_ok(), "another model's line is another");
        assert_eq!(enter(&lines, "o", 1, 0).map(drop), Err(Full::Line));
        drop(first);
        let third = enter(&lines, "m", 1, 2).expect("room");
        drop((second, third));
        let waiting = lines.waiting();
        assert_eq!((waiting.requests, waiting.bytes, waiting.lines.len()), (0, 0, 0));
    }

    #[test]
    fn what_waits_leaves_half_of_the_places_and_of_the_memory_to_others() {
        let lines = lines(6, 400);
        let places: Vec<Place> = (0..3).map(|_| enter(&lines, "m", 1, 9).expect("room")).collect();
        assert_eq!(enter(&lines, "n", 1, 9).map(drop), Err(Full::Gateway));
        drop(places);
        // Of one model a quarter, or a single one however large; of all of them a half.
        let large = enter(&lines, "m", 150, 9).expect("the only one");
        assert_eq!(enter(&lines, "m", 1, 9).map(drop), Err(Full::Gateway));
        let other = enter(&lines, "n", 50, 9).expect("room");
        assert_eq!(enter(&lines, "o", 1, 9).map(drop), Err(Full::Gateway));
        drop((large, other));
        assert_eq!(enter(&lines, "m", 201, 9).map(drop), Err(Full::Gateway));
        let pair = [100, 1].map(|bytes| enter(&lines, "m", bytes, 9).map(drop));
        assert_eq!(pair, [Ok(()), Ok(())], "dropped in between");
    }
}
