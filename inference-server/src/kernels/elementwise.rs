//! What happens between matrix products, row by row: normalise, rotate, store, gate, quantise.

use super::Isa;
use super::activations::Activations;
use super::attention::KvCache;
use super::packed::PackedMatrix;
use super::pool::{Pool, WorkerPanicked};
use super::shared::SharedSlice;
use super::simd::{Simd, dispatch, exp};
use crate::kv::{BLOCK_SIZE, BlockId};

/// Rows below which waking workers costs more than the rows.
const INLINE_ROWS: usize = 4;

/// Calls `each(row)` for every row, on the pool when there are enough.
pub fn for_rows(pool: &mut Pool, rows: usize, each: &(dyn Fn(usize) + Sync)) -> Result<(), WorkerPanicked> {
    let chunk = if rows <= INLINE_ROWS { rows.max(1) } else { rows.div_ceil(pool.threads() * 4).max(2) };
    pool.run(rows.div_ceil(chunk), &|index| {
        (index * chunk..rows.min((index + 1) * chunk)).for_each(each);
    })
}

/// `out = quantise(rms_norm(input) * weight)`; `input` is `[tokens, columns]` as `out` was reset to.
///
/// # Errors
/// [`WorkerPanicked`], when the output is not to be used.
pub fn rms_norm(
    pool: &mut Pool,
    isa: Isa,
    input: &[f32],
    weight: &[f32],
    epsilon: f32,
    out: &mut Activations,
) -> Result<(), WorkerPanicked> {
    let (rows, columns) = (out.tokens(), out.columns());
    debug_assert!(input.len() >= rows * columns && weight.len() == columns);
    let out = out.writer();
    for_rows(pool, rows, &|row| {
        let Some(input) = input.get(row * columns..(row + 1) * columns) else { return };
        // SAFETY: each row is one task's, and `isa` is available.
        unsafe {
            let normed = out.row(row);
            dispatch!(isa, rms_norm_row(input: &[f32], weight: &[f32], epsilon: f32, normed: &mut [f32]));
            out.quantize(isa, row);
        }
    })
}

/// # Safety
/// The CPU has `S`.
#[inline(always)]
unsafe fn rms_norm_row<S: Simd>(input: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
    let whole = input.len() / S::LANES * S::LANES;
    // SAFETY: the CPU has `S`, and only whole vectors inside the slice are read.
    let squares = unsafe {
        let mut squares = S::splat(0.0);
        for at in (0..whole).step_by(S::LANES) {
            let x = S::load(input.as_ptr().add(at));
            squares = S::mul_add(x, x, squares);
        }
        S::sum(squares)
    };
    let squares = squares + input[whole..].iter().map(|x| x * x).sum::<f32>();
    let scale = 1.0 / (squares / input.len() as f32 + epsilon).sqrt();
    for ((out, x), w) in out.iter_mut().zip(input).zip(weight) {
        *out = x * scale * w;
    }
}

/// `out = quantise(silu(gate) * up)`; `gate_up` is `[tokens, 2 * columns]`, gates first.
///
/// # Errors
/// [`WorkerPanicked`], when the output is not to be used.
pub fn swiglu(
    pool: &mut Pool,
    isa: Isa,
    gate_up: &[f32],
    out: &mut Activations,
) -> Result<(), WorkerPanicked> {
    let (rows, columns) = (out.tokens(), out.columns());
    debug_assert!(gate_up.len() >= rows * columns * 2);
    let out = out.writer();
    for_rows(pool, rows, &|row| {
        let Some(both) = gate_up.get(row * columns * 2..(row + 1) * columns * 2) else { return };
        let (gate, up) = both.split_at(columns);
        // SAFETY: each row is one task's, and `isa` is available.
        unsafe {
            let gated = out.row(row);
            dispatch!(isa, swiglu_row(gate: &[f32], up: &[f32], gated: &mut [f32]));
            out.quantize(isa, row);
        }
    })
}

