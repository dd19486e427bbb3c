//! The compute half of a step: a plan and the sequences' tokens in, rows of logits out.

use std::collections::HashMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::sequence::Sequence;
use super::worker::panic_message;
use crate::backend::{Backend, BackendError, Logits, LogitsWanted, SequenceChunk};
use crate::scheduler::{Scheduler, SequenceId, StepPlan};

/// A step that was not computed: its sequences have to be failed.
#[derive(Debug)]
pub(super) struct StepFailure {
    /// Why, in words.
    pub(super) problem: String,
    /// True when no later step will do better.
    pub(super) is_final: bool,
}

impl From<&str> for StepFailure {
    fn from(problem: &str) -> Self {
        Self { problem: problem.to_owned(), is_final: false }
    }
}

/// Runs `plan` on the backend and returns the rows of `logits` of each chunk.
///
/// # Errors
/// [`StepFailure`], when the backend fails or panics.
pub(super) fn compute(
    backend: &mut dyn Backend,
    plan: &StepPlan,
    scheduler: &Scheduler,
    sequences: &HashMap<SequenceId, Sequence>,
    logits: &mut Logits,
) -> Result<Vec<Range<usize>>, StepFailure> {
    let mut batch = Vec::with_capacity(plan.chunks.len());
    let mut rows = Vec::with_capacity(plan.chunks.len());
    let mut next_row = 0;
    for chunk in &plan.chunks {
        let sequence = sequences.get(&chunk.id).ok_or("a planned sequence is gone")?;
        let range = chunk.start..chunk.start + chunk.tokens;
        let tokens = sequence.tokens.get(range).ok_or("a plan goes past the sequence's tokens")?;
        let blocks = scheduler.table(chunk.id).ok_or("a planned sequence has no blocks")?;
        let wanted = sequence.wanted(chunk);
        let count = match wanted {
            LogitsWanted::None => 0,
            LogitsWanted::Last => 1,
            LogitsWanted::All => chunk.tokens,
        };
        rows.push(next_row..next_row + count);
        next_row += count;
        batch.push(SequenceChunk {
            tokens,
            start: chunk.start,
            blocks,
            logits: wanted,
            adapter: sequence.adapter,
        });
    }
    match catch_unwind(AssertUnwindSafe(|| backend.forward(&batch, logits))) {
        Ok(Ok(())) => Ok(rows),
        Ok(Err(error)) => Err(StepFailure {
            problem: error.to_string(),
            is_final: matches!(error, BackendError::Lost { .. }),
        }),
        Err(panic) => Err(format!("the backend panicked: {}", panic_message(&*panic)).as_str().into()),
    }
}
