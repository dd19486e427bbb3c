//! Attention over the paged cache.
//!
//! `cache` is the memory and its layout, `format` what its elements are; `tile` the online softmax of a few query rows that share a
//! key-value head.

mod cache;
mod format;
mod tile;

use super::Isa;
use super::pool::{Pool, WorkerPanicked};
use super::shared::SharedSlice;
use super::simd::dispatch;
use crate::kv::BlockId;
pub use cache::{KvCache, KvShape};
pub use format::KvKind;
use format::{F16, F32, Q8};
use tile::MAX_HEAD;
use tile::{Results, SEGMENT, TileJob, attend, merge, place};

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

/// Rows of one head of one sequence; where few tasks and many positions leave threads idle, a span of
/// positions alone.
struct Task {
    sequence: usize,
    kv_head: usize,
    first: usize,
    count: usize,
    part: Option<Part>,
}

/// Positions that a task attends to, and where its partial rows begin.
struct Part {
    from: usize,
    to: usize,
    offset: usize,
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
            && sequence.start + sequence.tokens <= sequence.blocks.len() * crate::kv::BLOCK_SIZE
            && sequence.blocks.iter().all(|block| (block.0 as usize) < kv.blocks)
    };
    debug_assert!(sequences.iter().all(inside));
    // Rows of one head are (token, query head of the group) pairs, tokens first.
    let tiles = |sequence: &SequenceQueries<'_>| (sequence.tokens * group).div_ceil(TASK_ROWS);
    let whole: usize = sequences.iter().map(|sequence| tiles(sequence) * kv.heads).sum();
    let wanted_parts = (pool.threads() * TASKS_A_THREAD).div_ceil(whole.max(1));

    let (mut tasks, mut partial_length) = (Vec::new(), 0);
    for (index, sequence) in sequences.iter().enumerate().filter(|(_, sequence)| inside(sequence)) {
        let earliest = shape.visible(sequence, 0).0 / SEGMENT * SEGMENT;
        let latest = sequence.start + sequence.tokens;
        let positions = latest - earliest;
        let parts = if pool.threads() == 1 { 1 } else { wanted_parts.min(positions / SEGMENT).max(1) };
        let span = positions.div_ceil(parts).next_multiple_of(SEGMENT);
        let rows = sequence.tokens * group;
        for first in (0..rows).step_by(TASK_ROWS).rev() {
            let count = TASK_ROWS.min(rows - first);
            for kv_head in 0..kv.heads {
                let task = |part| Task { sequence: index, kv_head, first, count, part };
                if parts == 1 {
                    tasks.push(task(None));
                    continue;
                }
                for from in (earliest..latest).step_by(span) {
                    let part = Part { from, to: latest.min(from + span), offset: partial_length };
                    tasks.push(task(Some(part)));
                    partial_length += count * (kv.head + 2);
                }
            }
        }
    }

    let mut partial = vec![0.0; partial_length];
    let shared = SharedSlice::new(&mut partial);
    let finished = SharedSlice::new(out);
    let job = |task: &Task| TileJob {
        sequence: &sequences[task.sequence],
        cache,
        layer,
        kv_head: task.kv_head,
        group,
        shape,
        queries,
        results: match task.part {
            None => Results::Finished(finished),
            Some(Part { from, to, offset }) => Results::Partial { from, to, rows: shared, offset },
        },
    };
    pool.run(tasks.len(), &|index| {
        let task = &tasks[index];
        let job = &job(task);
        let (first, count) = (task.first, task.count);
        // SAFETY: `isa` is available; the sequence was checked to lie inside queries, results and cache;
        // no other task has these rows of these heads, or this place among partial rows.
        unsafe {
            match kv.kind {
                KvKind::F32 => dispatch!(isa, attend::<F32>(job: &TileJob<'_>, first: usize, count: usize)),
                KvKind::F16 => dispatch!(isa, attend::<F16>(job: &TileJob<'_>, first: usize, count: usize)),
                KvKind::Q8_0 => dispatch!(isa, attend::<Q8>(job: &TileJob<'_>, first: usize, count: usize)),
            }
        };
    })?;

    let width = kv.head + 2;
    let split: Vec<&Task> = tasks.iter().filter(|task| task.part.is_some()).collect();
    let same = |a: &&Task, b: &&Task| (a.sequence, a.kv_head, a.first) == (b.sequence, b.kv_head, b.first);
    for parts in split.chunk_by(same) {
        let Some(task) = parts.first() else { continue };
        for row in 0..task.count {
            let part = |task: &&Task| {
                let offset = task.part.as_ref().map_or(0, |part| part.offset) + row * width;
                &partial[offset..offset + width]
            };
            let sequence = &sequences[task.sequence];
            let (out_row, head) = place(sequence, task.kv_head, group, task.first + row);
            // SAFETY: the workers are done; this is the only thread left.
            let out = unsafe { finished.part(out_row * shape.out_width + head * kv.head, kv.head) };
            merge(parts.iter().map(part), out);
        }
    }
    Ok(())
}
