//! Normalisation, rotary embedding, softmax and activations.

use super::super::elementwise::{Activation, PairLayout};

/// Root-mean-square normalisation of one row: `x / sqrt(mean(x²) + epsilon) * weight`.
pub fn rms_norm(row: &[f32], weight: &[f32], epsilon: f32) -> Vec<f32> {
    let mean = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / row.len().max(1) as f64;
    let scale = 1.0 / (mean + f64::from(epsilon)).sqrt();
    row.iter().zip(weight).map(|(&x, &w)| (f64::from(x) * scale) as f32 * w).collect()
}

/// Layer normalisation of one row: `(x - mean) / sqrt(variance + epsilon) * weight + bias`.
pub fn layer_norm(row: &[f32], weight: &[f32], bias: &[f32], epsilon: f32) -> Vec<f32> {
    let length = row.len().max(1) as f64;
    let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / length;
    let variance = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / length;
    let scale = 1.0 / (variance + f64::from(epsilon)).sqrt();
    let weights = weight.iter().zip(bias);
    row.iter()
        .zip(weights)
        .map(|(&x, (&w, &b))| ((f64::from(x) - mean) * scale * f64::from(w) + f64::from(b)) as f32)
        .collect()
}

/// Rotary embedding of one head at `position`. `frequencies[i]` is in radians per position; both functions are
/// multiplied with `magnitude`; elements past the pairs are left alone.
pub fn rotate(layout: PairLayout, head: &mut [f32], position: usize, frequencies: &[f64], magnitude: f64) {
    for (pair, &frequency) in frequencies.iter().enumerate().take(head.len() / 2) {
        let (first, second) = match layout {
            PairLayout::Interleaved => (2 * pair, 2 * pair + 1),
            PairLayout::Halves => (pair, pair + frequencies.len()),
        };
        let (sin, cos) = (position as f64 * frequency).sin_cos();
        let (sin, cos) = (sin * magnitude, cos * magnitude);
        let (a, b) = (f64::from(head[first]), f64::from(head[second]));
        head[first] = (a * cos - b * sin) as f32;
        head[second] = (a * sin + b * cos) as f32;
    }
}

/// An activation function of one number.
pub fn activate(activation: Activation, x: f32) -> f32 {
    let x = f64::from(x);
    let y = match activation {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
            0.5 * x * (1.0 + inner.tanh())
        }
        Activation::Gelu => 0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2)),
    };
    y as f32
}

/// Softmax in place, in f64.
pub fn softmax(scores: &mut [f64]) {
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - max).exp();
        sum += *score;
    }
    scores.iter_mut().for_each(|score| *score /= sum);
}

/// `silu(gate) * up`, elementwise.
pub fn swiglu(gate: &[f32], up: &[f32]) -> Vec<f32> {
    gate.iter().zip(up).map(|(&gate, &up)| activate(Activation::Silu, gate) * up).collect()
}
