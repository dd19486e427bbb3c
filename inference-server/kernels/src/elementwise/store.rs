//! Queries, keys and values after their product: biased, normalised, turned, and stored in the cache, in one
//! pass over the rows.

use super::super::Isa;
use super::super::attention::KvCache;
use super::super::pool::{Pool, WorkerPanicked};
use super::super::shared::SharedSlice;
use super::super::simd::dispatch;
use super::norm::normalize_in_place;
use super::rotary::{rotate_halves, rotate_pairs};
use super::{Norm, PairLayout, RotaryTable, for_rows};
use crate::attention::{BLOCK_SIZE, BlockId};

/// Where a step's queries, keys and values lie, and how queries are scaled.
#[derive(Clone, Copy, Debug)]
pub struct QkvShape {
    /// Query heads.
    pub heads: usize,
    /// Key-value heads.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head: usize,
    /// Factor on queries: attention's `1 / sqrt(head)` or the model's own.
    pub query_scale: f32,
}

impl QkvShape {
    /// Elements of a row's queries.
    pub fn query_width(self) -> usize {
        self.heads * self.head
    }

    /// Elements of a row: all queries, then all keys, then all values.
    pub fn width(self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head
    }
}

/// What some families do to queries, keys and values before they are turned.
#[derive(Clone, Copy, Debug, Default)]
pub struct QkvWeights<'a> {
    /// `[width]`, or empty where there is none.
    pub bias: &'a [f32],
    /// Of each query head, `[head]`.
    pub query_norm: Option<&'a Norm>,
    /// Of each key head, `[head]`.
    pub key_norm: Option<&'a Norm>,
}

/// Adds the bias to `qkv`, normalises and turns its queries and keys, scales its queries in place, and stores its
/// keys and values in `cache`.
///
/// Shapes: `qkv` is `[rows, width]`; `places[row]` is the row's block and slot in `layer`, no two alike.
///
/// # Errors
/// [`WorkerPanicked`], when the output is not to be used.
#[allow(clippy::too_many_arguments)] // One pass over the rows instead of five.
pub fn rotate_and_store(
    pool: &mut Pool,
    isa: Isa,
    shape: QkvShape,
    weights: QkvWeights<'_>,
    table: &RotaryTable,
    places: &[(BlockId, usize)],
    qkv: &mut [f32],
    cache: &mut KvCache,
    layer: usize,
) -> Result<(), WorkerPanicked> {
    let width = shape.width();
    debug_assert!(qkv.len() >= places.len() * width);
    debug_assert!(
        places
            .iter()
            .all(|(block, slot)| { (block.0 as usize) < cache.shape().blocks && *slot < BLOCK_SIZE })
    );
    let rows = SharedSlice::new(qkv);
    let writer = cache.writer();
    for_rows(pool, places.len(), &|row| {
        // SAFETY: each row and each place is one task's, and `isa` is available.
        unsafe {
            let all = rows.part(row * width, width);
            all.iter_mut().zip(weights.bias).for_each(|(x, bias)| *x += bias);
            let (queries, keys_values) = all.split_at_mut(shape.query_width());
            let (keys, values) = keys_values.split_at_mut(shape.kv_heads * shape.head);
            let tables = table.row(row);
            turn(isa, table.layout, queries, shape.head, weights.query_norm, tables, shape.query_scale);
            turn(isa, table.layout, keys, shape.head, weights.key_norm, tables, 1.0);
            let heads = keys.chunks_exact(shape.head).zip(values.chunks_exact(shape.head));
            for (head, (key, value)) in heads.enumerate() {
                writer.store(isa, layer, places[row], head, key, value);
            }
        }
    })
}

/// # Safety
/// `isa` is available.
unsafe fn turn(
    isa: Isa,
    layout: PairLayout,
    heads: &mut [f32],
    size: usize,
    norm: Option<&Norm>,
    (cosines, sines): (&[f32], &[f32]),
    scale: f32,
) {
    for head in heads.chunks_exact_mut(size) {
        // SAFETY: the caller's promise.
        unsafe {
            if let Some(norm) = norm {
                normalize_in_place(isa, head, norm);
            }
            match layout {
                PairLayout::Interleaved => {
                    dispatch!(isa, rotate_pairs(head: &mut [f32], cosines: &[f32], sines: &[f32], scale: f32));
                }
                PairLayout::Halves => {
                    dispatch!(isa, rotate_halves(head: &mut [f32], cosines: &[f32], sines: &[f32], scale: f32));
                }
            }
        }
    }
}
