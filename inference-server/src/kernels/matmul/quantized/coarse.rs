//! Blocks of 256 with 2 and 3 bits, in sixteen sub-blocks: `Q2_K`, `Q3_K`.
#![allow(unsafe_op_in_unsafe_fn)] // `Kernel::tile`'s contract covers all lines.

use super::super::super::activations::Activations;
use super::super::super::packed::{PANEL_ROWS, block};
use super::super::super::simd::Simd;
use super::super::tile::Kernel;
use super::{Row, UNIT, load_unit, move_bit, rows};

pub(in super::super) struct Q2K;
pub(in super::super) struct Q3K;

/// Two bits `2 * plane` and up of each byte.
#[inline(always)]
unsafe fn plane<S: Simd>(unit: S::Int, plane: usize) -> S::Int {
    let shifted = match plane {
        0 => unit,
        1 => S::shift_right::<2>(unit),
        2 => S::shift_right::<4>(unit),
        _ => S::shift_right::<6>(unit),
    };
    S::and(shifted, S::splat_int(0x0303_0303))
}

/// Adds the products of a sub-block's 16 weights, `units` apart by four, with values from `at` on.
#[inline(always)]
unsafe fn add_units<S: Simd, const T: usize>(
    dots: &mut [S::Int; T],
    units: [S::Int; 4],
    rows: &[Row; T],
    at: usize,
) {
    for (j, &weights) in units.iter().enumerate() {
        for t in 0..T {
            dots[t] = S::dot(dots[t], weights, rows[t].values.add(at + 4 * j));
        }
    }
}

impl Kernel for Q2K {
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
            let packed = panel.add(b * (block::Q2_K_QUANTS + 16 * UNIT));
            let mut scaled = [S::splat(0.0); T];
            let mut raised = [S::splat_int(0); T];
            for quad in 0..4 {
                let units: [S::Int; 4] = std::array::from_fn(|j| {
                    load_unit::<S, T>(packed.add(block::Q2_K_QUANTS + (4 * quad + j) * UNIT + lane * 4))
                });
                for half in 0..2 {
                    let pair = 2 * quad + half;
                    let at = block::Q2_K_SCALES + pair * 2 * PANEL_ROWS + lane * 2;
                    let both = S::load_bytes_as_halves(packed.add(at));
                    let minimums = S::and(S::shift_right::<4>(both), S::splat_int(0x000F_000F));
                    // The second scale lies 16 bits higher: it is taken down as a power of two.
                    let second = S::to_float(S::and(both, S::splat_int(0x000F_0000)));
                    let scales = [
                        S::to_float(S::and(both, S::splat_int(0x0000_000F))),
                        S::mul(second, S::splat(1.0 / 65_536.0)),
                    ];
                    for t in 0..T {
                        raised[t] = S::dot_halves(raised[t], minimums, rows[t].sums16.add(b * 16 + 2 * pair));
                    }
                    for (odd, scale) in scales.into_iter().enumerate() {
                        let (p, sub) = (2 * half + odd, 2 * pair + odd);
                        let mut dots = [S::splat_int(0); T];
                        let weights = std::array::from_fn(|j| plane::<S>(units[j], p));
                        add_units::<S, T>(&mut dots, weights, &rows, b * 256 + sub * 16);
                        for t in 0..T {
                            scaled[t] = S::mul_add(S::to_float(dots[t]), scale, scaled[t]);
                        }
                    }
                }
            }
            let scale = S::load_f16(packed.add(lane * 2));
            let minimum = S::load_f16(packed.add(block::K_MINIMUM_SCALES + lane * 2));
            for t in 0..T {
                let size = S::splat(*rows[t].scales.add(b));
                sums[t] = S::mul_add(scaled[t], S::mul(scale, size), sums[t]);
                let raised = S::mul(S::to_float(raised[t]), S::mul(minimum, size));
                sums[t] = S::sub(sums[t], raised);
            }
        }
        sums
    }
}

impl Kernel for Q3K {
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
            let packed = panel.add(b * (block::Q3_K_HIGH + 8 * UNIT));
            let mut scaled = [S::splat(0.0); T];
            for quad in 0..4 {
                let units: [S::Int; 4] = std::array::from_fn(|j| {
                    load_unit::<S, T>(packed.add(block::Q3_K_QUANTS + (4 * quad + j) * UNIT + lane * 4))
                });
                for p in 0..4 {
                    let sub = 4 * quad + p;
                    let bits = load_unit::<S, T>(packed.add(block::Q3_K_HIGH + (sub / 2) * UNIT + lane * 4));
                    let weights = std::array::from_fn(|j| {
                        let third = move_bit::<S>(bits, 4 * (p % 2) + j, 2);
                        S::or(plane::<S>(units[j], p), S::and(third, S::splat_int(0x0404_0404)))
                    });
                    let mut dots: [S::Int; T] = std::array::from_fn(|t| {
                        S::splat_int(-4 * i32::from(*rows[t].sums16.add(b * 16 + sub)))
                    });
                    add_units::<S, T>(&mut dots, weights, &rows, b * 256 + sub * 16);
                    let scale = S::load_i8(packed.add(block::Q3_K_SCALES + sub * PANEL_ROWS + lane));
                    for t in 0..T {
                        scaled[t] = S::mul_add(S::to_float(dots[t]), scale, scaled[t]);
                    }
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
