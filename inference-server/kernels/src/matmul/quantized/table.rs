//! Quants that are places in a table of sixteen values: `IQ4_NL`, `IQ4_XS`, `MXFP4`.
#![allow(unsafe_op_in_unsafe_fn)] // `Quantized`'s contract covers all lines.

use super::super::super::packed::{PANEL_ROWS, block};
use super::super::super::reference::{IQ4_VALUES, MXFP4_VALUES};
use super::super::super::simd::Simd;
use super::legacy::nibble_unit;
use super::{Quantized, Row, UNIT, add_scaled};

pub(in super::super) struct IQ4NL;
pub(in super::super) struct IQ4XS;
pub(in super::super) struct MXFP4;

/// A table's values plus 128.
const fn biased(values: &[i8; 16]) -> [u8; 16] {
    let mut table = [0; 16];
    let mut i = 0;
    while i < 16 {
        table[i] = values[i] as u8 ^ 0x80;
        i += 1;
    }
    table
}

const IQ4: [u8; 16] = biased(&IQ4_VALUES);
const FP4: [u8; 16] = biased(&MXFP4_VALUES);

impl Quantized for IQ4NL {
    const BLOCK: usize = 32;
    const SUB: usize = 32;
    const BLOCK_BYTES: usize = block::Q4_0_QUANTS + 4 * UNIT;
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
        S::look_up(&IQ4, nibble_unit::<S, T>(packed.add(block::Q4_0_QUANTS + lane * 4), j))
    }
}

impl Quantized for MXFP4 {
    const BLOCK: usize = 32;
    const SUB: usize = 32;
    const BLOCK_BYTES: usize = block::MXFP4_QUANTS + 4 * UNIT;
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
        S::look_up(&FP4, nibble_unit::<S, T>(packed.add(block::MXFP4_QUANTS + lane * 4), j))
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
        add_scaled::<S, T>(sums, scaled, S::load_half_powers(packed.add(lane)), rows, b);
    }
}

impl Quantized for IQ4XS {
    const BLOCK: usize = 256;
    const SUB: usize = 32;
    const BLOCK_BYTES: usize = block::IQ4_XS_QUANTS + 32 * UNIT;
    const GROUP: usize = 1;
    const CENTRE: i32 = 128;
    const LARGEST: i32 = 255;

    #[inline(always)]
    unsafe fn unit<S: Simd, const T: usize>(
        packed: *const u8,
        lane: usize,
        group: usize,
        _: usize,
        j: usize,
    ) -> S::Int {
        let quants = packed.add(block::IQ4_XS_QUANTS + group * 4 * UNIT + lane * 4);
        S::look_up(&IQ4, nibble_unit::<S, T>(quants, j))
    }

    #[inline(always)]
    unsafe fn scale<S: Simd>(packed: *const u8, lane: usize, sub: usize) -> S::Float {
        S::load_i8(packed.add(block::IQ4_XS_SCALES + sub * PANEL_ROWS + lane))
    }
}
