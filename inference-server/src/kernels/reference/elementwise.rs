//! Normalisation, rotary embedding, softmax and the gated activation.

/// Root-mean-square normalisation of one row: `x / sqrt(mean(x²) + epsilon) * weight`.
pub fn rms_norm(row: &[f32], weight: &[f32], epsilon: f32) -> Vec<f32> {
    let mean = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / row.len().max(1) as f64;
    let scale = 1.0 / (mean + f64::from(epsilon)).sqrt();
    row.iter().zip(weight).map(|(&x, &w)| (f64::from(x) * scale) as f32 * w).collect()
}

/// Rotary embedding of one head at `position`, pairs interleaved (`x[2i]`, `x[2i + 1]`), as GGUF files of
/// Llama models are stored (llama.cpp's `LLAMA_ROPE_TYPE_NORM`). `frequencies[i]` is in radians per position;
/// elements past the pairs are left alone.
pub fn rotate(head: &mut [f32], position: usize, frequencies: &[f64]) {
    for (pair, &frequency) in head.chunks_exact_mut(2).zip(frequencies) {
        let (sin, cos) = (position as f64 * frequency).sin_cos();
        let (a, b) = (f64::from(pair[0]), f64::from(pair[1]));
        pair[0] = (a * cos - b * sin) as f32;
        pair[1] = (a * sin + b * cos) as f32;
    }
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
    gate.iter()
        .zip(up)
        .map(|(&g, &u)| (f64::from(g) / (1.0 + (-f64::from(g)).exp()) * f64::from(u)) as f32)
        .collect()
}
