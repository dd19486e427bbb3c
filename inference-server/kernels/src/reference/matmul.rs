//! Matrix products, one dot product at a time.

use super::{QuantizedRow, dequantize, quantize_blocks_of_32, quantize_blocks_of_256};
use crate::TensorType;

/// `out[t][r] = sum over c of weights[r][c] * input[t][c]`, weights stored as `kind`, accumulated in f64.
///
/// Shapes: `weights` is `[rows, columns]` as a file stores it, `input` is `[tokens, columns]`; the result
/// is `[tokens, rows]`.
pub fn matmul(kind: TensorType, weights: &[u8], columns: usize, input: &[f32]) -> Vec<f32> {
    let row_bytes = columns / kind.block_elements() * kind.block_bytes();
    let rows = weights.len() / row_bytes.max(1);
    let mut out = vec![0.0; input.len() / columns.max(1) * rows];
    let mut row = vec![0.0f32; columns];
    for (r, stored) in weights.chunks_exact(row_bytes.max(1)).enumerate() {
        dequantize(kind, stored, &mut row);
        for (t, input) in input.chunks_exact(columns).enumerate() {
            let dot: f64 = row.iter().zip(input).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum();
            out[t * rows + r] = dot as f32;
        }
    }
    out
}

/// [`matmul`] of the activations that an integer kernel sees: quantised as ggml does for `kind`.
///
/// For `Q4_1` and `Q5_1` the minimum's share uses the f16-rounded weighted sum, as `ggml_vec_dot_q4_1_q8_1`.
pub fn matmul_quantized(kind: TensorType, weights: &[u8], columns: usize, input: &[f32]) -> Vec<f32> {
    let rows_in: Vec<QuantizedRow> = match kind {
        TensorType::F32 | TensorType::F16 | TensorType::BF16 => return matmul(kind, weights, columns, input),
        TensorType::Q4_0
        | TensorType::Q4_1
        | TensorType::Q5_0
        | TensorType::Q5_1
        | TensorType::Q8_0
        | TensorType::IQ4NL
        | TensorType::MXFP4 => input.chunks_exact(columns).map(quantize_blocks_of_32).collect(),
        TensorType::Q2K
        | TensorType::Q3K
        | TensorType::Q4K
        | TensorType::Q5K
        | TensorType::Q6K
        | TensorType::IQ4XS => input.chunks_exact(columns).map(quantize_blocks_of_256).collect(),
    };
    let floats: Vec<f32> = rows_in.iter().flat_map(QuantizedRow::dequantized).collect();
    let mut out = matmul(kind, weights, columns, &floats);
    if matches!(kind, TensorType::Q4_1 | TensorType::Q5_1) {
        let row_bytes = columns / 32 * kind.block_bytes();
        let rows = weights.len() / row_bytes;
        for (t, row_in) in rows_in.iter().enumerate() {
            for (r, stored) in weights.chunks_exact(row_bytes).enumerate() {
                out[t * rows + r] += rounding_of_sums(stored, kind.block_bytes(), row_in);
            }
        }
    }
    out
}

/// What the f16 rounding of `weighted_sums` adds to the dot product of one row with minimums.
fn rounding_of_sums(stored: &[u8], block_bytes: usize, row: &QuantizedRow) -> f32 {
    let blocks = stored.chunks_exact(block_bytes).zip(row.values.chunks_exact(32)).enumerate();
    let difference: f64 = blocks
        .map(|(b, (block, values))| {
            let minimum = half::f16::from_le_bytes([block[2], block[3]]).to_f64();
            let sum: i32 = values.iter().map(|&q| i32::from(q)).sum();
            let exact = f64::from(row.scales[b]) * f64::from(sum);
            minimum * (f64::from(row.weighted_sums[b]) - exact)
        })
        .sum();
    difference as f32
}
