//! Inner loops of float weights: f32 accumulation in two chains, whatever the number of tokens, so that a token's sum
//! does not depend on how many are computed beside it.
#![allow(unsafe_op_in_unsafe_fn)] // `Kernel::tile`'s contract covers all lines.

use super::super::activations::Activations;
use super::super::packed::PANEL_ROWS;
use super::super::simd::Simd;
use super::tile::Kernel;

pub(super) struct F32;
pub(super) struct F16;
pub(super) struct BF16;

/// Sums that a token's columns are added to in turn.
const CHAINS: usize = 2;

/// `load(column)` gives the panel's column as floats.
#[inline(always)]
unsafe fn tile<S: Simd, const T: usize>(
    input: &Activations,
    token: usize,
    load: impl Fn(usize) -> S::Float,
) -> [S::Float; T] {
    let columns = input.columns();
    let x = input.floats().as_ptr().add(token * columns);
    let mut sums = [[S::splat(0.0); T]; CHAINS];
    let mut column = 0;
    while column + CHAINS <= columns {
        for (chain, sums) in sums.iter_mut().enumerate() {
            let weights = load(column + chain);
            for (t, sum) in sums.iter_mut().enumerate() {
                *sum = S::mul_add(weights, S::splat(*x.add(t * columns + column + chain)), *sum);
            }
        }
        column += CHAINS;
    }
    for column in column..columns {
        let weights = load(column);
        for (t, sum) in sums[0].iter_mut().enumerate() {
            *sum = S::mul_add(weights, S::splat(*x.add(t * columns + column)), *sum);
        }
    }
    std::array::from_fn(|t| S::add(sums[0][t], sums[1][t]))
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
