//! Normalisation of rows: root-mean-square (arXiv 1910.07467) and layer normalisation (arXiv 1607.06450).

use super::super::Isa;
use super::super::activations::Activations;
use super::super::pool::{Pool, WorkerPanicked};
use super::super::shared::SharedSlice;
use super::super::simd::{MOST_VECTORS, SUMS, Simd, Sums, dispatch};
use super::for_rows;

/// Which normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// `x / sqrt(mean(x²) + epsilon) * weight`.
    RootMeanSquare,
    /// `(x - mean(x)) / sqrt(variance(x) + epsilon) * weight + bias`.
    Layer,
}

/// A normalisation with its weights.
#[derive(Clone, Debug)]
pub struct Norm {
    /// Which.
    pub kind: NormKind,
    /// `[columns]`.
    pub weight: Vec<f32>,
    /// `[columns]`, or empty where there is none.
    pub bias: Vec<f32>,
    /// Keeps the divisor from 0.
    pub epsilon: f32,
}

impl Norm {
    /// A root-mean-square normalisation.
    pub fn root_mean_square(weight: Vec<f32>, epsilon: f32) -> Self {
        Self { kind: NormKind::RootMeanSquare, weight, bias: Vec::new(), epsilon }
    }

    /// A layer normalisation.
    pub fn layer(weight: Vec<f32>, bias: Vec<f32>, epsilon: f32) -> Self {
        Self { kind: NormKind::Layer, weight, bias, epsilon }
    }
}

/// `out = quantise(norm(input))`; `input` is `[tokens, columns]` as `out` was reset to.
///
/// # Errors
/// [`WorkerPanicked`], when the output is not to be used.
pub fn normalize(
    pool: &mut Pool,
    isa: Isa,
    input: &[f32],
    norm: &Norm,
    out: &mut Activations,
) -> Result<(), WorkerPanicked> {
    let (rows, columns) = (out.tokens(), out.columns());
    debug_assert!(input.len() >= rows * columns && norm.weight.len() == columns);
    let out = out.writer();
    for_rows(pool, rows, &|row| {
        let Some(input) = input.get(row * columns..(row + 1) * columns) else { return };
        // SAFETY: each row is one task's, and `isa` is available.
        unsafe {
            normalize_row(isa, input, norm, out.row(row));
            out.quantize(isa, row);
        }
    })
}

/// `rows = norm(rows)` in place; `rows` is `[tokens, columns]`.
///
/// # Errors
/// [`WorkerPanicked`], when `rows` are not to be used.
pub fn normalize_rows(
    pool: &mut Pool,
    isa: Isa,
    rows: &mut [f32],
    norm: &Norm,
) -> Result<(), WorkerPanicked> {
    let columns = norm.weight.len();
    let count = rows.len() / columns.max(1);
    let shared = SharedSlice::new(rows);
    for_rows(pool, count, &|row| {
        // SAFETY: each row is one task's, and `isa` is available.
        unsafe { normalize_in_place(isa, shared.part(row * columns, columns), norm) };
    })
}

/// `stream += norm(input)`; both are `[tokens, columns]`. `input` is left normalised.
///
/// # Errors
/// [`WorkerPanicked`], when the output is not to be used.
pub fn add_normalized(
    pool: &mut Pool,
    isa: Isa,
    input: &mut [f32],
    norm: &Norm,
    stream: &mut [f32],
) -> Result<(), WorkerPanicked> {
    let columns = norm.weight.len();
    let rows = stream.len() / columns.max(1);
    debug_assert!(input.len() >= rows * columns);
    let (input, stream) = (SharedSlice::new(input), SharedSlice::new(stream));
    for_rows(pool, rows, &|row| {
        // SAFETY: each row is one task's, and `isa` is available.
        unsafe {
            let normed = input.part(row * columns, columns);
            normalize_in_place(isa, normed, norm);
            let stream = stream.part(row * columns, columns);
            stream.iter_mut().zip(normed).for_each(|(to, more)| *to += *more);
        }
    })
}

/// # Safety
/// `isa` is available.
pub(super) unsafe fn normalize_row(isa: Isa, input: &[f32], norm: &Norm, out: &mut [f32]) {
    // SAFETY: the caller's promise.
    let (mean, scale) = unsafe { mean_and_scale(isa, input, norm) };
    match norm.kind {
        NormKind::RootMeanSquare => {
            for ((out, x), w) in out.iter_mut().zip(input).zip(&norm.weight) {
                *out = x * scale * w;
            }
        }
        NormKind::Layer => {
            for (((out, x), w), b) in out.iter_mut().zip(input).zip(&norm.weight).zip(&norm.bias) {
                *out = (x - mean) * scale * w + b;
            }
        }
    }
}

/// # Safety
/// `isa` is available.
pub(super) unsafe fn normalize_in_place(isa: Isa, row: &mut [f32], norm: &Norm) {
    // SAFETY: the caller's promise.
    let (mean, scale) = unsafe { mean_and_scale(isa, row, norm) };
    match norm.kind {
        NormKind::RootMeanSquare => row.iter_mut().zip(&norm.weight).for_each(|(x, w)| *x *= scale * w),
        NormKind::Layer => {
            let weights = norm.weight.iter().zip(&norm.bias);
            row.iter_mut().zip(weights).for_each(|(x, (w, b))| *x = (*x - mean) * scale * w + b);
        }
    }
}

/// What a row's elements are lessened by (0 unless `Layer`) and multiplied with.
///
/// # Safety
/// `isa` is available.
unsafe fn mean_and_scale(isa: Isa, row: &[f32], norm: &Norm) -> (f32, f32) {
    let length = row.len() as f32;
    let mean = match norm.kind {
        NormKind::RootMeanSquare => 0.0,
        NormKind::Layer => row.iter().sum::<f32>() / length,
    };
    let mut squares = 0.0f32;
    let out = &mut squares;
    // SAFETY: the caller's promise.
    unsafe { dispatch!(isa, squares_from(row: &[f32], mean: f32, out: &mut f32)) };
    (mean, 1.0 / (squares / length + norm.epsilon).sqrt())
}

/// # Safety
/// The CPU has `S`.
#[inline(always)]
unsafe fn squares_from<S: Simd>(row: &[f32], mean: f32, out: &mut f32) {
    let whole = row.len() / SUMS * SUMS;
    // SAFETY: the CPU has `S`, and only whole vectors inside the slice are read.
    let squares = unsafe {
        let mut squares = Sums::<S>::new();
        for at in (0..whole).step_by(SUMS) {
            let mut x = [S::splat(0.0); MOST_VECTORS];
            for (v, x) in x.iter_mut().enumerate().take(SUMS / S::LANES) {
                *x = S::sub(S::load(row.as_ptr().add(at + v * S::LANES)), S::splat(mean));
            }
            squares.add_squares(&x);
        }
        squares.total()
    };
    *out = squares + row[whole..].iter().map(|x| (x - mean) * (x - mean)).sum::<f32>();
}
