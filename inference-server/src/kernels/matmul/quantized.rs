//! Inner loops of quantised weights: int8 dot products within a block, f32 across blocks, as ggml's
//! `ggml_vec_dot_*` but for the order of additions.
#![allow(unsafe_op_in_unsafe_fn)] // `Kernel::tile`'s contract covers all lines.

use super::super::activations::{Activations, Blocks};
use super::super::packed::{PANEL_ROWS, block};
use super::super::simd::Simd;
use super::tile::Kernel;

pub(super) struct Q4_0;
pub(super) struct Q4_1;
pub(super) struct Q8_0;
pub(super) struct Q4K;
pub(super) struct Q5K;
pub(super) struct Q6K;

/// Bytes of a unit: four weights of each of the panel's rows.
const UNIT: usize = 4 * PANEL_ROWS;

/// How far ahead of a single token's pass weights are asked for, in bytes. With one token a pass waits on
/// memory; measured, this takes a fifth less time than the hardware's own prefetching.
const AHEAD: usize = 1536;

/// Loads a unit of weights.
#[inline(always)]
unsafe fn load_unit<S: Simd, const T: usize>(from: *const u8) -> S::Int {
    if T == 1 {
        S::prefetch(from.wrapping_add(AHEAD));
    }
    S::load_int(from)
}

/// Addresses of one token's quantised row.
#[derive(Clone, Copy)]
struct Row {
    values: *const i8,
    scales: *const f32,
    weighted_sums: *const f32,
    sums32: *const i16,
    sums16: *const i16,
}

/// The rows of `T` tokens from `token` on.
#[inline(always)]
unsafe fn rows<const T: usize>(blocks: &Blocks, columns: usize, block: usize, token: usize) -> [Row; T] {
    std::array::from_fn(|t| {
        let token = token + t;
        Row {
            values: blocks.values.as_ptr().add(token * columns),
            scales: blocks.scales.as_ptr().add(token * (columns / block)),
            weighted_sums: blocks.weighted_sums.as_ptr().wrapping_add(token * (columns / 32)),
            sums32: blocks.sums32.as_ptr().add(token * (columns / 32)),
            sums16: blocks.sums16.as_ptr().wrapping_add(token * (columns / 16)),
        }
    })
}

/// Adds the 32 products of a block of 4-bit weights (units `4` from `quants`) with values from `at` on.
#[inline(always)]
unsafe fn nibble_block<S: Simd, const T: usize>(
    dots: &mut [S::Int; T],
    quants: *const u8,
    rows: &[Row; T],
    at: usize,
) {
    let mask = S::splat_int(0x0F0F_0F0F);
    for j in 0..4 {
        let both = load_unit::<S, T>(quants.add(j * UNIT));
        let low = S::and(both, mask);
        let high = S::and(S::shift_right::<4>(both), mask);
        for t in 0..T {
            dots[t] = S::dot(dots[t], low, rows[t].values.add(at + 4 * j));
            dots[t] = S::dot(dots[t], high, rows[t].values.add(at + 16 + 4 * j));
        }
    }
}

impl Kernel for Q4_0 {
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
            let packed = panel.add(b * (block::Q4_0_QUANTS + 4 * UNIT));
            let mut dots: [S::Int; T] =
                std::array::from_fn(|t| S::splat_int(-8 * i32::from(*rows[t].sums32.add(b))));
            nibble_block::<S, T>(&mut dots, packed.add(block::Q4_0_QUANTS + lane * 4), &rows, b * 32);
            let scale = S::load_f16(packed.add(lane * 2));
            for t in 0..T {
                let scale = S::mul(scale, S::splat(*rows[t].scales.add(b)));
                sums[t] = S::mul_add(S::to_float(dots[t]), scale, sums[t]);
            }
        }
        sums
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
        let columns = input.columns();
        let rows: [Row; T] = rows(input.blocks32(), columns, 32, token);
        let mut sums = [S::splat(0.0); T];
        for b in 0..columns / 32 {
            let packed = panel.add(b * (block::Q4_1_QUANTS + 4 * UNIT));
            let mut dots = [S::splat_int(0); T];
            nibble_block::<S, T>(&mut dots, packed.add(block::Q4_1_QUANTS + lane * 4), &rows, b * 32);
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
            // Unit `j`'s bit is bit `j`; its place is bit 4.
            let placed = match j {
                0 => S::shift_left::<4>(bits),
                1 => S::shift_left::<3>(bits),
                2 => S::shift_left::<2>(bits),
                3 => S::shift_left::<1>(bits),
                4 => bits,
                5 => S::shift_right::<1>(bits),
                6 => S::shift_right::<2>(bits),
                _ => S::shift_right::<3>(bits),
            };
            weights = S::or(weights, S::and(placed, S::splat_int(0x1010_1010)));
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
