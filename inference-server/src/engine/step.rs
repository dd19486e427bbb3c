//! The compute half of a step: a plan and the sequences' tokens in, rows of logits or tokens out.

use std::collections::HashMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::sequence::Sequence;
use super::worker::panic_message;
use crate::backend::{Backend, BackendError, Drawing, Drawn, Logits, LogitsWanted, SequenceChunk};
use crate::kv::BlockId;
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

/// What came of a chunk.
#[derive(Debug)]
pub(super) enum Computed {
    /// Rows of the logits.
    Rows(Range<usize>),
    /// A token, where it samples.
    Drawn(Option<Drawn>),
}

/// A step on its way.
#[derive(Debug)]
pub(super) enum Begun {
    /// It runs, and is to be fetched: what each chunk wants, or the rows that it has already.
    Running(Vec<Chunk>),
    /// It is done.
    Done(Vec<Computed>),
}

/// A chunk of a step that runs.
#[derive(Debug)]
pub(super) enum Chunk {
    /// A token is drawn for it.
    Draws,
    /// Nothing is wanted of it.
    Fills,
    /// Its rows are there.
    Has(Range<usize>),
}

/// Begins `plan` on the backend, which draws by itself where it can: rows of a vocabulary are long. Where it can't, the
/// step is computed before this returns, and so are chunks of which every row is wanted: they are a step of their own
/// then, so that the others' draws are made where they are made without them.
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
    let mut wants = Vec::with_capacity(plan.chunks.len());
    for chunk in &plan.chunks {
        let sequence = sequences.get(&chunk.id).ok_or("a planned sequence is gone")?;
        wants.push(sequence.wanted(chunk));
    }
    let draws = backend.drawing().is_some().then(|| {
        let drawing = plan.chunks.iter().zip(&wants).filter(|(_, wanted)| **wanted == LogitsWanted::Last);
        drawing.filter_map(|(chunk, _)| Some(sequences.get_mut(&chunk.id)?.prepare())).collect::<Vec<_>>()
    });
    let mut batch = Vec::with_capacity(plan.chunks.len());
    for (chunk, wanted) in plan.chunks.iter().zip(&wants) {
        let sequence = sequences.get(&chunk.id).ok_or("a planned sequence is gone")?;
        let range = chunk.start..chunk.start + chunk.tokens;
        let tokens = sequence.tokens.get(range).ok_or("a plan goes past the sequence's tokens")?;
        let blocks = scheduler.table(chunk.id).ok_or("a planned sequence has no blocks")?;
        let (start, adapter) = (chunk.start, sequence.adapter);
        batch.push(SequenceChunk { tokens, start, blocks, logits: *wanted, adapter });
    }
    let Some(draws) = draws else {
        guarded(|| backend.forward(&batch, logits))?;
        let rows = rows_of(&batch);
        return Ok(Begun::Done(rows.into_iter().map(Computed::Rows).collect()));
    };
    let (whole, others): (Vec<_>, Vec<_>) =
        batch.into_iter().partition(|chunk| chunk.logits == LogitsWanted::All);
    if !whole.is_empty() {
        guarded(|| backend.forward(&whole, logits))?;
    }
    let mut rows = rows_of(&whole).into_iter();
    let chunks = wants.iter().map(|wanted| match wanted {
        LogitsWanted::None => Chunk::Fills,
        LogitsWanted::Last => Chunk::Draws,
        LogitsWanted::All => Chunk::Has(rows.next().unwrap_or_default()),
    });
    let chunks = chunks.collect();
    guarded(|| backend.drawing().map_or(Ok(()), |drawing| drawing.begin(&others, &draws)))?;
    Ok(Begun::Running(chunks))
}

/// The rows of logits of each chunk.
fn rows_of(batch: &[SequenceChunk<'_>]) -> Vec<Range<usize>> {
    let mut next = 0;
    let rows = batch.iter().map(|chunk| {
        let first = next;
        next += match chunk.logits {
            LogitsWanted::None => 0,
            LogitsWanted::Last => 1,
            LogitsWanted::All => chunk.tokens.len(),
        };
        first..next
    });
    rows.collect()
}

/// What came of the step that was begun, by chunk.
///
/// # Errors
/// [`StepFailure`], when the backend fails or panics.
pub(super) fn fetch(backend: &mut dyn Backend, begun: Begun) -> Result<Vec<Computed>, StepFailure> {
    let chunks = match begun {
        Begun::Done(computed) => return Ok(computed),
        Begun::Running(chunks) => chunks,
    };
    let drawn = guarded(|| backend.drawing().map_or(Ok(Vec::new()), Drawing::fetch))?;
    let mut drawn = drawn.into_iter();
    let computed = chunks.into_iter().map(|chunk| match chunk {
        Chunk::Draws => Computed::Drawn(drawn.next()),
        Chunk::Fills => Computed::Drawn(None),
        Chunk::Has(rows) => Computed::Rows(rows),
    });
    Ok(computed.collect())
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
