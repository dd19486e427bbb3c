//! Blocks of 32: `Q4_0`, `Q4_1`, `Q5_0`, `Q5_1`, `Q8_0`.
#![allow(unsafe_op_in_unsafe_fn)] // `Quantized`'s contract covers all lines.

use super::super::super::packed::block;
use super::super::super::simd::Simd;
use super::{Quantized, Row, UNIT, add_scaled, load_unit, move_bit, nibbles};

pub(in super::super) struct Q4_0;
pub(in super::super) struct Q4_1;
pub(in super::super) struct Q5_0;
pub(in super::super) struct Q5_1;
pub(in super::super) struct Q8_0;

/// Unit `j` of 4-bit quants: low nibbles of 4 stored units, then their high ones.
#[inline(always)]
pub(super) unsafe fn nibble_unit<S: Simd, const T: usize>(quants: *const u8, j: usize) -> S::Int {
    let stored = quants.add(j % 4 * UNIT);
    nibbles::<S>(if j < 4 { load_unit::<S, T>(stored) } else { S::load_int(stored) }, j / 4)
}

/// Unit `j` of 5-bit quants, whose fifth bits lie at `fifth`.
#[inline(always)]
unsafe fn fifth_unit<S: Simd, const T: usize>(quants: *const u8, fifth: *const u8, j: usize) -> S::Int {
    let placed = S::and(move_bit::<S>(S::load_int(fifth), j, 4), S::splat_int(0x1010_1010));
    S::or(nibble_unit::<S, T>(quants, j), placed)
}

/// Adds a block with a minimum.
#[inline(always)]
unsafe fn add_raised<S: Simd, const T: usize>(
    sums: &mut [S::Float; T],
    scaled: &[S::Float; T],
    packed: *const u8,
    lane: usize,
    rows: &[Row; T],
    b: usize,
) {
    add_scaled::<S, T>(sums, scaled, S::load_f16(packed.add(lane * 2)), rows, b);
    let minimum = S::load_f16(packed.add(block::Q4_1_MINIMUMS + lane * 2));
    for t in 0..T {
        sums[t] = S::mul_add(minimum, S::splat(*rows[t].weighted_sums.add(b)), sums[t]);
    }
}

impl Quantized for Q4_0 {
    const BLOCK: usize = 32;
    const SUB: usize = 32;
    const BLOCK_BYTES: usize = block::Q4_0_QUANTS + 4 * UNIT;
    const GROUP: usize = 1;
    const CENTRE: i32 = 8;
    const LARGEST: i32 = 15;

    #[inline(always)]
    unsafe fn unit<S: Simd, const T: usize>(
        packed: *const u8,
        lane: usize,
        _: usize,
        _: usize,
        j: usize,
    ) -> S::Int {
        nibble_unit::<S, T>(packed.add(block::Q4_0_QUANTS + lane * 4), j)
    }
}

impl Quantized for Q4_1 {
    const BLOCK: usize = 32;
    const SUB: usize = 32;
    const BLOCK_BYTES: usize = block::Q4_1_QUANTS + 4 * UNIT;
    const GROUP: usize = 1;
    const CENTRE: i32 = 0;
    const LARGEST: i32 = 15;

    #[inline(always)]
    unsafe fn unit<S: Simd, const T: usize>(
        packed: *const u8,
        lane: usize,
        _: usize,
        _: usize,
        j: usize,
    ) -> S::Int {
        nibble_unit::<S, T>(packed.add(block::Q4_1_QUANTS + lane * 4), j)
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
        add_raised::<S, T>(sums, scaled, packed, lane, rows, b);
    }
}

impl Quantized for Q5_0 {
    const BLOCK: usize = 32;
    const SUB: usize = 32;
    const BLOCK_BYTES: usize = block::Q5_0_FIFTH + UNIT;
    const GROUP: usize = 1;
    const CENTRE: i32 = 16;
    const LARGEST: i32 = 31;

    #[inline(always)]
    unsafe fn unit<S: Simd, const T: usize>(
        packed: *const u8,
        lane: usize,
        _: usize,
        _: usize,
        j: usize,
    ) -> S::Int {
        let quants = packed.add(block::Q4_0_QUANTS + lane * 4);
        fifth_unit::<S, T>(quants, packed.add(block::Q5_0_FIFTH + lane * 4), j)
    }
}

impl Quantized for Q5_1 {
    const BLOCK: usize = 32;
    const SUB: usize = 32;
    const BLOCK_BYTES: usize = block::Q5_1_FIFTH + UNIT;
    const GROUP: usize = 1;
    const CENTRE: i32 = 0;
    const LARGEST: i32 = 31;

    #[inline(always)]
    unsafe fn unit<S: Simd, const T: usize>(
        packed: *const u8,
        lane: usize,
        _: usize,
        _: usize,
        j: usize,
    ) -> S::Int {
        let quants = packed.add(block::Q4_1_QUANTS + lane * 4);
        fifth_unit::<S, T>(quants, packed.add(block::Q5_1_FIFTH + lane * 4), j)
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
        add_raised::<S, T>(sums, scaled, packed, lane, rows, b);
    }
}

impl Quantized for Q8_0 {
    const BLOCK: usize = 32;
    const SUB: usize = 32;
    const BLOCK_BYTES: usize = block::Q8_0_QUANTS + 8 * UNIT;
    const GROUP: usize = 1;
    const CENTRE: i32 = 128;
    const LARGEST: i32 = 255;

    #[inline(always)]
    unsafe fn unit<S: Simd, const T: usize>(
        packed: *const u8,
        lane: usize,
        _: usize,
        _: usize,
        j: usize,
    ) -> S::Int {
        load_unit::<S, T>(packed.add(block::Q8_0_QUANTS + j * UNIT + lane * 4))
    }
}
