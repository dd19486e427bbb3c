//! Attention over the paged cache.
//!
//! `block` is the unit that sequences are given, `cache` the memory and its layout, `format` what its elements are; `tile` the online softmax of a few query rows that share a
//! key-value head.

mod block;
mod cache;
mod format;
mod tile;

use std::ops::Range;

use super::Isa;
use super::pool::{Pool, WorkerPanicked};
use super::shared::SharedSlice;
use super::simd::dispatch;
pub use block::{BLOCK_SIZE, BlockId};
pub use cache::{KvCache, KvShape};
pub use format::KvKind;
use format::{F16, F32, Q8};
use tile::{MAX_HEAD, SPAN, TileJob, attend, merge, place};

/// One sequence's queries in a step.
#[derive(Clone, Copy, Debug)]
pub struct SequenceQueries<'a> {
    /// Row of its first token in the step's matrices.
    pub first_row: usize,
    /// Its tokens in this step.
    pub tokens: usize,
    /// Position of its first token. Token `t` sees positions `0 ..= start + t`.
    pub start: usize,
    /// Its block table, which covers `start + tokens` positions, all of them stored.
    pub blocks: &'a [BlockId],
}

/// Query heads and where queries and results lie.
#[derive(Clone, Copy, Debug)]
pub struct AttentionShape {
    /// Query heads; a multiple of the cache's heads.
    pub heads: usize,
    /// Elements of a row of queries: head `h` of a token is at `h * head` in its row, already scaled.
    pub query_width: usize,
    /// Elements of a row of results, laid out as the queries.
    pub out_width: usize,
    /// What a token sees of its sequence.
    pub sight: Sight,
    /// Scores become `cap * tanh(score / cap)` (Gemma 2).
    pub soft_cap: Option<f32>,
    /// How a row's positions are added up.
    pub order: AdditionOrder,
}

/// In which order a row's positions are added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AdditionOrder {
    /// In spans of one length, merged in the end: a row is the same bits whatever else a step computes.
    #[default]
    Fixed,
    /// As a step's tasks happen to be cut, which saves the spans' merging. Served nowhere: a benchmark takes the
    /// price of [`Self::Fixed`] with it.
    Free,
}

impl AdditionOrder {
    /// Spans that one partial row of a task of `spans` is the sum of.
    fn step(self, spans: &Range<usize>) -> usize {
        match self {
            Self::Fixed => 1,
            Self::Free => spans.len().max(1),
        }
    }
}

/// What a token sees of its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Itself and everything before it.
    Causal,
    /// Of these, the latest so many, itself included.
    Window(usize),
    /// Everything, later tokens of the step included.
    Whole,
}

impl AttentionShape {
    /// Positions that token `token` of a step's sequence sees: from the first, up to before the second.
    fn visible(self, sequence: &SequenceQueries<'_>, token: usize) -> (usize, usize) {
        let end = sequence.start + token + 1;
        match self.sight {
            Sight::Causal => (0, end),
            Sight::Window(length) => (end.saturating_sub(length), end),
            Sight::Whole => (0, sequence.start + sequence.tokens),
        }
    }
}

/// Query rows that one task takes on, a few tiles' worth.
const TASK_ROWS: usize = 16;
/// Tasks that a thread should find, so that none waits long for the last.
const TASKS_A_THREAD: usize = 4;

/// Rows of one head of one sequence; where few tasks and many positions leave threads idle, some spans of positions
/// alone.
struct Task {
    sequence: usize,
    kv_head: usize,
    first: usize,
    count: usize,
    spans: Range<usize>,
    /// Where its partial rows begin, when others have the other spans.
    partial: Option<usize>,
}

