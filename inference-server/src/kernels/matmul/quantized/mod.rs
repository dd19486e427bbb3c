//! Inner loops of quantised weights: int8 dot products within a block, f32 across blocks, as ggml's
//! `ggml_vec_dot_*` but for the order of additions.
//!
//! `legacy` holds the types with blocks of 32, `k` and `coarse` those with blocks of 256, `table` those whose quants are
//! places in a table.
#![allow(unsafe_op_in_unsafe_fn)] // `Kernel::tile`'s contract covers all lines.

use super::super::activations::Blocks;
use super::super::packed::PANEL_ROWS;
use super::super::simd::Simd;

mod coarse;
mod k;
mod legacy;
mod table;

pub(super) use coarse::{Q2K, Q3K};
pub(super) use k::{Q4K, Q5K, Q6K};
pub(super) use legacy::{Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
pub(super) use table::{IQ4NL, IQ4XS, MXFP4};

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

/// Moves bit `FROM` of each byte to bit `TO`; bits of neighbours come along and are to be masked off.
#[inline(always)]
unsafe fn move_bit<S: Simd>(bits: S::Int, from: usize, to: usize) -> S::Int {
    match (from as isize) - (to as isize) {
        -4 => S::shift_left::<4>(bits),
        -3 => S::shift_left::<3>(bits),
        -2 => S::shift_left::<2>(bits),
        -1 => S::shift_left::<1>(bits),
        0 => bits,
        1 => S::shift_right::<1>(bits),
        2 => S::shift_right::<2>(bits),
        3 => S::shift_right::<3>(bits),
        4 => S::shift_right::<4>(bits),
        _ => S::shift_right::<5>(bits),
    }
}
