//! Blocks of 256 with 2 and 3 bits, in sixteen sub-blocks: `Q2_K`, `Q3_K`.
#![allow(unsafe_op_in_unsafe_fn)] // `Quantized`'s contract covers all lines.

use super::super::super::packed::{PANEL_ROWS, block};
use super::super::super::simd::Simd;
use super::{Quantized, Row, UNIT, add_scaled, load_unit, move_bit};

pub(in super::super) struct Q2K;
pub(in super::super) struct Q3K;

/// Unit `j` of sub-block `4 * quad + plane`: bits `2 * plane` and up of each byte of unit `4 * quad + j` of `quants`.
#[inline(always)]
unsafe fn plane_unit<S: Simd, const T: usize>(
    quants: *const u8,
    quad: usize,
    plane: usize,
    j: usize,
) -> S::Int {
    let stored = quants.add((4 * quad + j) * UNIT);
    let unit = if plane == 0 { load_unit::<S, T>(stored) } else { S::load_int(stored) };
    let shifted = match plane {
        0 => unit,
        1 => S::shift_right::<2>(unit),
        2 => S::shift_right::<4>(unit),
        _ => S::shift_right::<6>(unit),
    };
    S::and(shifted, S::splat_int(0x0303_0303))
}

impl Quantized for Q2K {
    const BLOCK: usize = 256;
    const SUB: usize = 16;
    const BLOCK_BYTES: usize = block::Q2_K_QUANTS + 16 * UNIT;
    const GROUP: usize = 4;
    const CENTRE: i32 = 0;
    const LARGEST: i32 = 3;

    #[inline(always)]
    unsafe fn unit<S: Simd, const T: usize>(
        packed: *const u8,
        lane: usize,
        quad: usize,
        plane: usize,
        j: usize,
    ) -> S::Int {
        plane_unit::<S, T>(packed.add(block::Q2_K_QUANTS + lane * 4), quad, plane, j)
    }

    #[inline(always)]
    unsafe fn scale<S: Simd>(packed: *const u8, lane: usize, sub: usize) -> S::Float {
        let at = block::Q2_K_SCALES + sub / 2 * 2 * PANEL_ROWS + lane * 2;
        let both = S::load_bytes_as_halves(packed.add(at));
        if sub.is_multiple_of(2) {
            return S::to_float(S::and(both, S::splat_int(0x0000_000F)));
        }
        // The second scale lies 16 bits higher: it is taken down as a power of two.
        let second = S::to_float(S::and(both, S::splat_int(0x000F_0000)));
        S::mul(second, S::splat(1.0 / 65_536.0))
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
        add_scaled::<S, T>(sums, scaled, S::load_f16(packed.add(lane * 2)), rows, b);
        let mut raised = [S::splat_int(0); T];
        for pair in 0..8 {
            let at = block::Q2_K_SCALES + pair * 2 * PANEL_ROWS + lane * 2;
            let both = S::load_bytes_as_halves(packed.add(at));
            let minimums = S::and(S::shift_right::<4>(both), S::splat_int(0x000F_000F));
            for t in 0..T {
                raised[t] = S::dot_halves(raised[t], minimums, rows[t].sums16.add(b * 16 + 2 * pair));
            }
        }
        let minimum = S::load_f16(packed.add(block::K_MINIMUM_SCALES + lane * 2));
        for t in 0..T {
            let scale = S::mul(minimum, S::splat(*rows[t].scales.add(b)));
            sums[t] = S::sub(sums[t], S::mul(S::to_float(raised[t]), scale));
        }
    }
}

impl Quantized for Q3K {
    const BLOCK: usize = 256;
    const SUB: usize = 16;
    const BLOCK_BYTES: usize = block::Q3_K_HIGH + 8 * UNIT;
    const GROUP: usize = 4;
    const CENTRE: i32 = 4;
    const LARGEST: i32 = 7;

    #[inline(always)]
    unsafe fn unit<S: Simd, const T: usize>(
        packed: *const u8,
        lane: usize,
        quad: usize,
        plane: usize,
        j: usize,
    ) -> S::Int {
        let thirds = S::load_int(packed.add(block::Q3_K_HIGH + (4 * quad + plane) / 2 * UNIT + lane * 4));
        let third = S::and(move_bit::<S>(thirds, 4 * (plane % 2) + j, 2), S::splat_int(0x0404_0404));
        S::or(plane_unit::<S, T>(packed.add(block::Q3_K_QUANTS + lane * 4), quad, plane, j), third)
    }

    #[inline(always)]
    unsafe fn scale<S: Simd>(packed: *const u8, lane: usize, sub: usize) -> S::Float {
        S::load_i8(packed.add(block::Q3_K_SCALES + sub * PANEL_ROWS + lane))
    }
}