/// # Safety
/// The CPU has `S`.
#[inline(always)]
unsafe fn swiglu_row<S: Simd>(gate: &[f32], up: &[f32], out: &mut [f32]) {
    let whole = out.len() / S::LANES * S::LANES;
    debug_assert!(gate.len() >= whole && up.len() >= whole);
    for at in (0..whole).step_by(S::LANES) {
        // SAFETY: the CPU has `S`, and the vector lies inside the three slices.
        unsafe {
            let g = S::load(gate.as_ptr().add(at));
            let denominator = S::add(S::splat(1.0), exp::<S>(S::sub(S::splat(0.0), g)));
            let gated = S::mul(S::div(g, denominator), S::load(up.as_ptr().add(at)));
            S::store(out.as_mut_ptr().add(at), gated);
        }
    }
    for at in whole..out.len() {
        out[at] = gate[at] / (1.0 + (-gate[at]).exp()) * up[at];
    }
}

/// `out = quantise(input)`; `input` is `[tokens, columns]` as `out` was reset to.
///
/// # Errors
/// [`WorkerPanicked`], when the output is not to be used.
pub fn quantize(
    pool: &mut Pool,
    isa: Isa,
    input: &[f32],
    out: &mut Activations,
) -> Result<(), WorkerPanicked> {
    let (rows, columns) = (out.tokens(), out.columns());
    let out = out.writer();
    for_rows(pool, rows, &|row| {
        let Some(input) = input.get(row * columns..(row + 1) * columns) else { return };
        // SAFETY: each row is one task's.
        unsafe {
            out.row(row).copy_from_slice(input);
            out.quantize(isa, row);
        }
    })
}

/// Cosines and sines of a step's positions, each doubled to stand beside the interleaved pairs.
#[derive(Debug, Default)]
pub struct RotaryTable {
    width: usize,
    /// `[rows, width]`: cos, cos.
    cosines: Vec<f32>,
    /// `[rows, width]`: -sin, sin.
    sines: Vec<f32>,
}

impl RotaryTable {
    /// Fills the table for `positions`; `frequencies` are radians per position of each pair.
    pub fn fill(&mut self, positions: impl Iterator<Item = usize>, frequencies: &[f64]) {
        self.width = frequencies.len() * 2;
        self.cosines.clear();
        self.sines.clear();
        for position in positions {
            for frequency in frequencies {
                let (sin, cos) = (position as f64 * frequency).sin_cos();
                self.cosines.extend([cos as f32; 2]);
                self.sines.extend([-sin as f32, sin as f32]);
            }
        }
    }

    /// The row's two tables.
    fn row(&self, row: usize) -> (&[f32], &[f32]) {
        let range = row * self.width..(row + 1) * self.width;
        (&self.cosines[range.clone()], &self.sines[range])
    }
}

/// Where a step's queries, keys and values lie, and how queries are scaled.
#[derive(Clone, Copy, Debug)]
pub struct QkvShape {
    /// Query heads.
    pub heads: usize,
    /// Key-value heads.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head: usize,
    /// Factor on queries: attention's `1 / sqrt(head)`.
    pub query_scale: f32,
}

impl QkvShape {
    /// Elements of a row: all queries, then all keys, then all values.
    pub fn width(self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head
    }
}

