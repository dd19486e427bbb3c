//! Dot products by vector instructions: any number of tokens, one to eight at a time.
#![allow(unsafe_op_in_unsafe_fn)] // `Kernel::tile`'s contract covers all lines.

use super::super::super::activations::Activations;
use super::super::super::simd::Simd;
use super::super::tile::Kernel;
use super::{Quantized, Row, rows};

impl<Q: Quantized> Kernel for Q {
    #[inline(always)]
    unsafe fn tile<S: Simd, const T: usize>(
        panel: *const u8,
        lane: usize,
        input: &Activations,
        token: usize,
    ) -> [S::Float; T] {
        let rows: [Row; T] = rows::<Q, T>(input, token);
        let mut sums = [S::splat(0.0); T];
        for b in 0..input.columns() / Q::BLOCK {
            let packed = panel.add(b * Q::BLOCK_BYTES);
            let mut scaled = [S::splat(0.0); T];
            for group in 0..Q::BLOCK / Q::SUB / Q::GROUP {
                for member in 0..Q::GROUP {
                    let sub = group * Q::GROUP + member;
                    let at = b * (Q::BLOCK / Q::SUB) + sub;
                    let units = Packed { packed, lane, group, member };
                    let [dots] = dots::<Q, S, _, 1, T>(&units, &rows, at);
                    add_dots::<Q, S, T>(&mut scaled, &dots, Q::scale::<S>(packed, lane, sub));
                }
            }
            Q::finish::<S, T>(&mut sums, &scaled, packed, lane, &rows, b);
        }
        sums
    }
}

/// Where a sub-block's units come from. A closure would not do: nothing would make the compiler inline it.
pub(in super::super) trait Units<Q: Quantized> {
    /// Unit `j` of vector `v` of rows.
    ///
    /// # Safety
    /// The CPU has `S`; the implementor's pointers are good.
    unsafe fn unit<S: Simd, const T: usize>(&self, v: usize, j: usize) -> S::Int;
}

/// One vector of rows, as a panel's block holds them.
struct Packed {
    packed: *const u8,
    lane: usize,
    group: usize,
    member: usize,
}

impl<Q: Quantized> Units<Q> for Packed {
    #[inline(always)]
    unsafe fn unit<S: Simd, const T: usize>(&self, _: usize, j: usize) -> S::Int {
        Q::unit::<S, T>(self.packed, self.lane, self.group, self.member, j)
    }
}

/// Adds a sub-block's dot products, times its scale.
#[inline(always)]
pub(in super::super) unsafe fn add_dots<Q: Quantized, S: Simd, const T: usize>(
    scaled: &mut [S::Float; T],
    dots: &[S::Int; T],
    scale: S::Float,
) {
    if Q::BLOCK == Q::SUB {
        for t in 0..T {
            scaled[t] = S::to_float(dots[t]);
        }
        return;
    }
    for t in 0..T {
        scaled[t] = S::mul_add(S::to_float(dots[t]), scale, scaled[t]);
    }
}

/// Units whose dot products may be added up before they are widened.
const fn together<Q: Quantized, S: Simd>() -> usize {
    let mut units = Q::SUB / 4;
    while units > 1 && units as i32 > S::DOTS_LIMIT / (2 * 128 * Q::LARGEST) {
        units /= 2;
    }
    units
}

/// Adds the dot products of unit `j` of a sub-block whose values begin at `from`.
#[inline(always)]
unsafe fn add_unit<Q: Quantized, S: Simd, U: Units<Q>, const V: usize, const T: usize>(
    dots: &mut [[S::Int; T]; V],
    units: &U,
    rows: &[Row; T],
    from: usize,
    j: usize,
) {
    let mut weights = [S::splat_int(0); V];
    for (v, weights) in weights.iter_mut().enumerate() {
        *weights = units.unit::<S, T>(v, j);
    }
    let offset = from + 4 * j;
    for t in 0..T {
        if V == 1 && (Q::CENTRE != 128 || S::BIAS == 128) {
            dots[0][t] = S::dot_at(dots[0][t], weights[0], rows[t].values, offset);
            continue;
        }
        let values = S::broadcast(rows[t].values, offset);
        for v in 0..V {
            dots[v][t] = match Q::CENTRE {
                128 => S::dot_biased(dots[v][t], weights[v], values),
                _ => S::dot(dots[v][t], weights[v], values),
            };
        }
    }
}

/// Dot products of a sub-block, which is the rows' sub-block `at`, with `V` vectors of weights.
#[inline(always)]
pub(in super::super) unsafe fn dots<Q: Quantized, S: Simd, U: Units<Q>, const V: usize, const T: usize>(
    units: &U,
    rows: &[Row; T],
    at: usize,
) -> [[S::Int; T]; V] {
    let centre = if Q::CENTRE == 128 { S::BIAS } else { Q::CENTRE };
    let mut sums = [[S::splat_int(0); T]; V];
    if centre != 0 {
        for t in 0..T {
            let start = S::splat_int(-centre * rows[t].sum::<Q>(at));
            for sums in &mut sums {
                sums[t] = start;
            }
        }
    }
    let together = const { together::<Q, S>() };
    for part in 0..Q::SUB / 4 / together {
        let mut dots = sums;
        for (dots, sums) in dots.iter_mut().zip(&sums) {
            for (dot, &sum) in dots.iter_mut().zip(sums) {
                *dot = if Q::CENTRE == 128 { sum } else { S::begin_dots(sum) };
            }
        }
        for j in part * together..(part + 1) * together {
            add_unit::<Q, S, U, V, T>(&mut dots, units, rows, at * Q::SUB, j);
        }
        for v in 0..V {
            for t in 0..T {
                sums[v][t] = if Q::CENTRE == 128 { dots[v][t] } else { S::end_dots(sums[v][t], dots[v][t]) };
            }
        }
    }
    sums
}
