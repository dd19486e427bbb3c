//! The compute half of a step: a plan and the sequences' tokens in, rows of logits or tokens out.

use std::collections::HashMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::sequence::Sequence;
use super::worker::panic_message;
use crate::backend::{Backend, BackendError, Drawn, Logits, LogitsWanted, SequenceChunk};
use crate::scheduler::{PlannedChunk, Scheduler, SequenceId, StepPlan};

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

/// What came of a step, by chunk.
#[derive(Debug)]
pub(super) enum Computed {
    /// Rows of the logits.
    Rows(Vec<Range<usize>>),
    /// Tokens, of the chunks that sample.
    Drawn(Vec<Option<Drawn>>),
}

/// Runs `plan` on the backend, which draws by itself where it can: rows of a vocabulary are long.
///
/// # Errors
/// [`StepFailure`], when the backend fails or panics.
pub(super) fn compute(
    backend: &mut dyn Backend,
    plan: &StepPlan,
    scheduler: &Scheduler,
    sequences: &mut HashMap<SequenceId, Sequence>,
    logits: &mut Logits,
) -> Result<Computed, StepFailure> {
    let wanted = |sequences: &HashMap<SequenceId, Sequence>, chunk: &PlannedChunk| {
        let sequence = sequences.get(&chunk.id).ok_or("a planned sequence is gone")?;
        Ok::<_, StepFailure>(sequence.wanted(chunk))
    };
    let mut wants = Vec::with_capacity(plan.chunks.len());
    for chunk in &plan.chunks {
        wants.push(wanted(sequences, chunk)?);
    }
    let draws = backend.drawing().is_some() && !wants.contains(&LogitsWanted::All);
    let draws = draws.then(|| {
        let drawing = plan.chunks.iter().zip(&wants).filter(|(_, wanted)| **wanted == LogitsWanted::Last);
        drawing.filter_map(|(chunk, _)| Some(sequences.get_mut(&chunk.id)?.prepare())).collect::<Vec<_>>()
    });
    let mut batch = Vec::with_capacity(plan.chunks.len());
    let mut rows = Vec::with_capacity(plan.chunks.len());
    let mut next_row = 0;
    for (chunk, wanted) in plan.chunks.iter().zip(&wants) {
        let sequence = sequences.get(&chunk.id).ok_or("a planned sequence is gone")?;
        let range = chunk.start..chunk.start + chunk.tokens;
        let tokens = sequence.tokens.get(range).ok_or("a plan goes past the sequence's tokens")?;
        let blocks = scheduler.table(chunk.id).ok_or("a planned sequence has no blocks")?;
        let count = match wanted {
            LogitsWanted::None => 0,
            LogitsWanted::Last => 1,
            LogitsWanted::All => chunk.tokens,
        };
        rows.push(next_row..next_row + count);
        next_row += count;
        let (start, adapter) = (chunk.start, sequence.adapter);
        batch.push(SequenceChunk { tokens, start, blocks, logits: *wanted, adapter });
    }
    let run = || match (draws, backend.drawing()) {
        (Some(draws), Some(drawing)) => {
            let mut drawn = drawing.forward_and_draw(&batch, &draws)?.into_iter();
            let of_chunk = |wanted: &LogitsWanted| {
                if *wanted == LogitsWanted::Last { drawn.next() } else { None }
            };
            Ok(Computed::Drawn(wants.iter().map(of_chunk).collect()))
        }
        (Some(_) | None, _) => backend.forward(&batch, logits).map(|()| Computed::Rows(rows)),
    };
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(computed)) => Ok(computed),
        Ok(Err(error)) => Err(StepFailure {
            problem: error.to_string(),
            is_final: matches!(error, BackendError::Lost { .. }),
        }),
        Err(panic) => Err(format!("the backend panicked: {}", panic_message(&*panic)).as_str().into()),
    }
}