/// Rotates the queries of `qkv` in place, and rotates and stores its keys and stores its values in `cache`.
///
/// Shapes: `qkv` is `[rows, width]`; `places[row]` is the row's block and slot in `layer`.
///
/// # Errors
/// [`WorkerPanicked`], when the output is not to be used.
#[allow(clippy::too_many_arguments)] // One pass over the rows instead of three.
pub fn rotate_and_store(
    pool: &mut Pool,
    isa: Isa,
    shape: QkvShape,
    table: &RotaryTable,
    places: &[(BlockId, usize)],
    qkv: &mut [f32],
    cache: &mut KvCache,
    layer: usize,
) -> Result<(), WorkerPanicked> {
    let (width, queries) = (shape.width(), shape.heads * shape.head);
    let rotated = queries + shape.kv_heads * shape.head;
    debug_assert!(qkv.len() >= places.len() * width);
    debug_assert!(
        places
            .iter()
            .all(|(block, slot)| { (block.0 as usize) < cache.shape().blocks && *slot < BLOCK_SIZE })
    );
    let rows = SharedSlice::new(qkv);
    for_rows(pool, places.len(), &|row| {
        // SAFETY: each row is one task's, and `isa` is available.
        unsafe {
            let (cosines, sines) = table.row(row);
            let all = rows.part(row * width, width);
            for (index, head) in all[..rotated].chunks_exact_mut(shape.head).enumerate() {
                let scale = if index < shape.heads { shape.query_scale } else { 1.0 };
                dispatch!(isa, rotate(head: &mut [f32], cosines: &[f32], sines: &[f32], scale: f32));
            }
        }
    })?;
    let mut key = [0u16; super::attention::MAX_HEAD];
    let mut value = [0u16; super::attention::MAX_HEAD];
    for (row, &(block, slot)) in qkv.chunks_exact(width).zip(places) {
        let (keys, values) = row[queries..].split_at(shape.kv_heads * shape.head);
        let heads = keys.chunks_exact(shape.head).zip(values.chunks_exact(shape.head));
        for (head, (k, v)) in heads.enumerate() {
            let (key, value) = (&mut key[..shape.head], &mut value[..shape.head]);
            // SAFETY: `isa` is available.
            unsafe {
                dispatch!(isa, to_f16(k: &[f32], key: &mut [u16]));
                dispatch!(isa, to_f16(v: &[f32], value: &mut [u16]));
            }
            cache.store(layer, block, slot, head, key, value);
        }
    }
    Ok(())
}

/// # Safety
/// The CPU has `S`.
#[inline(always)]
unsafe fn rotate<S: Simd>(head: &mut [f32], cosines: &[f32], sines: &[f32], scale: f32) {
    let turned = cosines.len().min(sines.len()).min(head.len());
    let whole = turned / S::LANES * S::LANES;
    for at in (0..whole).step_by(S::LANES) {
        // SAFETY: the CPU has `S`, and the vector lies inside the three slices.
        unsafe {
            let x = S::load(head.as_ptr().add(at));
            let turned = S::mul(S::swap_pairs(x), S::load(sines.as_ptr().add(at)));
            let turned = S::mul_add(x, S::load(cosines.as_ptr().add(at)), turned);
            S::store(head.as_mut_ptr().add(at), S::mul(turned, S::splat(scale)));
        }
    }
    for at in (whole..turned / 2 * 2).step_by(2) {
        let (a, b) = (head[at], head[at + 1]);
        head[at] = (a * cosines[at] + b * sines[at]) * scale;
        head[at + 1] = (b * cosines[at + 1] + a * sines[at + 1]) * scale;
    }
    head[turned..].iter_mut().for_each(|x| *x *= scale);
}

/// # Safety
/// The CPU has `S`.
#[inline(always)]
unsafe fn to_f16<S: Simd>(from: &[f32], to: &mut [u16]) {
    let whole = from.len().min(to.len()) / S::LANES * S::LANES;
    for at in (0..whole).step_by(S::LANES) {
        // SAFETY: the CPU has `S`, and the vector lies inside both slices.
        unsafe { S::store_f16(to.as_mut_ptr().add(at), S::load(from.as_ptr().add(at))) };
    }
    for (to, from) in to.iter_mut().zip(from).skip(whole) {
        *to = half::f16::from_f32(*from).to_bits();
    }
}

/// `out[row] = table[tokens[row]]`; `out` is `[tokens, columns]`. Ids past the table leave their row alone.
///
/// # Errors
/// [`WorkerPanicked`], when the output is not to be used.
pub fn embed(
    pool: &mut Pool,
    table: &PackedMatrix,
    tokens: &[u32],
    out: &mut [f32],
) -> Result<(), WorkerPanicked> {
    let columns = table.layout().columns();
    debug_assert!(out.len() >= tokens.len() * columns);
    let out = SharedSlice::new(out);
    for_rows(pool, tokens.len(), &|row| {
        // SAFETY: each row is one task's.
        let out = unsafe { out.part(row * columns, columns) };
        table.dequantize_row(tokens[row] as usize, out);
    })
}
