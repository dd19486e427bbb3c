//! How keys and values are stored: whole, halved, or as int8 with a scale.
#![allow(unsafe_op_in_unsafe_fn)] // Each function's contract covers all its lines.

use super::super::simd::Simd;
use super::block::BLOCK_SIZE;

/// Elements that share a scale in `Q8_0`, as ggml's block of that name.
pub(super) const GROUP: usize = 32;

/// What a cache's elements are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvKind {
    /// 32-bit floats: twice the memory for numbers as computed.
    F32,
    /// IEEE halves.
    #[default]
    F16,
    /// int8 in groups of 32 with an f16 scale: about half the memory of `F16`.
    Q8_0,
}

impl KvKind {
    /// True when heads of `head` elements are whole groups, as ggml wants them too.
    pub fn suits(self, head: usize) -> bool {
        match self {
            Self::F32 | Self::F16 => true,
            Self::Q8_0 => head.is_multiple_of(GROUP),
        }
    }

    /// Bytes of `vectors` of one block's positions, of `elements` each.
    pub(super) fn bytes(self, elements: usize) -> usize {
        let scales = match self {
            Self::F32 | Self::F16 => 0,
            Self::Q8_0 => elements.div_ceil(GROUP) * BLOCK_SIZE * 2,
        };
        let element = match self {
            Self::F32 => 4,
            Self::F16 => 2,
            Self::Q8_0 => 1,
        };
        elements * BLOCK_SIZE * element + scales
    }
}

/// Loads from one head's part of a block. Elements come first, then, in [`Self::SCALED`] formats, the scales as
/// `[groups][BLOCK_SIZE]` f16.
///
/// The contract of every method: the CPU has `S`, and the block is whole.
pub(super) trait KvFormat {
    /// True when elements are to be multiplied with their group's scale.
    const SCALED: bool;
    /// Bytes of an element.
    const BYTES: usize;

    /// `LANES` elements, from the `index`th on.
    unsafe fn load<S: Simd>(block: *const u8, index: usize) -> S::Float;

    /// Scales of positions `lane .. lane + LANES` in `group`; `elements` is the length of a vector.
    unsafe fn scales<S: Simd>(block: *const u8, elements: usize, group: usize, lane: usize) -> S::Float {
        let at = elements * BLOCK_SIZE * Self::BYTES + (group * BLOCK_SIZE + lane) * 2;
        S::load_f16(block.add(at))
    }
}

pub(super) struct F32;
pub(super) struct F16;
pub(super) struct Q8;

impl KvFormat for F32 {
    const SCALED: bool = false;
    const BYTES: usize = 4;
    #[inline(always)]
    unsafe fn load<S: Simd>(block: *const u8, index: usize) -> S::Float {
        S::load(block.cast::<f32>().add(index))
    }
}

impl KvFormat for F16 {
    const SCALED: bool = false;
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load<S: Simd>(block: *const u8, index: usize) -> S::Float {
        S::load_f16(block.add(2 * index))
    }
}

impl KvFormat for Q8 {
    const SCALED: bool = true;
    const BYTES: usize = 1;
    #[inline(always)]
    unsafe fn load<S: Simd>(block: *const u8, index: usize) -> S::Float {
        S::load_i8(block.add(index))
    }
}

/// One group as `Q8_0` rounds it (`quantize_row_q8_0`): its f16 scale's bits, and the values into `out`.
pub(super) fn quantize_group(group: &[f32], out: &mut [i8]) -> u16 {
    let largest = group.iter().fold(0.0f32, |max, x| max.max(x.abs()));
    let inverse = if largest == 0.0 { 0.0 } else { 127.0 / largest };
    out.iter_mut().zip(group).for_each(|(out, x)| *out = (x * inverse).round_ties_even() as i8);
    half::f16::from_f32(largest / 127.0).to_bits()
}
