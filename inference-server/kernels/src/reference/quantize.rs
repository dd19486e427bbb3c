//! Activations to int8, as ggml quantises them before an integer dot product, so that our numbers are its.

use half::f16;

/// One quantised row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QuantizedRow {
    /// `[columns]` int8 values.
    pub values: Vec<i8>,
    /// `[columns / block]`: a value times its block's scale is the float.
    pub scales: Vec<f32>,
    /// `[columns / 32]`: scale times the block's sum, rounded to f16 as ggml's `block_q8_1.s`. Empty for
    /// blocks of 256.
    pub weighted_sums: Vec<f32>,
}

impl QuantizedRow {
    /// The row as floats again.
    pub fn dequantized(&self) -> Vec<f32> {
        let block = self.values.len() / self.scales.len().max(1);
        self.values.iter().enumerate().map(|(i, &q)| f32::from(q) * self.scales[i / block]).collect()
    }
}

/// Blocks of 32 with an f16 scale (`quantize_row_q8_0` and `quantize_row_q8_1`, x86 rounding).
pub fn quantize_blocks_of_32(row: &[f32]) -> QuantizedRow {
    let mut out = QuantizedRow::default();
    for block in row.chunks_exact(32) {
        let largest = block.iter().fold(0.0f32, |max, x| max.max(x.abs()));
        let scale = largest / 127.0;
        let inverse = if largest == 0.0 { 0.0 } else { 127.0 / largest };
        let values = block.iter().map(|x| (x * inverse).round_ties_even() as i8);
        let sum: i32 = values.clone().map(i32::from).sum();
        out.values.extend(values);
        out.scales.push(f16::from_f32(scale).to_f32());
        out.weighted_sums.push(f16::from_f32(scale * sum as f32).to_f32());
    }
    out
}

/// Blocks of 256 with an f32 scale (`quantize_row_q8_K`): the largest magnitude becomes -127.
pub fn quantize_blocks_of_256(row: &[f32]) -> QuantizedRow {
    let mut out = QuantizedRow::default();
    for block in row.chunks_exact(256) {
        let largest = block.iter().fold(0.0f32, |max, &x| if x.abs() > max.abs() { x } else { max });
        if largest == 0.0 {
            out.values.extend([0; 256]);
            out.scales.push(0.0);
            continue;
        }
        let inverse = -127.0 / largest;
        out.values.extend(block.iter().map(|x| (x * inverse).round_ties_even().min(127.0) as i8));
        out.scales.push(1.0 / inverse);
    }
    out
}
