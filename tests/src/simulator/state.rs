//! What the simulator has seen and done.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::{Semaphore, watch};

/// Requests kept for a test to look at; a benchmark must not fill memory.
const KEPT: usize = 256;

/// What was answered. Tokens are counted where an answer reports them, or for each piece sent of a stream
/// that was cut.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests received.
    pub requests: u64,
    /// Answers sent to their end.
    pub finished: u64,
    /// Requests whose caller left before the end of the answer.
    pub abandoned: u64,
    /// Answers that wait for the test to release them.
    pub waiting: u64,
    /// Prompt tokens reported.
    pub input_tokens: u64,
    /// Completion tokens reported.
    pub output_tokens: u64,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its path and query.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

pub(super) struct State {
    pub(super) counts: watch::Sender<Counts>,
    pub(super) gate: Semaphore,
    seen: Mutex<VecDeque<Seen>>,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            counts: watch::Sender::new(Counts::default()),
            gate: Semaphore::new(0),
            seen: Mutex::default(),
        }
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut Counts)) {
        self.counts.send_modify(change);
    }

    pub(super) fn see(&self, seen: Seen) {
        let mut kept = self.kept();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(seen);
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.kept().iter().cloned().collect()
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the test lets one more step pass.
    pub(super) async fn pass_gate(&self) {
        self.count(|counts| counts.waiting += 1);
        let waiting = Waiting(self);
        if let Ok(permit) = self.gate.acquire().await {
            permit.forget();
        }
        drop(waiting);
    }
}

/// Counts one answer as abandoned unless it came to its end.
pub(super) struct Open<'a> {
    pub(super) state: &'a State,
    pub(super) done: bool,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let done = self.done;
        self.state.count(|counts| if done { counts.finished += 1 } else { counts.abandoned += 1 });
    }
}

struct Waiting<'a>(&'a State);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.count(|counts| counts.waiting -= 1);
    }
}
