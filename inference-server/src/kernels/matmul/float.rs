//! Inner loops of float weights: f32 accumulation, four chains where few tokens leave the adders idle.
#![allow(unsafe_op_in_unsafe_fn)] // `Kernel::tile`'s contract covers all lines.

use super::super::activations::Activations;
use super::super::packed::PANEL_ROWS;
use super::super::simd::Simd;
use super::tile::Kernel;

pub(super) struct F32;
pub(super) struct F16;
pub(super) struct BF16;

/// `load(column)` gives the panel's column as floats.
#[inline(always)]
unsafe fn tile<S: Simd, const T: usize>(
    input: &Activations,
    token: usize,
    load: impl Fn(usize) -> S::Float,
) -> [S::Float; T] {
    let columns = input.columns();
    let x = input.floats().as_ptr().add(token * columns);
    let chains = if T <= 2 { 4 } else { 1 };
    let mut sums = [[S::splat(0.0); T]; 4];
    let mut column = 0;
    while column + chains <= columns {
        for (chain, sums) in sums.iter_mut().enumerate().take(chains) {
            let weights = load(column + chain);
            for (t, sum) in sums.iter_mut().enumerate() {
                *sum = S::mul_add(weights, S::splat(*x.add(t * columns + column + chain)), *sum);
            }
        }
        column += chains;
    }
    for column in column..columns {
        let weights = load(column);
        for (t, sum) in sums[0].iter_mut().enumerate() {
            *sum = S::mul_add(weights, S::splat(*x.add(t * columns + column)), *sum);
        }
    }
    let mut total = sums[0];
    for more in sums.iter().take(chains).skip(1) {
        for (sum, &more) in total.iter_mut().zip(more) {
            *sum = S::add(*sum, more);
        }
    }
    total
}

impl Kernel for F32 {
    #[inline(always)]
    unsafe fn tile<S: Simd, const T: usize>(
        panel: *const u8,
        lane: usize,
        input: &Activations,
        token: usize,
    ) -> [S::Float; T] {
        tile::<S, T>(input, token, |column| S::load(panel.add((column * PANEL_ROWS + lane) * 4).cast()))
    }
}

impl Kernel for F16 {
    #[inline(always)]
    unsafe fn tile<S: Simd, const T: usize>(
        panel: *const u8,
        lane: usize,
        input: &Activations,
        token: usize,
    ) -> [S::Float; T] {
        tile::<S, T>(input, token, |column| S::load_f16(panel.add((column * PANEL_ROWS + lane) * 2)))
    }
}

impl Kernel for BF16 {
    #[inline(always)]
    unsafe fn tile<S: Simd, const T: usize>(
        panel: *const u8,
        lane: usize,
        input: &Activations,
        token: usize,
    ) -> [S::Float; T] {
        tile::<S, T>(input, token, |column| S::load_bf16(panel.add((column * PANEL_ROWS + lane) * 2)))
    }
}
