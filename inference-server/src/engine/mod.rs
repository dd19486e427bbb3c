//! The engine: one thread that owns the backend, and the handle through which requests reach it.
//!
//! A step is plan (`scheduler`), compute (`backend`), draw (`sampling`), tell (events). One request's
//! failure ends that request; a failed step ends the requests in it; the thread goes on. An idle engine can be put to
//! sleep (`sleep`), and wakes for the next request. No HTTP here, no prompt templates, and nothing async but the channels.

mod handle;
mod load;
mod request;
mod sequence;
mod sleep;
mod step;
#[cfg(test)]
mod tests;
mod worker;

use std::time::Duration;

pub use handle::{EngineHandle, EventStream, SubmitError};
pub use load::LoadSnapshot;
pub(crate) use load::{Figures, Load};
pub use request::{Event, Finished, GenerateError, GenerateRequest, StopCause, TokenEvent};
pub use sleep::put_to_sleep_when_idle;
pub(crate) use worker::panic_message;

/// The limits of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// Sequences computed in one step.
    pub max_sequences: usize,
    /// Tokens computed in one step: more is better use of the machine for prompts, and a longer wait
    /// between two tokens for everyone who decodes meanwhile.
    pub tokens_per_step: usize,
    /// Sequences that may wait for their turn; a caller beyond that is told to come back.
    pub max_waiting: usize,
    /// Tokens of prompt and answer together; `None` is what the model was built for. Never more than the
    /// KV memory holds.
    pub context_length: Option<usize>,
    /// How long requests wait for an engine that sleeps while others hold its device.
    pub wake_patience: Duration,
}

/// Longer than a model takes to end its answers and go to sleep, and shorter than callers wait for a first token.
const WAKE_PATIENCE: Duration = Duration::from_secs(60);

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            max_sequences: 64,
            tokens_per_step: 512,
            max_waiting: 256,
            context_length: None,
            wake_patience: WAKE_PATIENCE,
        }
    }
}
