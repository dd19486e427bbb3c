//! Attention of one query, written out.

use super::softmax;

/// Attention of one query head over all its visible positions.
///
/// Shapes: `query` is `[head]`, already scaled; `keys` and `values` are `[positions][head]`. Returns `[head]`.
pub fn attention(query: &[f32], keys: &[&[f32]], values: &[&[f32]]) -> Vec<f32> {
    let mut scores: Vec<f64> = keys
        .iter()
        .map(|key| query.iter().zip(*key).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum())
        .collect();
    softmax(&mut scores);
    (0..query.len())
        .map(|d| scores.iter().zip(values).map(|(p, value)| p * f64::from(value[d])).sum::<f64>() as f32)
        .collect()
}
