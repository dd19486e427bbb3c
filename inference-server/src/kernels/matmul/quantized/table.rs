//! Quants that are places in a table of sixteen values: `IQ4_NL`, `IQ4_XS`, `MXFP4`.
#![allow(unsafe_op_in_unsafe_fn)] // `Kernel::tile`'s contract covers all lines.

use super::super::super::activations::Activations;
use super::super::super::packed::{PANEL_ROWS, block};
use super::super::super::reference::{IQ4_VALUES, MXFP4_VALUES};
use super::super::super::simd::Simd;
use super::super::tile::Kernel;
use super::{Row, UNIT, load_unit, rows};

pub(in super::super) struct IQ4NL;
pub(in super::super) struct IQ4XS;
pub(in super::super) struct MXFP4;

/// A table's values as [`Simd::dot_biased`] wants them.
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

/// The 32 products of a block (4 units from `quants`) with values from `at` on, whose sum is `sums32[sum]`.
#[inline(always)]
unsafe fn looked_up<S: Simd, const T: usize>(
    table: &[u8; 16],
    quants: *const u8,
    rows: &[Row; T],
    at: usize,
    sum: usize,
) -> [S::Int; T] {
    let mask = S::splat_int(0x0F0F_0F0F);
    let mut dots: [S::Int; T] =
        std::array::from_fn(|t| S::splat_int(-S::BIAS * i32::from(*rows[t].sums32.add(sum))));
    for j in 0..4 {
        let both = load_unit::<S, T>(quants.add(j * UNIT));
        let low = S::look_up(table, S::and(both, mask));
        let high = S::look_up(table, S::and(S::shift_right::<4>(both), mask));
        for t in 0..T {
            dots[t] = S::dot_biased(dots[t], low, rows[t].values.add(at + 4 * j));
            dots[t] = S::dot_biased(dots[t], high, rows[t].values.add(at + 16 + 4 * j));
        }
    }
    dots
}

impl Kernel for IQ4NL {
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
            let quants = packed.add(block::Q4_0_QUANTS + lane * 4);
            let dots = looked_up::<S, T>(&IQ4, quants, &rows, b * 32, b);
            let scale = S::load_f16(packed.add(lane * 2));
            for t in 0..T {
                let scale = S::mul(scale, S::splat(*rows[t].scales.add(b)));
                sums[t] = S::mul_add(S::to_float(dots[t]), scale, sums[t]);
            }
        }
        sums
    }
}

impl Kernel for MXFP4 {
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
            let packed = panel.add(b * (block::MXFP4_QUANTS + 4 * UNIT));
            let quants = packed.add(block::MXFP4_QUANTS + lane * 4);
            let dots = looked_up::<S, T>(&FP4, quants, &rows, b * 32, b);
            let scale = S::load_half_powers(packed.add(lane));
            for t in 0..T {
                let scale = S::mul(scale, S::splat(*rows[t].scales.add(b)));
                sums[t] = S::mul_add(S::to_float(dots[t]), scale, sums[t]);
            }
        }
        sums
    }
}

impl Kernel for IQ4XS {
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
            let packed = panel.add(b * (block::IQ4_XS_QUANTS + 32 * UNIT));
            let mut scaled = [S::splat(0.0); T];
            for sub in 0..8 {
                let quants = packed.add(block::IQ4_XS_QUANTS + sub * 4 * UNIT + lane * 4);
                let dots = looked_up::<S, T>(&IQ4, quants, &rows, b * 256 + sub * 32, b * 8 + sub);
                let scale = S::load_i8(packed.add(block::IQ4_XS_SCALES + sub * PANEL_ROWS + lane));
                for t in 0..T {
                    scaled[t] = S::mul_add(S::to_float(dots[t]), scale, scaled[t]);
                }
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
