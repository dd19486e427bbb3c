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
                    let dots = dots::<Q, S, T>(packed, lane, group, member, &rows, at);
                    scale::<Q, S, T>(&mut scaled, &dots, packed, lane, sub);
                }
            }
            Q::finish::<S, T>(&mut sums, &scaled, packed, lane, &rows, b);
        }
        sums
    }
}

/// Adds a sub-block's dot products, times its scale.
#[inline(always)]
unsafe fn scale<Q: Quantized, S: Simd, const T: usize>(
    scaled: &mut [S::Float; T],
    dots: &[S::Int; T],
    packed: *const u8,
    lane: usize,
    sub: usize,
) {
    if Q::BLOCK == Q::SUB {
        *scaled = dots.map(|dot| S::to_float(dot));
        return;
    }
    let scale = Q::scale::<S>(packed, lane, sub);
    for t in 0..T {
        scaled[t] = S::mul_add(S::to_float(dots[t]), scale, scaled[t]);
    }
}

/// Dot products of a sub-block, which is the rows' sub-block `at`.
#[inline(always)]
unsafe fn dots<Q: Quantized, S: Simd, const T: usize>(
    packed: *const u8,
    lane: usize,
    group: usize,
    member: usize,
    rows: &[Row; T],
    at: usize,
) -> [S::Int; T] {
    let centre = if Q::CENTRE == 128 { S::BIAS } else { Q::CENTRE };
    let mut dots: [S::Int; T] = std::array::from_fn(|t| match centre {
        0 => S::splat_int(0),
        _ => S::splat_int(-centre * rows[t].sum::<Q>(at)),
    });
    for j in 0..Q::SUB / 4 {
        let weights = Q::unit::<S, T>(packed, lane, group, member, j);
        for t in 0..T {
            let values = rows[t].values.add(at * Q::SUB + 4 * j);
            dots[t] = match Q::CENTRE {
                128 => S::dot_biased(dots[t], weights, values),
                _ => S::dot(dots[t], weights, values),
            };
        }
    }
    dots
}
