//! When an idle engine gives its device back, and how it takes it again.

use std::time::{Duration, Instant};

use super::{EngineHandle, LoadSnapshot};
use crate::backend::{Backend, BackendError};

/// Between two tries to wake while others hold the device.
const PAUSE: Duration = Duration::from_millis(100);

/// What an engine that sleeps does about the requests that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// Computes them.
    Awake,
    /// Tries again.
    NotYet,
    /// Fails them: why, and whether no later try will do better.
    Failed {
        /// In words.
        problem: String,
        /// True when others hold the device, which is not for ever.
        room: bool,
        /// True when the device is lost.
        is_final: bool,
    },
}

/// Whether a backend sleeps.
#[derive(Debug)]
pub(super) struct Rest {
    asleep: bool,
    patience: Duration,
    /// Since when it tries to wake.
    trying: Option<Instant>,
}

impl Rest {
    pub(super) fn new(patience: Duration) -> Self {
        Self { asleep: false, patience, trying: None }
    }

    pub(super) fn is_asleep(&self) -> bool {
        self.asleep
    }

    /// Puts `backend` to sleep, if it can. Returns the error that makes it useless, if there is one.
    pub(super) fn begin(&mut self, backend: &mut dyn Backend) -> Option<String> {
        let sleeping = backend.sleeping().filter(|_| !self.asleep)?;
        self.asleep = true;
        match sleeping.sleep() {
            Ok(bytes) => {
                tracing::info!(bytes, "the engine sleeps");
                None
            }
            Err(error @ BackendError::Lost { .. }) => Some(error.to_string()),
            Err(error) => {
                tracing::warn!(%error, "the engine sleeps, and not all of its memory is given back");
                None
            }
        }
    }

    /// Whoever it was to wake for is gone.
    pub(super) fn give_up(&mut self) {
        self.trying = None;
    }

    /// Wakes `backend` if it sleeps. While others hold its device this waits a moment, to be asked again.
    pub(super) fn end(&mut self, backend: &mut dyn Backend) -> Woken {
        let Some(sleeping) = backend.sleeping().filter(|_| self.asleep) else { return Woken::Awake };
        let began = *self.trying.get_or_insert_with(Instant::now);
        match sleeping.wake() {
            Ok(()) => {
                tracing::info!(seconds = began.elapsed().as_secs_f64(), "the engine woke");
                self.asleep = false;
                self.trying = None;
                Woken::Awake
            }
            Err(BackendError::NoRoom { .. }) if began.elapsed() < self.patience => {
                std::thread::sleep(PAUSE);
                Woken::NotYet
            }
            Err(error) => {
                self.trying = None;
                let room = matches!(error, BackendError::NoRoom { .. });
                let is_final = matches!(error, BackendError::Lost { .. });
                Woken::Failed { problem: error.to_string(), room, is_final }
            }
        }
    }
}

/// What whoever watches an engine does next.
#[derive(Debug, PartialEq, Eq)]
enum Watch {
    /// Puts it to sleep.
    Sleep,
    /// Looks again.
    Look(Duration),
}

fn watch(load: &LoadSnapshot, after: Duration) -> Watch {
    match load.idle.filter(|_| !load.asleep).map(|idle| after.checked_sub(idle)) {
        Some(Some(left)) if !left.is_zero() => Watch::Look(left),
        Some(Some(_) | None) => Watch::Sleep,
        None => Watch::Look(after),
    }
}

/// Puts `engine` to sleep whenever it had nothing to do for as long as `after`. Ends with the engine.
pub async fn put_to_sleep_when_idle(engine: EngineHandle, after: Duration) {
    while engine.is_running() {
        let pause = match watch(&engine.load(), after) {
            Watch::Sleep => {
                engine.sleep();
                after
            }
            Watch::Look(left) => left,
        };
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_sleeps_after_so_long_without_work_and_not_before() {
        let seconds = Duration::from_secs;
        let load = |idle: Option<u64>| LoadSnapshot { idle: idle.map(seconds), ..LoadSnapshot::default() };
        assert_eq!(watch(&load(None), seconds(10)), Watch::Look(seconds(10)));
        assert_eq!(watch(&load(Some(4)), seconds(10)), Watch::Look(seconds(6)));
        assert_eq!(watch(&load(Some(10)), seconds(10)), Watch::Sleep);
        assert_eq!(watch(&load(Some(99)), seconds(10)), Watch::Sleep);
        let asleep = LoadSnapshot { asleep: true, ..load(Some(99)) };
        assert_eq!(watch(&asleep, seconds(10)), Watch::Look(seconds(10)));
    }
}
