//! Quantised weights: int8 dot products within a sub-block, f32 across sub-blocks and blocks, as ggml's
//! `ggml_vec_dot_*` but for the order of additions, which is the same here for any number of tokens and on any way
//! that the dot products are made.
//!
//! [`Quantized`] says what a stored type is; `vector` and [`amx`](super::amx) compute with it. `legacy` holds the types
//! with blocks of 32, `k` and `coarse` those with blocks of 256, `table` those whose quants are places in a table.
#![allow(unsafe_op_in_unsafe_fn)] // Each trait method's contract covers all its lines.

use super::super::activations::{Activations, Blocks};
use super::super::packed::PANEL_ROWS;
use super::super::simd::Simd;

mod coarse;
mod k;
mod legacy;
mod table;
mod vector;

pub(super) use coarse::{Q2K, Q3K};
pub(super) use k::{Q4K, Q5K, Q6K};
pub(super) use legacy::{Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
pub(super) use table::{IQ4NL, IQ4XS, MXFP4};
pub(super) use vector::{Units, add_dots, dots};

/// Bytes of a unit: four weights of each of the panel's rows.
pub(super) const UNIT: usize = 4 * PANEL_ROWS;

/// How far ahead of a single token's pass weights are asked for, in bytes. With one token a pass waits on
/// memory; measured, this takes a fifth less time than the hardware's own prefetching.
const AHEAD: usize = 1536;

/// A stored type of quantised weights.
pub(super) trait Quantized {
    /// Elements of a block, which has one scale of activations: 32 or 256.
    const BLOCK: usize;
    /// Elements of a sub-block, whose dot product is exact in 32 bits: 16 or 32.
    const SUB: usize;
    /// Bytes of a block of a panel.
    const BLOCK_BYTES: usize;
    /// Sub-blocks whose units are cut from the same bytes.
    const GROUP: usize;
    /// What a unit's bytes are above the quants they stand for; 128 where they use all eight bits.
    const CENTRE: i32;
    /// The largest that a unit's bytes are.
    const LARGEST: i32;

    /// Unit `j` of sub-block `group * GROUP + member`: four bytes of each row from `lane` on. `member` and `j` are
    /// constants where this is inlined.
    ///
    /// # Safety
    /// The CPU has `S`; `packed` is a block of a panel of this type.
    unsafe fn unit<S: Simd, const T: usize>(
        packed: *const u8,
        lane: usize,
        group: usize,
        member: usize,
        j: usize,
    ) -> S::Int;

    /// Scale of a sub-block, within its block; for types with more than one sub-block a block.
    ///
    /// # Safety
    /// As [`Self::unit`].
    #[inline(always)]
    unsafe fn scale<S: Simd>(_packed: *const u8, _lane: usize, _sub: usize) -> S::Float {
        S::splat(1.0)
    }

    /// Adds block `b` to `sums`: `scaled` is the sum of its dot products, each times its sub-block's scale. As it stands
    /// here, for blocks that begin with their f16 scales and have nothing else to add.
    ///
    /// # Safety
    /// As [`Self::unit`]; `rows` have a block `b`.
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
    }
}

/// Loads a unit of weights.
#[inline(always)]
unsafe fn load_unit<S: Simd, const T: usize>(from: *const u8) -> S::Int {
    if T == 1 {
        S::prefetch(from.wrapping_add(AHEAD));
    }
    S::load_int(from)
}

/// Low (0) or high (1) nibbles of each byte.
#[inline(always)]
unsafe fn nibbles<S: Simd>(both: S::Int, half: usize) -> S::Int {
    let shifted = if half == 0 { both } else { S::shift_right::<4>(both) };
    S::and(shifted, S::splat_int(0x0F0F_0F0F))
}

/// Adds `scaled`, times the block's f16 scale and that of the activations.
#[inline(always)]
unsafe fn add_scaled<S: Simd, const T: usize>(
    sums: &mut [S::Float; T],
    scaled: &[S::Float; T],
    scale: S::Float,
    rows: &[Row; T],
    b: usize,
) {
    for t in 0..T {
        let scale = S::mul(scale, S::splat(*rows[t].scales.add(b)));
        sums[t] = S::mul_add(scaled[t], scale, sums[t]);
    }
}

/// Addresses of one token's quantised row.
#[derive(Clone, Copy)]
pub(super) struct Row {
    values: *const i8,
    scales: *const f32,
    weighted_sums: *const f32,
    sums32: *const i16,
    sums16: *const i16,
}

impl Row {
    /// Sum of the values of sub-block `at` of the row.
    #[inline(always)]
    pub(super) unsafe fn sum<Q: Quantized>(&self, at: usize) -> i32 {
        i32::from(if Q::SUB == 16 { *self.sums16.add(at) } else { *self.sums32.add(at) })
    }
}

/// The quantisation of activations that `Q` is multiplied with.
#[inline(always)]
pub(super) fn blocks<Q: Quantized>(input: &Activations) -> &Blocks {
    if Q::BLOCK == 32 { input.blocks32() } else { input.blocks256() }
}

/// The rows of `T` tokens from `token` on.
#[inline(always)]
pub(super) unsafe fn rows<Q: Quantized, const T: usize>(input: &Activations, token: usize) -> [Row; T] {
    let (blocks, columns) = (blocks::<Q>(input), input.columns());
    std::array::from_fn(|t| {
        let token = token + t;
        Row {
            values: blocks.values.as_ptr().add(token * columns),
            scales: blocks.scales.as_ptr().add(token * (columns / Q::BLOCK)),
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
