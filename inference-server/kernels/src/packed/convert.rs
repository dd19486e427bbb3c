//! One row's block into its lane of a panel's block, and back.

use super::super::reference::{iq4_xs_scales, q3_k_scales};
use super::bits::{
    group_six_bits, group_third_bits, group_two_bits, pack_iq4_xs_scales, pack_q3_k_scales, pack_scales,
    return_legacy_fifth, turn_fifth_bits, turn_legacy_fifth, ungroup_six_bits, ungroup_third_bits,
    ungroup_two_bits, unpack_scales,
};
use super::{PANEL_ROWS, block};
use crate::TensorType;

/// Copies `N` bytes per unit between the row-wise block and lane `lane` of the panel.
fn spread<const N: usize>(from: &[u8], out: &mut [u8], lane: usize) {
    let units = from.chunks_exact(N).zip(out.chunks_exact_mut(N * PANEL_ROWS));
    for (from, out) in units {
        out[lane * N..][..N].copy_from_slice(from);
    }
}

/// The inverse of [`spread`].
fn gather<const N: usize>(from: &[u8], out: &mut [u8], lane: usize) {
    let units = from.chunks_exact(N * PANEL_ROWS).zip(out.chunks_exact_mut(N));
    for (from, out) in units {
        out.copy_from_slice(&from[lane * N..][..N]);
    }
}

/// Packs `stored`, one block of a row, into lane `lane` of `out`, one block of a panel.
pub(super) fn pack_block(kind: TensorType, stored: &[u8], lane: usize, out: &mut [u8]) {
    match kind {
        TensorType::F32 => spread::<4>(stored, out, lane),
        TensorType::F16 | TensorType::BF16 => spread::<2>(stored, out, lane),
        TensorType::Q4_0 | TensorType::IQ4NL => {
            spread::<2>(&stored[..2], out, lane);
            spread::<4>(&stored[2..], &mut out[block::Q4_0_QUANTS..], lane);
        }
        TensorType::Q4_1 => {
            spread::<2>(&stored[..4], out, lane);
            spread::<4>(&stored[4..], &mut out[block::Q4_1_QUANTS..], lane);
        }
        TensorType::Q5_0 => {
            spread::<2>(&stored[..2], out, lane);
            spread::<4>(&stored[6..], &mut out[block::Q4_0_QUANTS..], lane);
            spread::<4>(&turn_legacy_fifth(&stored[2..6]), &mut out[block::Q5_0_FIFTH..], lane);
        }
        TensorType::Q5_1 => {
            spread::<2>(&stored[..4], out, lane);
            spread::<4>(&stored[8..], &mut out[block::Q4_1_QUANTS..], lane);
            spread::<4>(&turn_legacy_fifth(&stored[4..8]), &mut out[block::Q5_1_FIFTH..], lane);
        }
        TensorType::Q8_0 => {
            let mut biased = [0u8; 32];
            biased.iter_mut().zip(&stored[2..]).for_each(|(out, q)| *out = q ^ 0x80);
            spread::<2>(&stored[..2], out, lane);
            spread::<4>(&biased, &mut out[block::Q8_0_QUANTS..], lane);
        }
        TensorType::Q2K => {
            spread::<2>(&stored[80..], out, lane);
            spread::<2>(&stored[..16], &mut out[block::Q2_K_SCALES..block::Q2_K_QUANTS], lane);
            spread::<4>(&group_two_bits(&stored[16..80]), &mut out[block::Q2_K_QUANTS..], lane);
        }
        TensorType::Q3K => {
            spread::<2>(&stored[108..], out, lane);
            let scales = q3_k_scales(&stored[96..108]).map(|scale| scale as u8);
            spread::<1>(&scales, &mut out[block::Q3_K_SCALES..], lane);
            spread::<4>(&group_two_bits(&stored[32..96]), &mut out[block::Q3_K_QUANTS..], lane);
            spread::<4>(&group_third_bits(&stored[..32]), &mut out[block::Q3_K_HIGH..], lane);
        }
        TensorType::Q4K | TensorType::Q5K => {
            let (scales, minimums) = unpack_scales(&stored[4..16]);
            spread::<2>(&stored[..4], out, lane);
            spread::<1>(&scales, &mut out[block::K_SCALES..], lane);
            spread::<2>(&minimums, &mut out[block::K_MINIMUMS..block::K_QUANTS], lane);
            if kind == TensorType::Q4K {
                spread::<4>(&stored[16..], &mut out[block::K_QUANTS..], lane);
            } else {
                spread::<4>(&stored[48..], &mut out[block::K_QUANTS..], lane);
                spread::<4>(&turn_fifth_bits(&stored[16..48]), &mut out[block::Q5_K_HIGH..], lane);
            }
        }
        TensorType::Q6K => {
            spread::<2>(&stored[208..], out, lane);
            spread::<1>(&stored[192..208], &mut out[block::Q6_K_SCALES..], lane);
            let (low, high) = group_six_bits(&stored[..192]);
            spread::<4>(&low, &mut out[block::Q6_K_LOW..], lane);
            spread::<4>(&high, &mut out[block::Q6_K_HIGH..], lane);
        }
        TensorType::IQ4XS => {
            spread::<2>(&stored[..2], out, lane);
            let scales = iq4_xs_scales(stored).map(|scale| scale as u8);
            spread::<1>(&scales, &mut out[block::IQ4_XS_SCALES..], lane);
            spread::<4>(&stored[8..], &mut out[block::IQ4_XS_QUANTS..], lane);
        }
        TensorType::MXFP4 => {
            spread::<1>(&stored[..1], out, lane);
            spread::<4>(&stored[1..], &mut out[block::MXFP4_QUANTS..], lane);
        }
    }
}

