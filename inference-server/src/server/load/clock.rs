//! Times phases that follow one another, as they are told of.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::http::AppState;

/// The phase under way and when it began.
#[derive(Debug, Default)]
pub(super) struct PhaseClock(Mutex<Option<(&'static str, Instant)>>);

impl PhaseClock {
    /// `phase` goes on, or begins and ends the one before.
    pub(super) fn enter(&self, state: &AppState, phase: &'static str) {
        self.turn(state, Some(phase));
    }

    /// Ends the last phase.
    pub(super) fn finish(&self, state: &AppState) {
        self.turn(state, None);
    }

    fn turn(&self, state: &AppState, next: Option<&'static str>) {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if current.map(|(phase, _)| phase) == next {
            return;
        }
        if let Some((phase, began)) = *current {
            state.phase_took(phase, began.elapsed());
        }
        *current = next.map(|phase| (phase, Instant::now()));
    }
}
