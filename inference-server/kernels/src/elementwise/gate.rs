//! Activation functions, gating (`activation(gate) * up`) and plain.

use super::super::Isa;
use super::super::activations::Activations;
use super::super::pool::{Pool, WorkerPanicked};
use super::super::simd::{Simd, dispatch, exp};
use super::for_rows;

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)` (swish).
    Silu,
    /// GELU by its tanh approximation (arXiv 1606.08415, section 2): `gelu_pytorch_tanh`, `gelu_new`.
    GeluTanh,
    /// GELU by the error function.
    Gelu,
}

/// `out = quantise(activation(gate) * up)`; `gate_up` is `[tokens, 2 * columns]`, gates first.
///
/// # Errors
/// [`WorkerPanicked`], when the output is not to be used.
pub fn gate(
    pool: &mut Pool,
    isa: Isa,
    activation: Activation,
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
            apply(isa, activation, gate, gated);
            gated.iter_mut().zip(up).for_each(|(gated, up)| *gated *= up);
            out.quantize(isa, row);
        }
    })
}

/// `out = quantise(activation(input + bias))`; `input` is `[tokens, columns]`, `bias` `[columns]`.
///
/// # Errors
/// [`WorkerPanicked`], when the output is not to be used.
pub fn activate(
    pool: &mut Pool,
    isa: Isa,
    activation: Activation,
    input: &[f32],
    bias: &[f32],
    out: &mut Activations,
) -> Result<(), WorkerPanicked> {
    let (rows, columns) = (out.tokens(), out.columns());
    debug_assert!(input.len() >= rows * columns && bias.len() == columns);
    let out = out.writer();
    for_rows(pool, rows, &|row| {
        let Some(input) = input.get(row * columns..(row + 1) * columns) else { return };
        let biased: Vec<f32> = input.iter().zip(bias).map(|(x, b)| x + b).collect();
        // SAFETY: each row is one task's, and `isa` is available.
        unsafe {
            apply(isa, activation, &biased, out.row(row));
            out.quantize(isa, row);
        }
    })
}

/// # Safety
/// `isa` is available.
unsafe fn apply(isa: Isa, activation: Activation, input: &[f32], out: &mut [f32]) {
    // SAFETY: the caller's promise.
    unsafe {
        match activation {
            Activation::Silu => dispatch!(isa, silu(input: &[f32], out: &mut [f32])),
            Activation::GeluTanh => dispatch!(isa, gelu_tanh(input: &[f32], out: &mut [f32])),
            // Embedders alone use it; their time goes to matrix products.
            Activation::Gelu => {
                out.iter_mut().zip(input).for_each(|(out, &x)| {
                    *out = 0.5 * x * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2));
                });
            }
        }
    }
}

/// # Safety
/// The CPU has `S`.
#[inline(always)]
unsafe fn silu<S: Simd>(input: &[f32], out: &mut [f32]) {
    // SAFETY: the caller's promise.
    unsafe { times_sigmoid::<S>(input, out, |x| x, |x| x) };
}

/// `x * (1 + tanh(u)) / 2` is `x * sigmoid(2u)`.
///
/// # Safety
/// The CPU has `S`.
#[inline(always)]
unsafe fn gelu_tanh<S: Simd>(input: &[f32], out: &mut [f32]) {
    /// `2 * sqrt(2 / pi)`.
    const LINEAR: f32 = 1.595_769;
    const CUBIC: f32 = LINEAR * 0.044_715;
    // SAFETY: the caller's promise.
    unsafe {
        times_sigmoid::<S>(
            input,
            out,
            |x| S::mul(x, S::mul_add(S::mul(x, x), S::splat(CUBIC), S::splat(LINEAR))),
            |x| x * (LINEAR + CUBIC * x * x),
        );
    }
}

/// `out = x * sigmoid(of(x))`.
///
/// # Safety
/// The CPU has `S`.
#[inline(always)]
unsafe fn times_sigmoid<S: Simd>(
    input: &[f32],
    out: &mut [f32],
    of: impl Fn(S::Float) -> S::Float,
    of_one: impl Fn(f32) -> f32,
) {
    let length = out.len().min(input.len());
    let whole = length / S::LANES * S::LANES;
    for at in (0..whole).step_by(S::LANES) {
        // SAFETY: the CPU has `S`, and the vector lies inside both slices.
        unsafe {
            let x = S::load(input.as_ptr().add(at));
            let denominator = S::add(S::splat(1.0), exp::<S>(S::sub(S::splat(0.0), of(x))));
            S::store(out.as_mut_ptr().add(at), S::div(x, denominator));
        }
    }
    for at in whole..length {
        out[at] = input[at] / (1.0 + (-of_one(input[at])).exp());
    }
}
