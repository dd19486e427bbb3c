//! Rows of floats to stored blocks, bit for bit as ggml's `quantize_row_*_ref` writes them.
//!
//! Sums are taken one after another, in f32 and without fused multiplications: a quantiser that adds in another order
//! chooses other scales.

use half::{bf16, f16};

use super::packed::pack_scales;
use crate::TensorType;

/// Elements of a sub-block of `Q4_K`.
const SUB: usize = 32;

/// Stores `row`, whole blocks of it, as `kind` into `out`, which has their room. False, and nothing is written, for a
/// type that nothing is quantised to here.
pub fn quantize_row(kind: TensorType, row: &[f32], out: &mut [u8]) -> bool {
    let block: fn(&[f32], &mut [u8]) = match kind {
        TensorType::Q8_0 => q8_0,
        TensorType::Q4K => q4_k,
        TensorType::BF16 => {
            let places = row.iter().zip(out.chunks_exact_mut(2));
            places.for_each(|(x, out)| out.copy_from_slice(&bf16::from_f32(*x).to_le_bytes()));
            return true;
        }
        TensorType::F32
        | TensorType::F16
        | TensorType::Q4_0
        | TensorType::Q4_1
        | TensorType::Q5_0
        | TensorType::Q5_1
        | TensorType::Q2K
        | TensorType::Q3K
        | TensorType::Q5K
        | TensorType::Q6K
        | TensorType::IQ4NL
        | TensorType::IQ4XS
        | TensorType::MXFP4 => return false,
    };
    let blocks = row.chunks_exact(kind.block_elements()).zip(out.chunks_exact_mut(kind.block_bytes()));
    blocks.for_each(|(row, out)| block(row, out));
    true
}

/// `quantize_row_q8_0_ref`: halves are rounded away from zero.
fn q8_0(row: &[f32], out: &mut [u8]) {
    let largest = row.iter().fold(0.0f32, |max, x| max.max(x.abs()));
    let scale = largest / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    out[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
    for (out, x) in out[2..].iter_mut().zip(row) {
        *out = (x * inverse).round() as i8 as u8;
    }
}

/// `quantize_row_q4_K_ref`: the scale and minimum of each sub-block by weighted least squares, then both in 6 bits.
fn q4_k(row: &[f32], out: &mut [u8]) {
    let mut levels = [[0u8; SUB]; 8];
    let (mut scales, mut minimums) = ([0.0f32; 8], [0.0f32; 8]);
    for (sub, x) in row.chunks_exact(SUB).take(8).enumerate() {
        let squares = x.iter().fold(0.0f32, |sum, x| sum + x * x);
        let size = (squares / SUB as f32).sqrt();
        let weights: [f32; SUB] = std::array::from_fn(|at| size + x[at].abs());
        (scales[sub], minimums[sub]) = fit(x, &weights, &mut levels[sub]);
    }
    let largest = |values: &[f32; 8]| values.iter().fold(0.0f32, |max, x| if *x > max { *x } else { max });
    let (scale, minimum) = (largest(&scales), largest(&minimums));
    let six_bits = |values: &[f32; 8], largest: f32| -> [u8; 8] {
        let inverse = if largest > 0.0 { 63.0 / largest } else { 0.0 };
        values.map(|value| (nearest(inverse * value) as u8).min(63))
    };
    let (scale_bits, minimum_bits) = (six_bits(&scales, scale), six_bits(&minimums, minimum));
    let (scale, minimum) = (f16::from_f32(scale / 63.0), f16::from_f32(minimum / 63.0));
    for (sub, x) in row.chunks_exact(SUB).take(8).enumerate() {
        let step = scale.to_f32() * f32::from(scale_bits[sub]);
        if step == 0.0 {
            continue;
        }
        let shift = minimum.to_f32() * f32::from(minimum_bits[sub]);
        for (level, x) in levels[sub].iter_mut().zip(x) {
            *level = nearest((x + shift) / step).clamp(0, 15) as u8;
        }
    }
    out[..2].copy_from_slice(&scale.to_le_bytes());
    out[2..4].copy_from_slice(&minimum.to_le_bytes());
    pack_scales(&scale_bits, &minimum_bits, &mut out[4..16]);
    for (out, pair) in out[16..].chunks_exact_mut(SUB).zip(levels.chunks_exact(2)) {
        for (at, out) in out.iter_mut().enumerate() {
            *out = pair[0][at] | (pair[1][at] << 4);
        }
    }
}

/// ggml's `make_qkx2_quants` with 15 levels and 21 tries: scale and negated minimum, and what `x` becomes with them.
fn fit(x: &[f32], weights: &[f32; SUB], levels: &mut [u8; SUB]) -> (f32, f32) {
    let (mut min, mut max) = (x[0], x[0]);
    let (mut sum_w, mut sum_x) = (weights[0], weights[0] * x[0]);
    for (x, w) in x.iter().zip(weights).skip(1) {
        min = if *x < min { *x } else { min };
        max = if *x > max { *x } else { max };
        sum_w += w;
        sum_x += w * x;
    }
    min = if min > 0.0 { 0.0 } else { min };
    if max == min {
        *levels = [0; SUB];
        return (0.0, -min);
    }
    let level = |inverse: f32, x: f32, min: f32| nearest(inverse * (x - min)).clamp(0, 15) as u8;
    let error = |levels: &[u8; SUB], scale: f32, min: f32| {
        let terms = x.iter().zip(weights).zip(levels);
        terms.fold(0.0f32, |sum, ((x, w), level)| {
            let difference = scale * f32::from(*level) + min - x;
            sum + w * (difference * difference)
        })
    };
    let inverse = 15.0 / (max - min);
    let mut scale = 1.0 / inverse;
    *levels = std::array::from_fn(|at| level(inverse, x[at], min));
    let mut best = error(levels, scale, min);
    // Each try begins at the best minimum so far, not at the lowest value.
    for step in 0..=20u8 {
        let inverse = (-1.0 + 0.1 * f32::from(step) + 15.0) / (max - min);
        let tried: [u8; SUB] = std::array::from_fn(|at| level(inverse, x[at], min));
        let (mut sum_l, mut sum_l2, mut sum_xl) = (0.0f32, 0.0f32, 0.0f32);
        for ((x, w), level) in x.iter().zip(weights).zip(&tried) {
            let level = f32::from(*level);
            sum_l += w * level;
            sum_l2 += w * level * level;
            sum_xl += w * level * x;
        }
        let determinant = sum_w * sum_l2 - sum_l * sum_l;
        if determinant > 0.0 {
            let mut this_scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
            let mut this_min = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
            if this_min > 0.0 {
                this_min = 0.0;
                this_scale = sum_xl / sum_l2;
            }
            let this_error = error(&tried, this_scale, this_min);
            if this_error < best {
                *levels = tried;
                (best, scale, min) = (this_error, this_scale, this_min);
            }
        }
    }
    (scale, -min)
}

/// ggml's `nearest_int`: rounded to even by adding 1.5 * 2^23, and as meaningless as there beyond 2^22.
fn nearest(x: f32) -> i32 {
    let bits = (x + 12_582_912.0).to_bits();
    (bits & 0x007F_FFFF) as i32 - 0x0040_0000
}
