//! The provider's keys: read from files, chosen by weight, set aside when the provider refuses them, never printed.
//!
//! `ring` decides and knows no clock and no file; `file` reads; [`Keys`] brings the two together. A key is what `usage` says: a
//! text, a Google service account or an access key of AWS, and `key` makes a request show it. No key, nor a token that was got
//! for it, may leave this folder but as a header's value that is marked sensitive.

mod access_key;
mod file;
mod key;
mod redact;
mod rest;
mod ring;
mod service_account;
mod usage;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(super) use self::file::KeyError;
use self::file::KeyFile;
pub(super) use self::key::{Key, ShowError, Shown};
pub(super) use self::redact::Redactor;
pub(super) use self::rest::resting;
pub(super) use self::ring::Standing;
use self::ring::{Generation, Ring, Unavailable};
pub(super) use self::service_account::TokenError;
pub(super) use self::usage::Usage;
use super::KeySource;
use super::metrics::KeyMetrics;

/// Every key of one provider.
#[derive(Debug)]
pub(super) struct Keys {
    state: Mutex<State>,
    metrics: KeyMetrics,
}

#[derive(Debug)]
struct State {
    files: Vec<KeyFile>,
    ring: Ring,
}

/// A key, for one attempt.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    /// Its place among the keys, which may be told; what it is may not.
    pub index: usize,
    /// The key.
    pub key: Key,
    generation: Generation,
}

/// Why there is no key to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    /// No file holds one.
    Missing(KeyError),
    /// The provider refused every one.
    Retired,
    /// One can be used again after this.
    Resting(Duration),
}

impl Keys {
    pub(super) fn new(sources: &[KeySource], usage: &Usage, metrics: KeyMetrics) -> Self {
        let files = sources
            .iter()
            .enumerate()
            .map(|(index, source)| KeyFile::new(index, source.path.clone(), usage.clone()))
            .collect();
        let ring = Ring::new(sources.iter().map(|source| source.weight));
        Self { state: Mutex::new(State { files, ring }), metrics }
    }

    /// A key that was not tried yet.
    pub(super) fn choose(&self, tried: &[Chosen]) -> Result<Chosen, NoKey> {
        let now = Instant::now();
        let mut state = self.state();
        let read = state.read();
        let tried: Vec<_> = tried.iter().map(|chosen| (chosen.index, chosen.generation)).collect();
        match state.ring.choose(&generations(&read), &tried, now) {
            Ok(index) => match read.into_iter().nth(index) {
                Some(Ok((key, generation))) => Ok(Chosen { index, key, generation }),
                Some(Err(error)) => Err(NoKey::Missing(error)),
                None => Err(NoKey::Missing(KeyError::Missing)),
            },
            Err(Unavailable::Missing) => {
                Err(NoKey::Missing(read.into_iter().find_map(Result::err).unwrap_or(KeyError::Missing)))
            }
            Err(Unavailable::Retired) => Err(NoKey::Retired),
            Err(Unavailable::Resting { until }) => Err(NoKey::Resting(until.saturating_duration_since(now))),
        }
    }

    /// The provider refused the key.
    pub(super) fn retire(&self, chosen: &Chosen) {
        if self.state().ring.retire(chosen.index, chosen.generation) {
            self.metrics.retired(chosen.index);
            tracing::warn!(
                key = chosen.index,
                "a key was retired: it is tried again once its Secret changes"
            );
        }
    }

    /// The provider will not take the key for `time`.
    pub(super) fn rest(&self, chosen: &Chosen, time: Duration) {
        self.state().ring.rest(chosen.index, chosen.generation, Instant::now() + time);
        self.metrics.rested(chosen.index);
        tracing::info!(key = chosen.index, ?time, "a key rests");
    }

    /// How long it is until a key can be used; `None` where waiting does not help.
    pub(super) fn wait(&self) -> Option<Duration> {
        let now = Instant::now();
        self.standings_at(now)
            .into_iter()
            .filter_map(|standing| match standing {
                Standing::Usable => Some(Duration::ZERO),
                Standing::Resting { until } => Some(until.saturating_duration_since(now)),
                Standing::Retired | Standing::Missing => None,
            })
            .min()
    }

    /// Where each key stands.
    pub(super) fn standings(&self) -> Vec<Standing> {
        self.standings_at(Instant::now())
    }

    /// Whether any file holds a key. A retired one counts: a restart would not bring it back.
    pub(super) fn ready(&self) -> Result<(), String> {
        let read = self.state().read();
        if read.iter().any(Result::is_ok) {
            return Ok(());
        }
        let said: Vec<String> = read
            .into_iter()
            .enumerate()
            .filter_map(|(index, read)| Some(format!("key {index}: {}", read.err()?)))
            .collect();
        Err(said.join("; "))
    }

    /// Takes every key out of what a provider says, those of `tried` too: their files may have changed since.
    pub(super) fn redactor(&self, tried: &[Chosen]) -> Redactor {
        let read = self.state().read();
        let held = read.iter().flatten().map(|(key, _)| key);
        Redactor::new(held.chain(tried.iter().map(|chosen| &chosen.key)))
    }

    fn standings_at(&self, now: Instant) -> Vec<Standing> {
        let mut state = self.state();
        let held = generations(&state.read());
        (0..held.len()).map(|index| state.ring.standing(index, &held, now)).collect()
    }

    /// A panic elsewhere leaves the state whole: every change of it is one assignment.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Read = Result<(Key, Generation), KeyError>;

impl State {
    fn read(&mut self) -> Vec<Read> {
        self.files.iter_mut().map(KeyFile::current).collect()
    }
}

fn generations(read: &[Read]) -> Vec<Option<Generation>> {
    read.iter().map(|read| read.as_ref().ok().map(|(_, generation)| *generation)).collect()
}
