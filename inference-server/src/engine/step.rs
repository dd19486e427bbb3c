//! The compute half of a step: a plan and the sequences' tokens in, rows of logits or tokens out.

use std::collections::HashMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::sequence::Sequence;
use super::worker::panic_message;
use crate::backend::{Backend, BackendError, Drawing, Drawn, Logits, LogitsWanted, SequenceChunk};
use crate::kv::BlockId;
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

/// A step on its way.
#[derive(Debug)]
pub(super) enum Begun {
    /// It runs, and is to be fetched; the rows that each chunk wants.
    Running(Vec<LogitsWanted>),
    /// It is done.
    Done(Computed),
}

/// Begins `plan` on the backend, which draws by itself where it can: rows of a vocabulary are long. Where it can't, the
/// step is computed before this returns.
///
/// # Errors
/// [`StepFailure`], when the backend fails or panics.
pub(super) fn begin(
    backend: &mut dyn Backend,
    plan: &StepPlan,
    scheduler: &Scheduler,
    sequences: &mut HashMap<SequenceId, Sequence>,
    logits: &mut Logits,
) -> Result<Begun, StepFailure> {
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
    guarded(|| match (draws, backend.drawing()) {
        (Some(draws), Some(drawing)) => drawing.begin(&batch, &draws).map(|()| Begun::Running(wants)),
        (Some(_) | None, _) => backend.forward(&batch, logits).map(|()| Begun::Done(Computed::Rows(rows))),
    })
}

/// What came of the step that was begun.
///
/// # Errors
/// [`StepFailure`], when the backend fails or panics.
pub(super) fn fetch(backend: &mut dyn Backend, begun: Begun) -> Result<Computed, StepFailure> {
    let wants = match begun {
        Begun::Done(computed) => return Ok(computed),
        Begun::Running(wants) => wants,
    };
    let drawn = guarded(|| backend.drawing().map_or(Ok(Vec::new()), Drawing::fetch))?;
    let mut drawn = drawn.into_iter();
    let of_chunk = |wanted: &LogitsWanted| if *wanted == LogitsWanted::Last { drawn.next() } else { None };
    Ok(Computed::Drawn(wants.iter().map(of_chunk).collect()))
}

/// Whether the backend computes anything at all: one token, into a block that is nobody's.
///
/// # Errors
/// [`StepFailure`], when it does not.
pub(super) fn probe(
    backend: &mut dyn Backend,
    block: BlockId,
    logits: &mut Logits,
) -> Result<(), StepFailure> {
    let (tokens, blocks) = ([0], [block]);
    let wanted = LogitsWanted::Last;
    let chunk = SequenceChunk { tokens: &tokens, start: 0, blocks: &blocks, logits: wanted, adapter: None };
    guarded(|| backend.forward(&[chunk], logits))
}

fn guarded<T>(run: impl FnOnce() -> Result<T, BackendError>) -> Result<T, StepFailure> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(StepFailure {
            problem: error.to_string(),
            is_final: matches!(error, BackendError::Lost { .. }),
        }),
        Err(panic) => Err(format!("the backend panicked: {}", panic_message(&*panic)).as_str().into()),
    }
}
