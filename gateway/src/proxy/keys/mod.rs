//! The provider's keys: read from files, chosen by weight, set aside when the provider refuses them, never printed.
//!
//! `ring` decides and knows no clock and no file; `file` reads; [`Keys`] brings the two together. A key is what `usage` says: a
//! text, a Google service account or an access key of AWS, and `key` makes a request show it. No key, nor a token that was got
//! for it, may leave this folder but as a header's value that is marked sensitive.

mod access_key;
mod file;
mod guard;
mod key;
mod redact;
mod rest;
mod ring;
mod service_account;
mod usage;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderValue;
use weighbridge_crds::KeyCondition;

pub(super) use self::file::KeyError;
use self::file::KeyFile;
pub(super) use self::guard::Guard;
pub(super) use self::key::{Key, ShowError, Shown};
pub(super) use self::redact::Redactor;
pub(super) use self::rest::{resting, used_up};
pub(super) use self::ring::{Generation, Rest, Standing};
use self::ring::{Ring, Unavailable};
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
    /// Which content of its file it is.
    pub generation: Generation,
    /// Whether there was nothing new in the provider's taking it.
    settled: bool,
}

impl Chosen {
    /// What it is called to others: its place and which content of its file it is, of which only [`Keys::named`] makes anything.
    pub(super) fn name(&self) -> HeaderValue {
        let Generation(content) = self.generation;
        HeaderValue::try_from(format!("{}.{content}", self.index))
            .unwrap_or_else(|_| HeaderValue::from(self.index))
    }
}

/// Why there is no key to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    /// No file holds one.
    Missing(KeyError),
    /// The provider refused every one.
    Retired,
    /// The account's money or quota is used up.
    Exhausted,
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
                Some(Ok((key, generation))) => Ok(state.chosen(index, key, generation)),
                Some(Err(error)) => Err(NoKey::Missing(error)),
                None => Err(NoKey::Missing(KeyError::Missing)),
            },
            Err(Unavailable::Missing) => {
                Err(NoKey::Missing(read.into_iter().find_map(Result::err).unwrap_or(KeyError::Missing)))
            }
            Err(Unavailable::Retired) => Err(NoKey::Retired),
            Err(Unavailable::Exhausted { until: _ }) => Err(NoKey::Exhausted),
            Err(Unavailable::Resting { until }) => Err(NoKey::Resting(until.saturating_duration_since(now))),
        }
    }

    /// The provider refused the key.
    pub(super) fn retire(&self, chosen: &Chosen) {
        if self.state().ring.retire(chosen.index, chosen.generation) {
            self.metrics.retired(chosen.index);
            tracing::warn!(
                key = chosen.index,
                "a key was retired: it is tried again once its Secret changes or the provider lists models for it"
            );
        }
    }

    /// The provider forbids what it is asked with the key, calls and the list of models alike.
    pub(super) fn forbid(&self, chosen: &Chosen) {
        if self.state().ring.forbid(chosen.index, chosen.generation) {
            tracing::warn!(key = chosen.index, "a key may do nothing: others go before it");
        }
    }

    /// The provider will not take the key for `time`.
    pub(super) fn rest(&self, chosen: &Chosen, time: Duration, why: Rest) {
        self.state().ring.rest(chosen.index, chosen.generation, Instant::now() + time, why);
        self.metrics.rested(chosen.index);
        tracing::info!(key = chosen.index, ?time, ?why, "a key rests");
    }

    /// The provider took the key for a call.
    pub(super) fn accept(&self, chosen: &Chosen) {
        if !chosen.settled {
            self.state().ring.accept(chosen.index, chosen.generation);
        }
    }

    /// The provider took the key when it was asked for nothing else.
    pub(super) fn restore(&self, chosen: &Chosen) {
        self.state().ring.restore(chosen.index, chosen.generation);
    }

    /// Every key that there is, by its place, whatever the provider thinks of it.
    pub(super) fn held(&self) -> Vec<Option<Chosen>> {
        let mut state = self.state();
        let read = state.read().into_iter().enumerate();
        read.map(|(index, read)| {
            let (key, generation) = read.ok()?;
            Some(state.chosen(index, key, generation))
        })
        .collect()
    }

    /// The key of [`Chosen::name`]; none once its file holds another.
    pub(super) fn named(&self, name: &str) -> Option<Chosen> {
        self.held().into_iter().flatten().find(|chosen| chosen.name() == name)
    }

    /// How long it is until a key can be used; `None` where waiting does not help.
    pub(super) fn wait(&self) -> Option<Duration> {
        let now = Instant::now();
        self.standings_at(now)
            .into_iter()
            .filter_map(|standing| match standing {
                Standing::Usable | Standing::Forbidden => Some(Duration::ZERO),
                Standing::Resting { until, why: Rest::Limited } => Some(until.saturating_duration_since(now)),
                Standing::Resting { why: Rest::Exhausted, .. } | Standing::Retired | Standing::Missing => {
                    None
                }
            })
            .min()
    }

    /// Where each key stands.
    pub(super) fn standings(&self) -> Vec<Standing> {
        self.standings_at(Instant::now())
    }

    /// How the provider takes each key, and for how long it is not sent.
    pub(super) fn conditions(&self) -> Vec<(KeyCondition, Option<Duration>)> {
        let now = Instant::now();
        let mut state = self.state();
        let held = generations(&state.read());
        let condition = |(index, held_here): (usize, &Option<Generation>)| {
            let proven = held_here.is_some_and(|held| state.ring.is_proven(index, held));
            let left = |until: Instant| Some(until.saturating_duration_since(now));
            match state.ring.standing(index, &held, now) {
                Standing::Usable if proven => (KeyCondition::Usable, None),
                Standing::Usable => (KeyCondition::Unproven, None),
                Standing::Resting { until, why: Rest::Limited } => (KeyCondition::RateLimited, left(until)),
                Standing::Resting { until, why: Rest::Exhausted } => {
                    (KeyCondition::QuotaExhausted, left(until))
                }
                Standing::Forbidden => (KeyCondition::Forbidden, None),
                Standing::Retired => (KeyCondition::Refused, None),
                Standing::Missing => (KeyCondition::Missing, None),
            }
        };
        held.iter().enumerate().map(condition).collect()
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

    /// What looks for any key in an answer to a request that showed `chosen`.
    pub(super) fn guard(&self, chosen: &Chosen) -> Guard {
        let read = self.state().read();
        let held = read.iter().flatten().map(|(key, _)| key);
        Guard::new(held.chain([&chosen.key]).flat_map(Key::secrets))
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

    fn chosen(&self, index: usize, key: Key, generation: Generation) -> Chosen {
        Chosen { index, key, generation, settled: self.ring.is_settled(index, generation) }
    }
}

fn generations(read: &[Read]) -> Vec<Option<Generation>> {
    read.iter().map(|read| read.as_ref().ok().map(|(_, generation)| *generation)).collect()
}

#[cfg(test)]
mod panic_tests;
