//! Blocks of 256 with 4, 5 and 6 bits: `Q4_K`, `Q5_K`, `Q6_K`.
#![allow(unsafe_op_in_unsafe_fn)] // `Kernel::tile`'s contract covers all lines.

use super::super::super::activations::Activations;
use super::super::super::packed::{PANEL_ROWS, block};
use super::super::super::simd::Simd;
use super::super::tile::Kernel;
use super::{Row, UNIT, load_unit, move_bit, rows};

pub(in super::super) struct Q4K;
pub(in super::super) struct Q5K;
pub(in super::super) struct Q6K;

/// Adds the minimums' share of one block of `Q4_K` or `Q5_K`, negative.
#[inline(always)]
unsafe fn subtract_minimums<S: Simd, const T: usize>(
    sums: &mut [S::Float; T],
    packed: *const u8,
    lane: usize,
    rows: &[Row; T],
    b: usize,
) {
    let mut dots = [S::splat_int(0); T];
    for pair in 0..4 {
        let at = block::K_MINIMUMS + pair * 2 * PANEL_ROWS + lane * 2;
        let minimums = S::load_bytes_as_halves(packed.add(at));
        for t in 0..T {
            dots[t] = S::dot_halves(dots[t], minimums, rows[t].sums32.add(b * 8 + pair * 2));
        }
    }
    let scale = S::load_f16(packed.add(block::K_MINIMUM_SCALES + lane * 2));
    for t in 0..T {
        let scale = S::mul(scale, S::splat(-*rows[t].scales.add(b)));
        sums[t] = S::mul_add(S::to_float(dots[t]), scale, sums[t]);
    }
}

/// Adds the dot products, times their scale, of sub-block `2 * pair + HALF`, whose weights are the low (0) or
/// high (1) nibbles of the pair's units; exact in f32 but for the last bits. `high` is where a block's fifth
/// bits begin, if it has them.
#[inline(always)]
unsafe fn k_sub_block<S: Simd, const T: usize, const HALF: usize>(
    scaled: &mut [S::Float; T],
    packed: *const u8,
    high: Option<usize>,
    lane: usize,
    values: [*const i8; T],
    pair: usize,
) {
    let sub = 2 * pair + HALF;
    let fifth = high.map(|high| load_unit::<S, T>(packed.add(high + sub * UNIT + lane * 4)));
    let mut dots = [S::splat_int(0); T];
    for j in 0..8 {
        let both = load_unit::<S, T>(packed.add(block::K_QUANTS + (pair * 8 + j) * UNIT + lane * 4));
        let shifted = if HALF == 0 { both } else { S::shift_right::<4>(both) };
        let mut weights = S::and(shifted, S::splat_int(0x0F0F_0F0F));
        if let Some(bits) = fifth {
            let placed = S::and(move_bit::<S>(bits, j, 4), S::splat_int(0x1010_1010));
            weights = S::or(weights, placed);
        }
        for t in 0..T {
            dots[t] = S::dot(dots[t], weights, values[t].add(sub * 32 + 4 * j));
        }
    }
    let scale = S::load_u8(packed.add(block::K_SCALES + sub * PANEL_ROWS + lane));
    for t in 0..T {
        scaled[t] = S::mul_add(S::to_float(dots[t]), scale, scaled[t]);
    }
}

/// `Q4_K` and `Q5_K`.
#[inline(always)]
unsafe fn k_tile<S: Simd, const T: usize>(
    panel: *const u8,
    block_bytes: usize,
    high: Option<usize>,
    lane: usize,
    input: &Activations,
    token: usize,
) -> [S::Float; T] {
    let columns = input.columns();
    let rows: [Row; T] = rows(input.blocks256(), columns, 256, token);
    let mut sums = [S::splat(0.0); T];
    for b in 0..columns / 256 {
        let packed = panel.add(b * block_bytes);
        let mut scaled = [S::splat(0.0); T];
        let values: [*const i8; T] = std::array::from_fn(|t| rows[t].values.add(b * 256));
        for pair in 0..4 {
            k_sub_block::<S, T, 0>(&mut scaled, packed, high, lane, values, pair);
            k_sub_block::<S, T, 1>(&mut scaled, packed, high, lane, values, pair);
        }
        let scale = S::load_f16(packed.add(lane * 2));
        for t in 0..T {
            let scale = S::mul(scale, S::splat(*rows[t].scales.add(b)));
            sums[t] = S::mul_add(scaled[t], scale, sums[t]);
        }
        subtract_minimums::<S, T>(&mut sums, packed, lane, &rows, b);
    }
    sums
}

