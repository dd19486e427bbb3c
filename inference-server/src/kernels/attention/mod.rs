//! Attention over the paged cache.
//!
//! `cache` is the memory and its layout; `tile` the online softmax of a few query rows that share a
//! key-value head.

mod cache;
mod tile;

use super::Isa;
use super::pool::{Pool, WorkerPanicked};
use super::shared::SharedSlice;
use super::simd::dispatch;
use crate::kv::BlockId;
pub use cache::{KvCache, KvShape};
pub(super) use tile::MAX_HEAD;
use tile::{TileJob, attend};

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
}

/// Query rows that one task takes on, a few tiles' worth.
const TASK_ROWS: usize = 16;

struct Task {
    sequence: usize,
    kv_head: usize,
    first: usize,
    count: usize,
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
    let mut tasks = Vec::new();
    for (index, sequence) in sequences.iter().enumerate() {
        let last_row = sequence.first_row + sequence.tokens;
        let inside = last_row * shape.query_width <= queries.len()
            && last_row * shape.out_width <= out.len()
            && sequence.start + sequence.tokens <= sequence.blocks.len() * crate::kv::BLOCK_SIZE
            && sequence.blocks.iter().all(|block| (block.0 as usize) < kv.blocks);
        debug_assert!(inside);
        if !inside {
            continue;
        }
        // Rows of one head are (token, query head of the group) pairs, tokens first.
        let rows = sequence.tokens * group;
        for first in (0..rows).step_by(TASK_ROWS).rev() {
            let count = TASK_ROWS.min(rows - first);
            tasks.extend((0..kv.heads).map(|kv_head| Task { sequence: index, kv_head, first, count }));
        }
    }
    let out = SharedSlice::new(out);
    pool.run(tasks.len(), &|index| {
        let task = &tasks[index];
        let job = &TileJob {
            sequence: &sequences[task.sequence],
            cache,
            layer,
            kv_head: task.kv_head,
            group,
            shape,
            queries,
            out,
        };
        let (first, count) = (task.first, task.count);
        // SAFETY: `isa` is available; the sequence was checked to lie inside queries, results and cache;
        // no other task has these rows of these heads.
        unsafe { dispatch!(isa, attend(job: &TileJob<'_>, first: usize, count: usize)) };
    })
}
