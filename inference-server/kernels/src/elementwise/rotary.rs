//! Rotary position embedding (arXiv 2104.09864): the tables of a step, and the turning of one head.

use super::super::simd::Simd;

/// Which elements of a head make a pair that is turned together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PairLayout {
    /// `x[2i]` and `x[2i + 1]`: Llama models in GGUF (llama.cpp's `LLAMA_ROPE_TYPE_NORM`).
    #[default]
    Interleaved,
    /// `x[i]` and `x[i + pairs]`: safetensors, and all other families in GGUF (`LLAMA_ROPE_TYPE_NEOX`).
    Halves,
}

/// Cosines and sines of a step's positions, laid out as heads are.
#[derive(Debug, Default)]
pub struct RotaryTable {
    pub(super) layout: PairLayout,
    width: usize,
    /// `[rows, width]`. Interleaved: cos, cos for each pair; halves: cos.
    cosines: Vec<f32>,
    /// `[rows, width]`. Interleaved: -sin, sin for each pair; halves: sin.
    sines: Vec<f32>,
}

impl RotaryTable {
    /// Fills the table for `positions`. `frequencies` are radians per position of each pair; both functions are
    /// multiplied with `magnitude` (1 but for YaRN and LongRoPE).
    pub fn fill(
        &mut self,
        layout: PairLayout,
        positions: impl Iterator<Item = usize>,
        frequencies: &[f64],
        magnitude: f64,
    ) {
        self.layout = layout;
        self.width = match layout {
            PairLayout::Interleaved => frequencies.len() * 2,
            PairLayout::Halves => frequencies.len(),
        };
        self.cosines.clear();
        self.sines.clear();
        for position in positions {
            for frequency in frequencies {
                let (sin, cos) = (position as f64 * frequency).sin_cos();
                let (sin, cos) = ((sin * magnitude) as f32, (cos * magnitude) as f32);
                match layout {
                    PairLayout::Interleaved => {
                        self.cosines.extend([cos; 2]);
                        self.sines.extend([-sin, sin]);
                    }
                    PairLayout::Halves => {
                        self.cosines.push(cos);
                        self.sines.push(sin);
                    }
                }
            }
        }
    }

    /// The row's two tables.
    pub(super) fn row(&self, row: usize) -> (&[f32], &[f32]) {
        let range = row * self.width..(row + 1) * self.width;
        (&self.cosines[range.clone()], &self.sines[range])
    }
}

/// Turns the interleaved pairs of `head` and multiplies all of it with `scale`.
///
/// # Safety
/// The CPU has `S`.
#[inline(always)]
pub(super) unsafe fn rotate_pairs<S: Simd>(head: &mut [f32], cosines: &[f32], sines: &[f32], scale: f32) {
    let turned = cosines.len().min(sines.len()).min(head.len());
    let whole = turned / S::LANES * S::LANES;
    for at in (0..whole).step_by(S::LANES) {
        // SAFETY: the CPU has `S`, and the vector lies inside the three slices.
        unsafe {
            let x = S::load(head.as_ptr().add(at));
            let turned = S::mul(S::swap_pairs(x), S::load(sines.as_ptr().add(at)));
            let turned = S::mul_add(x, S::load(cosines.as_ptr().add(at)), turned);
            S::store(head.as_mut_ptr().add(at), S::mul(turned, S::splat(scale)));
        }
    }
    for at in (whole..turned / 2 * 2).step_by(2) {
        let (a, b) = (head[at], head[at + 1]);
        head[at] = (a * cosines[at] + b * sines[at]) * scale;
        head[at + 1] = (b * cosines[at + 1] + a * sines[at + 1]) * scale;
    }
    head[turned..].iter_mut().for_each(|x| *x *= scale);
}

/// Turns the first half of `head` against the second, as far as the tables go, and multiplies all of it with
/// `scale`.
///
/// # Safety
/// The CPU has `S`.
#[inline(always)]
pub(super) unsafe fn rotate_halves<S: Simd>(head: &mut [f32], cosines: &[f32], sines: &[f32], scale: f32) {
    let pairs = cosines.len().min(sines.len()).min(head.len() / 2);
    let (turned, rest) = head.split_at_mut(2 * pairs);
    let (first, second) = turned.split_at_mut(pairs);
    let whole = pairs / S::LANES * S::LANES;
    for at in (0..whole).step_by(S::LANES) {
        // SAFETY: the CPU has `S`, and the vector lies inside the four slices.
        unsafe {
            let (a, b) = (S::load(first.as_ptr().add(at)), S::load(second.as_ptr().add(at)));
            let (cos, sin) = (S::load(cosines.as_ptr().add(at)), S::load(sines.as_ptr().add(at)));
            let left = S::sub(S::mul(a, cos), S::mul(b, sin));
            let right = S::mul_add(b, cos, S::mul(a, sin));
            S::store(first.as_mut_ptr().add(at), S::mul(left, S::splat(scale)));
            S::store(second.as_mut_ptr().add(at), S::mul(right, S::splat(scale)));
        }
    }
    for at in whole..pairs {
        let (a, b) = (first[at], second[at]);
        first[at] = (a * cosines[at] - b * sines[at]) * scale;
        second[at] = (b * cosines[at] + a * sines[at]) * scale;
    }
    rest.iter_mut().for_each(|x| *x *= scale);
}