impl Kernel for Q4K {
    #[inline(always)]
    unsafe fn tile<S: Simd, const T: usize>(
        panel: *const u8,
        lane: usize,
        input: &Activations,
        token: usize,
    ) -> [S::Float; T] {
        k_tile::<S, T>(panel, block::K_QUANTS + 32 * UNIT, None, lane, input, token)
    }
}

impl Kernel for Q5K {
    #[inline(always)]
    unsafe fn tile<S: Simd, const T: usize>(
        panel: *const u8,
        lane: usize,
        input: &Activations,
        token: usize,
    ) -> [S::Float; T] {
        let high = Some(block::Q5_K_HIGH);
        k_tile::<S, T>(panel, block::Q5_K_HIGH + 8 * UNIT, high, lane, input, token)
    }
}

/// Adds the dot products, times their scale, of sub-block `sub` of a `Q6_K` block.
#[inline(always)]
unsafe fn q6_sub_block<S: Simd, const T: usize>(
    scaled: &mut [S::Float; T],
    packed: *const u8,
    lane: usize,
    rows: &[Row; T],
    b: usize,
    sub: usize,
) {
    let (low_mask, high_mask) = (S::splat_int(0x0F0F_0F0F), S::splat_int(0x3030_3030));
    let low = packed.add(block::Q6_K_LOW + sub * 2 * UNIT + lane * 4);
    let (even, odd) = (load_unit::<S, T>(low), load_unit::<S, T>(low.add(UNIT)));
    let high = load_unit::<S, T>(packed.add(block::Q6_K_HIGH + sub * UNIT + lane * 4));
    let units = [
        S::or(S::and(even, low_mask), S::and(S::shift_left::<4>(high), high_mask)),
        S::or(S::and(odd, low_mask), S::and(S::shift_left::<2>(high), high_mask)),
        S::or(S::and(S::shift_right::<4>(even), low_mask), S::and(high, high_mask)),
        S::or(S::and(S::shift_right::<4>(odd), low_mask), S::and(S::shift_right::<2>(high), high_mask)),
    ];
    let scale = S::load_i8(packed.add(block::Q6_K_SCALES + sub * PANEL_ROWS + lane));
    for t in 0..T {
        let mut dots = S::splat_int(-32 * i32::from(*rows[t].sums16.add(b * 16 + sub)));
        for (j, &weights) in units.iter().enumerate() {
            dots = S::dot(dots, weights, rows[t].values.add(b * 256 + sub * 16 + 4 * j));
        }
        scaled[t] = S::mul_add(S::to_float(dots), scale, scaled[t]);
    }
}

impl Kernel for Q6K {
    #[inline(always)]
    unsafe fn tile<S: Simd, const T: usize>(
        panel: *const u8,
        lane: usize,
        input: &Activations,
        token: usize,
    ) -> [S::Float; T] {
        let columns = input.columns();
        let rows: [Row; T] = rows(input.blocks256(), columns, 256, token);
        let mut sums = [S::splat(0.0); T];
        for b in 0..columns / 256 {
            let packed = panel.add(b * (block::Q6_K_HIGH + 16 * UNIT));
            let mut scaled = [S::splat(0.0); T];
            for sub in 0..16 {
                q6_sub_block::<S, T>(&mut scaled, packed, lane, &rows, b, sub);
            }
            let scale = S::load_f16(packed.add(lane * 2));
            for t in 0..T {
                let scale = S::mul(scale, S::splat(*rows[t].scales.add(b)));
                sums[t] = S::mul_add(scaled[t], scale, sums[t]);
            }
        }
        sums
    }
}
