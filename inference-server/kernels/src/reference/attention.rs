//! Attention of one query, written out.

use super::softmax;

/// Attention of one query head over all its visible positions.
///
/// Shapes: `query` is `[head]`, already scaled; `keys` and `values` are `[positions][head]`. Returns `[head]`.
/// Scores become `cap * tanh(score / cap)` where there is a `soft_cap`.
pub fn attention(query: &[f32], keys: &[&[f32]], values: &[&[f32]], soft_cap: Option<f32>) -> Vec<f32> {
    let mut scores: Vec<f64> = keys
        .iter()
        .map(|key| query.iter().zip(*key).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum())
        .collect();
    if let Some(cap) = soft_cap.map(f64::from) {
        scores.iter_mut().for_each(|score| *score = cap * (*score / cap).tanh());
    }
    softmax(&mut scores);
    (0..query.len())
        .map(|d| scores.iter().zip(values).map(|(p, value)| p * f64::from(value[d])).sum::<f64>() as f32)
        .collect()
}
