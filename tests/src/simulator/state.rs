//! What the simulator has seen and done.

use std::collections::{HashMap, HashSet, VecDeque};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;

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
    /// Steps that the test released and an answer took.
    pub taken: u64,
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
    /// Seconds that an access token lasts, as it is said.
    token_seconds: AtomicU64,
    /// Whether Google knows the service account.
    account: AtomicBool,
    /// Whether sessions of AWS's last.
    sessions: AtomicBool,
    /// Whether a cloud's key may see the list of models.
    lists: AtomicBool,
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
    /// Access tokens that are taken.
    tokens: HashSet<String>,
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
            token_seconds: AtomicU64::new(3599),
            account: AtomicBool::new(true),
            sessions: AtomicBool::new(true),
            lists: AtomicBool::new(true),
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

    /// A new access token, and how many seconds it is said to last.
    pub(super) fn give_token(&self) -> (String, u64) {
        let token = format!("ya29.simulated-canary-{}", self.number());
        unpoisoned(&self.memory).tokens.insert(token.clone());
        (token, self.token_seconds.load(Ordering::Relaxed))
    }

    pub(super) fn knows_token(&self, token: &str) -> bool {
        unpoisoned(&self.memory).tokens.contains(token)
    }

    /// No token that was given is taken any more.
    pub(super) fn revoke_tokens(&self) {
        unpoisoned(&self.memory).tokens.clear();
    }

    pub(super) fn tokens_last(&self, seconds: u64) {
        self.token_seconds.store(seconds, Ordering::Relaxed);
    }

    pub(super) fn know_account(&self, known: bool) {
        self.account.store(known, Ordering::Relaxed);
    }

    pub(super) fn knows_account(&self) -> bool {
        self.account.load(Ordering::Relaxed)
    }

    pub(super) fn end_sessions(&self) {
        self.sessions.store(false, Ordering::Relaxed);
    }

    pub(super) fn has_sessions(&self) -> bool {
        self.sessions.load(Ordering::Relaxed)
    }

    pub(super) fn show_lists(&self, shown: bool) {
        self.lists.store(shown, Ordering::Relaxed);
    }

    /// Whether a cloud's key may see the list of models.
    pub(super) fn shows_lists(&self) -> bool {
        self.lists.load(Ordering::Relaxed)
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
        let mut permit = pin!(self.gate.acquire());
        // In the queue before it is counted: those that a test has counted are released in turn.
        let permit = match futures::poll!(permit.as_mut()) {
            Poll::Ready(permit) => permit,
            Poll::Pending => {
                self.count(|counts| counts.waiting += 1);
                let _waiting = Waiting(self);
                permit.await
            }
        };
        if let Ok(permit) = permit {
            permit.forget();
            self.count(|counts| counts.taken += 1);
        }
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
