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

/// Calls `$call::<S, T, N>($args)` for each sub-block `N`, so that shifts and offsets are constants.
macro_rules! each_sub_block {
    ($call:ident, [$($n:literal)*], $args:tt) => { $( $call::<S, T, $n> $args; )* };
}

/// Adds sub-block `SUB`'s dot products times its scale, exact in f32 but for the last bits. `high` is where
/// a block's fifth bits begin, if it has them.
#[inline(always)]
unsafe fn k_sub_block<S: Simd, const T: usize, const SUB: usize>(
    scaled: &mut [S::Float; T],
    packed: *const u8,
    high: Option<usize>,
    lane: usize,
    rows: &[Row; T],
    b: usize,
) {
    let mut dots = [S::splat_int(0); T];
    for j in 0..8 {
        let both = load_unit::<S, T>(packed.add(block::K_QUANTS + (SUB / 2 * 8 + j) * UNIT + lane * 4));
        let shifted = if SUB.is_multiple_of(2) { both } else { S::shift_right::<4>(both) };
        let mut weights = S::and(shifted, S::splat_int(0x0F0F_0F0F));
        if let Some(high) = high {
            let bits = S::load_int(packed.add(high + j * UNIT + lane * 4));
            let placed = match SUB {
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
            dots[t] = S::dot(dots[t], weights, rows[t].values.add(b * 256 + SUB * 32 + 4 * j));
        }
    }
    let scale = S::load_u8(packed.add(block::K_SCALES + SUB * PANEL_ROWS + lane));
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
        each_sub_block!(k_sub_block, [0 1 2 3 4 5 6 7], (&mut scaled, packed, high, lane, &rows, b));
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

/// Adds sub-block `SUB` of 16 weights of a `Q6_K` block: half `SUB % 2` of quarter `SUB % 8 / 2` of the block's
/// half `SUB / 8`.
#[inline(always)]
unsafe fn q6_sub_block<S: Simd, const T: usize, const SUB: usize>(
    scaled: &mut [S::Float; T],
    packed: *const u8,
    lane: usize,
    rows: &[Row; T],
    b: usize,
) {
    let (half, quarter, first) = (SUB / 8, SUB % 8 / 2, SUB % 2 * 4);
    let mut dots: [S::Int; T] =
        std::array::from_fn(|t| S::splat_int(-32 * i32::from(*rows[t].sums16.add(b * 16 + SUB))));
    for j in first..first + 4 {
        let low_at = block::Q6_K_LOW + (half * 16 + quarter % 2 * 8 + j) * UNIT + lane * 4;
        let low = load_unit::<S, T>(packed.add(low_at));
        let high = S::load_int(packed.add(block::Q6_K_HIGH + (half * 8 + j) * UNIT + lane * 4));
        let low = if quarter < 2 { low } else { S::shift_right::<4>(low) };
        let high = match quarter {
            0 => S::shift_left::<4>(high),
            1 => S::shift_left::<2>(high),
            2 => high,
            _ => S::shift_right::<2>(high),
        };
        let low = S::and(low, S::splat_int(0x0F0F_0F0F));
        let weights = S::or(low, S::and(high, S::splat_int(0x3030_3030)));
        for t in 0..T {
            let at = b * 256 + SUB * 16 + 4 * (j - first);
            dots[t] = S::dot(dots[t], weights, rows[t].values.add(at));
        }
    }
    let scale = S::load_i8(packed.add(block::Q6_K_SCALES + SUB * PANEL_ROWS + lane));
    for t in 0..T {
        scaled[t] = S::mul_add(S::to_float(dots[t]), scale, scaled[t]);
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
            let subs = &mut scaled;
            each_sub_block!(
                q6_sub_block,
                [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15],
                (subs, packed, lane, &rows, b)
            );
            let scale = S::load_f16(packed.add(lane * 2));
            for t in 0..T {
                let scale = S::mul(scale, S::splat(*rows[t].scales.add(b)));
                sums[t] = S::mul_add(scaled[t], scale, sums[t]);
            }
        }
        sums
    }
}