/// The inverse of [`pack_block`].
pub(super) fn unpack_block(kind: TensorType, packed: &[u8], lane: usize, out: &mut [u8]) {
    match kind {
        TensorType::F32 => gather::<4>(packed, out, lane),
        TensorType::F16 | TensorType::BF16 => gather::<2>(packed, out, lane),
        TensorType::Q4_0 | TensorType::IQ4NL => {
            gather::<2>(packed, &mut out[..2], lane);
            gather::<4>(&packed[block::Q4_0_QUANTS..], &mut out[2..], lane);
        }
        TensorType::Q4_1 => {
            gather::<2>(packed, &mut out[..4], lane);
            gather::<4>(&packed[block::Q4_1_QUANTS..], &mut out[4..], lane);
        }
        TensorType::Q5_0 => {
            gather::<2>(packed, &mut out[..2], lane);
            gather::<4>(&packed[block::Q4_0_QUANTS..], &mut out[6..], lane);
            out[2..6].copy_from_slice(&legacy_fifth(&packed[block::Q5_0_FIFTH..], lane));
        }
        TensorType::Q5_1 => {
            gather::<2>(packed, &mut out[..4], lane);
            gather::<4>(&packed[block::Q4_1_QUANTS..], &mut out[8..], lane);
            out[4..8].copy_from_slice(&legacy_fifth(&packed[block::Q5_1_FIFTH..], lane));
        }
        TensorType::Q8_0 => {
            gather::<2>(packed, &mut out[..2], lane);
            gather::<4>(&packed[block::Q8_0_QUANTS..], &mut out[2..], lane);
            out[2..].iter_mut().for_each(|q| *q ^= 0x80);
        }
        TensorType::Q2K => {
            let mut grouped = [0; 64];
            gather::<2>(packed, &mut out[80..], lane);
            gather::<2>(&packed[block::Q2_K_SCALES..], &mut out[..16], lane);
            gather::<4>(&packed[block::Q2_K_QUANTS..], &mut grouped, lane);
            out[16..80].copy_from_slice(&ungroup_two_bits(&grouped));
        }
        TensorType::Q3K => {
            let (mut scales, mut low, mut high) = ([0; 16], [0; 64], [0; 32]);
            gather::<2>(packed, &mut out[108..], lane);
            gather::<1>(&packed[block::Q3_K_SCALES..], &mut scales, lane);
            gather::<4>(&packed[block::Q3_K_QUANTS..], &mut low, lane);
            gather::<4>(&packed[block::Q3_K_HIGH..], &mut high, lane);
            pack_q3_k_scales(&scales, &mut out[96..108]);
            out[32..96].copy_from_slice(&ungroup_two_bits(&low));
            out[..32].copy_from_slice(&ungroup_third_bits(&high));
        }
        TensorType::Q4K | TensorType::Q5K => {
            let (mut scales, mut minimums) = ([0; 8], [0; 8]);
            gather::<2>(packed, &mut out[..4], lane);
            gather::<1>(&packed[block::K_SCALES..], &mut scales, lane);
            gather::<2>(&packed[block::K_MINIMUMS..], &mut minimums, lane);
            pack_scales(&scales, &minimums, &mut out[4..16]);
            if kind == TensorType::Q4K {
                gather::<4>(&packed[block::K_QUANTS..], &mut out[16..], lane);
            } else {
                gather::<4>(&packed[block::K_QUANTS..], &mut out[48..], lane);
                let mut turned = [0; 32];
                gather::<4>(&packed[block::Q5_K_HIGH..], &mut turned, lane);
                out[16..48].copy_from_slice(&turn_fifth_bits(&turned));
            }
        }
        TensorType::Q6K => {
            gather::<2>(packed, &mut out[208..], lane);
            gather::<1>(&packed[block::Q6_K_SCALES..], &mut out[192..208], lane);
            let (mut low, mut high) = ([0; 128], [0; 64]);
            gather::<4>(&packed[block::Q6_K_LOW..], &mut low, lane);
            gather::<4>(&packed[block::Q6_K_HIGH..], &mut high, lane);
            ungroup_six_bits(&low, &high, &mut out[..192]);
        }
        TensorType::IQ4XS => {
            let mut scales = [0; 8];
            gather::<2>(packed, &mut out[..2], lane);
            gather::<1>(&packed[block::IQ4_XS_SCALES..], &mut scales, lane);
            pack_iq4_xs_scales(&scales, &mut out[2..8]);
            gather::<4>(&packed[block::IQ4_XS_QUANTS..], &mut out[8..], lane);
        }
        TensorType::MXFP4 => {
            gather::<1>(packed, &mut out[..1], lane);
            gather::<4>(&packed[block::MXFP4_QUANTS..], &mut out[1..], lane);
        }
    }
}

fn legacy_fifth(packed: &[u8], lane: usize) -> [u8; 4] {
    let mut turned = [0; 4];
    gather::<4>(packed, &mut turned, lane);
    return_legacy_fifth(&turned)
}
