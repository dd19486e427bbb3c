//! Encoders: one thread that owns the model, and the handle through which requests reach it.
//!
//! A step is a batch of whole sequences, bounded by tokens; jobs take turns in it. One failed step ends the jobs in it;
//! the thread goes on. No HTTP here, no text, and nothing async but the channels.

mod handle;
mod queue;
#[cfg(test)]
mod tests;
mod worker;

pub use handle::{EncodeError, EncoderHandle, Vectors};

/// The limits of an encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncoderConfig {
    /// Tokens computed in one step; a longer sequence is a step of its own.
    pub tokens_per_step: usize,
    /// Jobs that may wait for their turn; a caller beyond that is told to come back.
    pub max_waiting: usize,
    /// Longest sequence, in tokens; never more than the model's own.
    pub context_length: usize,
}