/// Attention of every sequence's queries over its own blocks of `layer`, into `out`.
///
/// Shapes: `queries` is `[rows, query_width]`, `out` is `[rows, out_width]`.
///
/// # Errors
/// [`WorkerPanicked`], when the output is not to be used.
#[allow(clippy::too_many_arguments)] // What attention takes.
pub fn attention(
    pool: &mut Pool,
    isa: Isa,
    shape: AttentionShape,
    sequences: &[SequenceQueries<'_>],
    cache: &KvCache,
    layer: usize,
    queries: &[f32],
    out: &mut [f32],
) -> Result<(), WorkerPanicked> {
    let kv = cache.shape();
    let group = shape.heads / kv.heads;
    let inside = |sequence: &SequenceQueries<'_>| {
        let last_row = sequence.first_row + sequence.tokens;
        last_row * shape.query_width <= queries.len()
            && last_row * shape.out_width <= out.len()
            && sequence.start + sequence.tokens <= sequence.blocks.len() * BLOCK_SIZE
            && sequence.blocks.iter().all(|block| (block.0 as usize) < kv.blocks)
    };
    debug_assert!(sequences.iter().all(inside));
    // Rows of one head are (token, query head of the group) pairs, tokens first.
    let tiles = |sequence: &SequenceQueries<'_>| (sequence.tokens * group).div_ceil(TASK_ROWS);
    let whole: usize = sequences.iter().map(|sequence| tiles(sequence) * kv.heads).sum();
    let wanted_parts = (pool.threads() * TASKS_A_THREAD).div_ceil(whole.max(1));

    let width = kv.head + 2;
    let pieces = |spans: &Range<usize>| spans.len().div_ceil(shape.order.step(spans));
    let (mut tasks, mut partial_length) = (Vec::new(), 0);
    for (index, sequence) in sequences.iter().enumerate().filter(|(_, sequence)| inside(sequence)) {
        let rows = sequence.tokens * group;
        for first in (0..rows).step_by(TASK_ROWS).rev() {
            let count = TASK_ROWS.min(rows - first);
            let earliest = shape.visible(sequence, first / group).0 / SPAN;
            let latest = shape.visible(sequence, (first + count - 1) / group).1.div_ceil(SPAN);
            let parts = if pool.threads() == 1 { 1 } else { wanted_parts.min(latest - earliest) };
            let step = (latest - earliest).div_ceil(parts);
            for kv_head in 0..kv.heads {
                for from in (earliest..latest).step_by(step) {
                    let spans = from..latest.min(from + step);
                    let partial = (parts > 1).then_some(partial_length);
                    partial_length += if parts > 1 { pieces(&spans) * count * width } else { 0 };
                    tasks.push(Task { sequence: index, kv_head, first, count, spans, partial });
                }
            }
        }
    }

    let mut partial = vec![0.0; partial_length];
    let shared = SharedSlice::new(&mut partial);
    let finished = SharedSlice::new(out);
    let result = |task: &Task, row: usize| {
        let (row, head) = place(&sequences[task.sequence], task.kv_head, group, task.first + row);
        // SAFETY: no other task has these rows of these heads, and where several have, the workers are done.
        unsafe { finished.part(row * shape.out_width + head * kv.head, kv.head) }
    };
    pool.run(tasks.len(), &|index| {
        let task = &tasks[index];
        let sequence = &sequences[task.sequence];
        let job = &TileJob { sequence, cache, layer, kv_head: task.kv_head, group, shape, queries };
        let (first, count, spans) = (task.first, task.count, task.spans.clone());
        let length = pieces(&spans) * count * width;
        let mut own = Vec::new();
        let rows: &mut [f32] = match task.partial {
            // SAFETY: no other task has this place among partial rows.
            Some(offset) => unsafe { shared.part(offset, length) },
            None => {
                own.resize(length, 0.0);
                &mut own
            }
        };
        // SAFETY: `isa` is available; the sequence was checked to lie inside queries, results and cache.
        unsafe {
            let rows: &mut [f32] = &mut *rows;
            match kv.kind {
                KvKind::F32 => dispatch!(isa, attend::<F32>(job: &TileJob<'_>, first: usize, count: usize, spans: Range<usize>, rows: &mut [f32])),
                KvKind::F16 => dispatch!(isa, attend::<F16>(job: &TileJob<'_>, first: usize, count: usize, spans: Range<usize>, rows: &mut [f32])),
                KvKind::Q8_0 => dispatch!(isa, attend::<Q8>(job: &TileJob<'_>, first: usize, count: usize, spans: Range<usize>, rows: &mut [f32])),
            }
        };
        for row in (0..count).filter(|_| task.partial.is_none()) {
            let parts = own.chunks_exact(count * width).map(|span| &span[row * width..][..width]);
            merge(parts, result(task, row));
        }
    })?;

    let split: Vec<&Task> = tasks.iter().filter(|task| task.partial.is_some()).collect();
    let same = |a: &&Task, b: &&Task| (a.sequence, a.kv_head, a.first) == (b.sequence, b.kv_head, b.first);
    for parts in split.chunk_by(same) {
        let Some(task) = parts.first() else { continue };
        for row in 0..task.count {
            let spans = parts.iter().flat_map(|part| {
                let length = pieces(&part.spans) * part.count * width;
                partial[part.partial.unwrap_or(0)..][..length].chunks_exact(part.count * width)
            });
            merge(spans.map(|span| &span[row * width..][..width]), result(task, row));
        }
    }
    Ok(())
}
