//! Blocks of 32: `Q4_0`, `Q4_1`, `Q5_0`, `Q5_1`, `Q8_0`.
#![allow(unsafe_op_in_unsafe_fn)] // `Kernel::tile`'s contract covers all lines.

use super::super::super::activations::Activations;
use super::super::super::packed::block;
use super::super::super::simd::Simd;
use super::super::tile::Kernel;
use super::{Row, UNIT, load_unit, move_bit, rows};

pub(in super::super) struct Q4_0;
pub(in super::super) struct Q4_1;
pub(in super::super) struct Q5_0;
pub(in super::super) struct Q5_1;
pub(in super::super) struct Q8_0;

/// Adds the 32 products of a block of 4-bit weights (4 units from `quants`), with a fifth bit where `fifth` is, with
/// values from `at` on.
#[inline(always)]
unsafe fn nibble_block<S: Simd, const T: usize>(
    dots: &mut [S::Int; T],
    quants: *const u8,
    fifth: Option<*const u8>,
    rows: &[Row; T],
    at: usize,
) {
    let mask = S::splat_int(0x0F0F_0F0F);
    let bits = fifth.map(|fifth| load_unit::<S, T>(fifth));
    for j in 0..4 {
        let both = load_unit::<S, T>(quants.add(j * UNIT));
        let mut low = S::and(both, mask);
        let mut high = S::and(S::shift_right::<4>(both), mask);
        if let Some(bits) = bits {
            let place = S::splat_int(0x1010_1010);
            low = S::or(low, S::and(move_bit::<S>(bits, j, 4), place));
            high = S::or(high, S::and(move_bit::<S>(bits, 4 + j, 4), place));
        }
        for t in 0..T {
            dots[t] = S::dot(dots[t], low, rows[t].values.add(at + 4 * j));
            dots[t] = S::dot(dots[t], high, rows[t].values.add(at + 16 + 4 * j));
        }
    }
}

/// `Q4_0`, and `Q5_0` where `fifth` says how far into a block its fifth bits begin: values less `CENTRE`.
#[inline(always)]
unsafe fn centred_tile<S: Simd, const T: usize, const CENTRE: i32>(
    panel: *const u8,
    block_bytes: usize,
    fifth: Option<usize>,
    lane: usize,
    input: &Activations,
    token: usize,
) -> [S::Float; T] {
    let columns = input.columns();
    let rows: [Row; T] = rows(input.blocks32(), columns, 32, token);
    let mut sums = [S::splat(0.0); T];
    for b in 0..columns / 32 {
        let packed = panel.add(b * block_bytes);
        let mut dots: [S::Int; T] =
            std::array::from_fn(|t| S::splat_int(-CENTRE * i32::from(*rows[t].sums32.add(b))));
        let fifth = fifth.map(|fifth| packed.add(fifth + lane * 4));
        nibble_block::<S, T>(&mut dots, packed.add(block::Q4_0_QUANTS + lane * 4), fifth, &rows, b * 32);
        let scale = S::load_f16(packed.add(lane * 2));
        for t in 0..T {
            let scale = S::mul(scale, S::splat(*rows[t].scales.add(b)));
            sums[t] = S::mul_add(S::to_float(dots[t]), scale, sums[t]);
        }
    }
    sums
}

/// `Q4_1`, and `Q5_1` where `fifth` says how far into a block its fifth bits begin: values plus a minimum.
#[inline(always)]
unsafe fn raised_tile<S: Simd, const T: usize>(
    panel: *const u8,
    block_bytes: usize,
    fifth: Option<usize>,
    lane: usize,
    input: &Activations,
    token: usize,
) -> [S::Float; T] {
    let columns = input.columns();
    let rows: [Row; T] = rows(input.blocks32(), columns, 32, token);
    let mut sums = [S::splat(0.0); T];
    for b in 0..columns / 32 {
        let packed = panel.add(b * block_bytes);
        let mut dots = [S::splat_int(0); T];
        let fifth = fifth.map(|fifth| packed.add(fifth + lane * 4));
        nibble_block::<S, T>(&mut dots, packed.add(block::Q4_1_QUANTS + lane * 4), fifth, &rows, b * 32);
        let scale = S::load_f16(packed.add(lane * 2));
        let minimum = S::load_f16(packed.add(block::Q4_1_MINIMUMS + lane * 2));
        for t in 0..T {
            let scale = S::mul(scale, S::splat(*rows[t].scales.add(b)));
            sums[t] = S::mul_add(S::to_float(dots[t]), scale, sums[t]);
            sums[t] = S::mul_add(minimum, S::splat(*rows[t].weighted_sums.add(b)), sums[t]);
        }
    }
    sums
}

impl Kernel for Q4_0 {
    #[inline(always)]
    unsafe fn tile<S: Simd, const T: usize>(
        panel: *const u8,
        lane: usize,
        input: &Activations,
        token: usize,
    ) -> [S::Float; T] {
        centred_tile::<S, T, 8>(panel, block::Q4_0_QUANTS + 4 * UNIT, None, lane, input, token)
    }
}

impl Kernel for Q4_1 {
    #[inline(always)]
    unsafe fn tile<S: Simd, const T: usize>(
        panel: *const u8,
        lane: usize,
        input: &Activations,
        token: usize,
    ) -> [S::Float; T] {
        raised_tile::<S, T>(panel, block::Q4_1_QUANTS + 4 * UNIT, None, lane, input, token)
    }
}

impl Kernel for Q5_0 {
    #[inline(always)]
    unsafe fn tile<S: Simd, const T: usize>(
        panel: *const u8,
        lane: usize,
        input: &Activations,
        token: usize,
    ) -> [S::Float; T] {
        let fifth = Some(block::Q5_0_FIFTH);
        centred_tile::<S, T, 16>(panel, block::Q5_0_FIFTH + UNIT, fifth, lane, input, token)
    }
}

impl Kernel for Q5_1 {
    #[inline(always)]
    unsafe fn tile<S: Simd, const T: usize>(
        panel: *const u8,
        lane: usize,
        input: &Activations,
        token: usize,
    ) -> [S::Float; T] {
        let fifth = Some(block::Q5_1_FIFTH);
        raised_tile::<S, T>(panel, block::Q5_1_FIFTH + UNIT, fifth, lane, input, token)
    }
}

impl Kernel for Q8_0 {
    #[inline(always)]
    unsafe fn tile<S: Simd, const T: usize>(
        panel: *const u8,
        lane: usize,
        input: &Activations,
        token: usize,
    ) -> [S::Float; T] {
        let columns = input.columns();
        let rows: [Row; T] = rows(input.blocks32(), columns, 32, token);
        let mut sums = [S::splat(0.0); T];
        for b in 0..columns / 32 {
            let packed = panel.add(b * (block::Q8_0_QUANTS + 8 * UNIT));
            let mut dots: [S::Int; T] =
                std::array::from_fn(|t| S::splat_int(-S::BIAS * i32::from(*rows[t].sums32.add(b))));
            for j in 0..8 {
                let weights = load_unit::<S, T>(packed.add(block::Q8_0_QUANTS + j * UNIT + lane * 4));
                for t in 0..T {
                    dots[t] = S::dot_biased(dots[t], weights, rows[t].values.add(b * 32 + 4 * j));
                }
            }
            let scale = S::load_f16(packed.add(lane * 2));
            for t in 0..T {
                let scale = S::mul(scale, S::splat(*rows[t].scales.add(b)));
                sums[t] = S::mul_add(S::to_float(dots[t]), scale, sums[t]);
            }
        }
        sums
    }
}
