//! What the simulator has seen and done.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};

use super::model::Usage;

/// Requests kept for a test to look at, and answers kept for another to go on from; a benchmark must not fill
/// memory.
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
    /// Prompt tokens reported, cached ones included.
    pub input_tokens: u64,
    /// Completion tokens reported, reasoning included.
    pub output_tokens: u64,
    /// Of the prompt's, those that were read from a cache.
    pub cache_read_tokens: u64,
    /// Of the prompt's, those that were written to a cache.
    pub cache_write_tokens: u64,
    /// Of the completion's, those of thinking.
    pub reasoning_tokens: u64,
}

impl Counts {
    pub(super) fn add(&mut self, usage: Usage) {
        self.input_tokens += usage.input();
        self.output_tokens += usage.output();
        self.cache_read_tokens += usage.cache_read;
        self.cache_write_tokens += usage.cache_write();
        self.reasoning_tokens += usage.reasoning;
    }
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
    numbers: AtomicU64,
    seen: Mutex<VecDeque<Seen>>,
    /// The keys that it takes; every one where nobody said.
    keys: Mutex<Option<HashSet<String>>>,
    memory: Mutex<Memory>,
}

/// What a provider remembers between requests.
#[derive(Default)]
struct Memory {
    /// How often a model that misbehaves every other time was asked for.
    times: HashMap<String, u64>,
    /// Keys of the prompts' cached parts.
    cached: HashSet<String>,
    /// What Responses stores: each item by its id, and a conversation's by the last answer's.
    stored: HashMap<String, Vec<Value>>,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            counts: watch::Sender::new(Counts::default()),
            gate: Semaphore::new(0),
            numbers: AtomicU64::new(1),
            seen: Mutex::default(),
            keys: Mutex::default(),
            memory: Mutex::default(),
        }
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut Counts)) {
        self.counts.send_modify(change);
    }

    /// One more for every call.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// How often `model` was asked for, this time included.
    pub(super) fn times(&self, model: &str) -> u64 {
        let mut memory = unpoisoned(&self.memory);
        let times = memory.times.entry(model.to_owned()).or_default();
        *times += 1;
        *times
    }

    /// Whether this part of a prompt is cached; from now on it is.
    pub(super) fn cached(&self, key: &str) -> bool {
        let mut memory = unpoisoned(&self.memory);
        if memory.cached.len() == KEPT {
            memory.cached.clear();
        }
        !memory.cached.insert(key.to_owned())
    }

    pub(super) fn store(&self, id: &str, items: Vec<Value>) {
        let mut memory = unpoisoned(&self.memory);
        if memory.stored.len() == KEPT {
            memory.stored.clear();
        }
        memory.stored.insert(id.to_owned(), items);
    }

    pub(super) fn stored(&self, id: &str) -> Option<Vec<Value>> {
        unpoisoned(&self.memory).stored.get(id).cloned()
    }

    pub(super) fn take(&self, keys: &[&str]) {
        *unpoisoned(&self.keys) = Some(keys.iter().map(|key| (*key).to_owned()).collect());
    }

    /// Whether it takes the key among these headers.
    pub(super) fn takes(&self, headers: &HeaderMap) -> bool {
        let keys = unpoisoned(&self.keys);
        let Some(keys) = &*keys else { return true };
        let sent = ["authorization", "x-api-key", "x-goog-api-key", "api-key"]
            .into_iter()
            .find_map(|name| headers.get(name)?.to_str().ok());
        sent.is_some_and(|sent| keys.contains(sent.strip_prefix("Bearer ").unwrap_or(sent)))
    }

    pub(super) fn see(&self, seen: Seen) {
        let mut kept = unpoisoned(&self.seen);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(seen);
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        unpoisoned(&self.seen).iter().cloned().collect()
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

fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
