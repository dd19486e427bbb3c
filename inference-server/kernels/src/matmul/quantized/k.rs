//! Blocks of 256 with 4, 5 and 6 bits: `Q4_K`, `Q5_K`, `Q6_K`.
#![allow(unsafe_op_in_unsafe_fn)] // `Quantized`'s contract covers all lines.

use super::super::super::packed::{PANEL_ROWS, block};
use super::super::super::simd::Simd;
use super::{Quantized, Row, UNIT, add_scaled, load_unit, move_bit, nibbles};

pub(in super::super) struct Q4K;
pub(in super::super) struct Q5K;
pub(in super::super) struct Q6K;

/// Unit `j` of sub-block `2 * pair + half`: the low (0) or high (1) nibbles of the pair's units.
#[inline(always)]
unsafe fn pair_unit<S: Simd, const T: usize>(
    packed: *const u8,
    lane: usize,
    pair: usize,
    half: usize,
    j: usize,
) -> S::Int {
    nibbles::<S>(load_unit::<S, T>(packed.add(block::K_QUANTS + (pair * 8 + j) * UNIT + lane * 4)), half)
}

/// Bits `2j` and `2j + 1` of each byte, moved to 4 and 5; bits of neighbours come along.
#[inline(always)]
unsafe fn move_two_bits<S: Simd>(bits: S::Int, j: usize) -> S::Int {
    match j {
        0 => S::shift_left::<4>(bits),
        1 => S::shift_left::<2>(bits),
        2 => bits,
        _ => S::shift_right::<2>(bits),
    }
}

#[inline(always)]
unsafe fn byte_scale<S: Simd>(packed: *const u8, lane: usize, sub: usize) -> S::Float {
    S::load_u8(packed.add(block::K_SCALES + sub * PANEL_ROWS + lane))
}

/// Adds a block of `Q4_K` or `Q5_K`, less its minimums.
#[inline(always)]
unsafe fn add_lowered<S: Simd, const T: usize>(
    sums: &mut [S::Float; T],
    scaled: &[S::Float; T],
    packed: *const u8,
    lane: usize,
    rows: &[Row; T],
    b: usize,
) {
    add_scaled::<S, T>(sums, scaled, S::load_f16(packed.add(lane * 2)), rows, b);
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

impl Quantized for Q4K {
    const BLOCK: usize = 256;
    const SUB: usize = 32;
    const BLOCK_BYTES: usize = block::K_QUANTS + 32 * UNIT;
    const GROUP: usize = 2;
    const CENTRE: i32 = 0;
    const LARGEST: i32 = 15;

    #[inline(always)]
    unsafe fn unit<S: Simd, const T: usize>(
        packed: *const u8,
        lane: usize,
        pair: usize,
        half: usize,
        j: usize,
    ) -> S::Int {
        pair_unit::<S, T>(packed, lane, pair, half, j)
    }

    #[inline(always)]
    unsafe fn scale<S: Simd>(packed: *const u8, lane: usize, sub: usize) -> S::Float {
        byte_scale::<S>(packed, lane, sub)
    }

    #[inline(always)]
    unsafe fn finish<S: Simd, const T: usize>(
        sums: &mut [S::Float; T],
        scaled: &[S::Float; T],
        packed: *const u8,
        lane: usize,
        rows: &[Row; T],
        b: usize,
    ) {
        add_lowered::<S, T>(sums, scaled, packed, lane, rows, b);
    }
}

impl Quantized for Q5K {
    const BLOCK: usize = 256;
    const SUB: usize = 32;
    const BLOCK_BYTES: usize = block::Q5_K_HIGH + 8 * UNIT;
    const GROUP: usize = 2;
    const CENTRE: i32 = 0;
    const LARGEST: i32 = 31;

    #[inline(always)]
    unsafe fn unit<S: Simd, const T: usize>(
        packed: *const u8,
        lane: usize,
        pair: usize,
        half: usize,
        j: usize,
    ) -> S::Int {
        let fifths = S::load_int(packed.add(block::Q5_K_HIGH + (2 * pair + half) * UNIT + lane * 4));
        let placed = S::and(move_bit::<S>(fifths, j, 4), S::splat_int(0x1010_1010));
        S::or(pair_unit::<S, T>(packed, lane, pair, half, j), placed)
    }

    #[inline(always)]
    unsafe fn scale<S: Simd>(packed: *const u8, lane: usize, sub: usize) -> S::Float {
        byte_scale::<S>(packed, lane, sub)
    }

    #[inline(always)]
    unsafe fn finish<S: Simd, const T: usize>(
        sums: &mut [S::Float; T],
        scaled: &[S::Float; T],
        packed: *const u8,
        lane: usize,
        rows: &[Row; T],
        b: usize,
    ) {
        add_lowered::<S, T>(sums, scaled, packed, lane, rows, b);
    }
}

impl Quantized for Q6K {
    const BLOCK: usize = 256;
    const SUB: usize = 16;
    const BLOCK_BYTES: usize = block::Q6_K_HIGH + 16 * UNIT;
    const GROUP: usize = 1;
    const CENTRE: i32 = 32;
    const LARGEST: i32 = 63;

    #[inline(always)]
    unsafe fn unit<S: Simd, const T: usize>(
        packed: *const u8,
        lane: usize,
        sub: usize,
        _: usize,
        j: usize,
    ) -> S::Int {
        let low = packed.add(block::Q6_K_LOW + (2 * sub + j % 2) * UNIT + lane * 4);
        let low = nibbles::<S>(if j < 2 { load_unit::<S, T>(low) } else { S::load_int(low) }, j / 2);
        let high = packed.add(block::Q6_K_HIGH + sub * UNIT + lane * 4);
        let high = if j == 0 { load_unit::<S, T>(high) } else { S::load_int(high) };
        S::or(low, S::and(move_two_bits::<S>(high, j), S::splat_int(0x3030_3030)))
    }

    #[inline(always)]
    unsafe fn scale<S: Simd>(packed: *const u8, lane: usize, sub: usize) -> S::Float {
        S::load_i8(packed.add(block::Q6_K_SCALES + sub * PANEL_ROWS + lane))
    }
}
