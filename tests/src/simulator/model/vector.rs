//! What a text means, in numbers: the same for the same text, and of length one.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Where nothing else is asked for.
const DIMENSIONS: u64 = 8;
/// What may be asked for.
pub(in crate::simulator) const MOST_DIMENSIONS: f64 = 3072.0;

/// The vector of `text`.
pub(in crate::simulator) fn vector(text: &str, dimensions: Option<u64>) -> Vec<f32> {
    let value = |dimension: u64| {
        let mut hasher = DefaultHasher::new();
        (text, dimension).hash(&mut hasher);
        // Sixteen bits are what a float holds without rounding.
        f32::from((hasher.finish() >> 48) as u16) / f32::from(u16::MAX) - 0.5
    };
    let values: Vec<f32> = (0..dimensions.unwrap_or(DIMENSIONS)).map(value).collect();
    let length = values.iter().map(|value| value * value).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    values.into_iter().map(|value| value / length).collect()
}
