//! The first and last of a forward pass, and what copies rows.

use super::super::Isa;
use super::super::activations::Activations;
use super::super::packed::PackedMatrix;
use super::super::pool::{Pool, WorkerPanicked};
use super::super::shared::SharedSlice;
use super::super::simd::{Simd, dispatch, exp};
use super::for_rows;

/// `out[row] = table[tokens[row]] * scale`; `out` is `[tokens, columns]`. Ids past the table leave their row alone.
///
/// # Errors
/// [`WorkerPanicked`], when the output is not to be used.
pub fn embed(
    pool: &mut Pool,
    table: &PackedMatrix,
    tokens: &[u32],
    scale: f32,
    out: &mut [f32],
) -> Result<(), WorkerPanicked> {
    let columns = table.layout().columns();
    debug_assert!(out.len() >= tokens.len() * columns);
    let out = SharedSlice::new(out);
    for_rows(pool, tokens.len(), &|row| {
        // SAFETY: each row is one task's.
        let out = unsafe { out.part(row * columns, columns) };
        table.dequantize_row(tokens[row] as usize, out);
        if scale != 1.0 {
            out.iter_mut().for_each(|x| *x *= scale);
        }
    })
}

/// `out[row] += table[ids[row]]`; `out` is `[tokens, columns]`. Ids past the table leave their row alone.
pub fn add_embeddings(table: &PackedMatrix, ids: impl Iterator<Item = usize>, out: &mut [f32]) {
    let columns = table.layout().columns();
    let mut found = vec![0.0; columns];
    for (row, id) in out.chunks_exact_mut(columns.max(1)).zip(ids) {
        found.fill(0.0);
        table.dequantize_row(id, &mut found);
        row.iter_mut().zip(&found).for_each(|(x, more)| *x += more);
    }
}

/// `out[row] += bias` for each of the rows; `out` is `[rows, columns]`. An empty bias adds nothing.
pub fn add_rows(out: &mut [f32], bias: &[f32]) {
    if bias.is_empty() {
        return;
    }
    for row in out.chunks_exact_mut(bias.len().max(1)) {
        row.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);
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

/// `values = cap * tanh(values / cap)` (Gemma 2's soft cap), shared out in rows of `width`.
///
/// # Errors
/// [`WorkerPanicked`], when the values are not to be used.
pub fn scale_capped(
    pool: &mut Pool,
    isa: Isa,
    values: &mut [f32],
    width: usize,
    cap: f32,
) -> Result<(), WorkerPanicked> {
    let rows = values.len() / width.max(1);
    let shared = SharedSlice::new(values);
    for_rows(pool, rows, &|row| {
        // SAFETY: each row is one task's, and `isa` is available.
        unsafe {
            let row = shared.part(row * width, width);
            dispatch!(isa, cap_row(row: &mut [f32], cap: f32));
        }
    })
}

/// # Safety
/// The CPU has `S`.
#[inline(always)]
pub(crate) unsafe fn cap_row<S: Simd>(row: &mut [f32], cap: f32) {
    let whole = row.len() / S::LANES * S::LANES;
    for at in (0..whole).step_by(S::LANES) {
        // SAFETY: the CPU has `S`, and the vector lies inside the slice.
        unsafe { S::store(row.as_mut_ptr().add(at), soft_cap::<S>(S::load(row.as_ptr().add(at)), cap)) };
    }
    row[whole..].iter_mut().for_each(|x| *x = cap * (*x / cap).tanh());
}

/// `cap * tanh(x / cap)`; `tanh(u)` is `1 - 2 / (1 + e^2u)`.
///
/// # Safety
/// The CPU has `S`.
#[inline(always)]
pub(crate) unsafe fn soft_cap<S: Simd>(x: S::Float, cap: f32) -> S::Float {
    // SAFETY: the caller's promise.
    unsafe {
        let exponential = exp::<S>(S::mul(x, S::splat(2.0 / cap)));
        let part = S::div(S::splat(2.0 * cap), S::add(S::splat(1.0), exponential));
        S::sub(S::splat(cap), part)
    }
}
