//! Seeded numbers in every stored type.

use half::{bf16, f16};

use super::TensorType;

/// SplitMix64: small, and the same on every machine and in every version.
#[derive(Clone, Copy, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from `low` on, below `high`.
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * ((self.draw() >> 40) as f32 / (1u64 << 24) as f32)
    }

    fn byte(&mut self) -> u8 {
        (self.draw() >> 56) as u8
    }

    /// Appends `count` bytes, eight a step.
    fn bytes(&mut self, count: usize, out: &mut Vec<u8>) {
        let end = out.len() + count;
        while out.len() < end {
            let bytes = self.draw().to_le_bytes();
            out.extend_from_slice(&bytes[..(end - out.len()).min(8)]);
        }
    }
}

/// Stored bytes of a `[rows, columns]` matrix with values spread over ± sqrt(3 / columns), so that products
/// keep the variance of their input.
pub fn random_matrix(kind: TensorType, columns: usize, rows: usize, seed: u64) -> Vec<u8> {
    let blocks = columns / kind.block_elements() * rows;
    let mut out = Vec::with_capacity(blocks * kind.block_bytes());
    let (reach, mut random) = ((3.0 * (1.0 / columns.max(1) as f32)).sqrt(), Random(seed));
    (0..blocks).for_each(|_| random_block(kind, reach, &mut random, &mut out));
    out
}

/// Appends one number in a float type: of the others, f32.
pub fn float(kind: TensorType, value: f32, out: &mut Vec<u8>) {
    match kind {
        TensorType::F16 => out.extend(f16::from_f32(value).to_le_bytes()),
        TensorType::BF16 => out.extend(bf16::from_f32(value).to_le_bytes()),
        _ => out.extend(value.to_le_bytes()),
    }
}

/// Appends one block of values spread over ± `reach`.
pub fn random_block(kind: TensorType, reach: f32, random: &mut Random, out: &mut Vec<u8>) {
    let is_float = kind.block_elements() == 1;
    let size = if is_float { 0.0 } else { random.between(0.5, 1.0) * reach };
    // Values that do not centre on 0 need scales of both signs, as quantisers choose them: else all rows of a matrix
    // would share a direction, and all logits follow it.
    let signed = if is_float || random.byte() < 128 { size } else { -size };
    let half = |out: &mut Vec<u8>, value: f32| out.extend(f16::from_f32(value).to_le_bytes());
    match kind {
        TensorType::F32 | TensorType::F16 | TensorType::BF16 => {
            float(kind, random.between(-reach, reach), out)
        }
        TensorType::Q4_0 => {
            half(out, signed / 8.0);
            random.bytes(16, out);
        }
        TensorType::Q4_1 => {
            half(out, size / 7.5);
            half(out, -size);
            random.bytes(16, out);
        }
        TensorType::Q5_0 => {
            half(out, signed / 16.0);
            random.bytes(20, out);
        }
        TensorType::Q5_1 => {
            half(out, size / 15.5);
            half(out, -size);
            random.bytes(20, out);
        }
        TensorType::IQ4NL => {
            half(out, signed / 127.0);
            random.bytes(16, out);
        }
        TensorType::MXFP4 => {
            // 2^(e - 128) times values up to 12.
            let exponent = (size / 12.0).log2().round() + 128.0;
            out.push(exponent as u8);
            random.bytes(16, out);
        }
        TensorType::Q2K => {
            // A scale and a minimum of the same bits, whose values' middle is 1.5 of the scale.
            out.extend((0..16).map(|_| (random.byte() & 0x0F) * 0x11));
            random.bytes(64, out);
            half(out, size / 15.0);
            half(out, 1.5 * size / 15.0);
        }
        TensorType::Q3K => {
            random.bytes(108, out);
            half(out, signed / 4.0 / 31.0);
        }
        TensorType::IQ4XS => {
            half(out, size / 127.0 / 31.0);
            random.bytes(134, out);
        }
        TensorType::Q8_0 => {
            half(out, size / 127.0);
            // -128 is never written by a quantiser.
            let start = out.len();
            random.bytes(32, out);
            out[start..].iter_mut().for_each(|byte| *byte = (*byte).max(1) ^ 0x80);
        }
        TensorType::Q4K | TensorType::Q5K => {
            let levels = if kind == TensorType::Q4K { 15.0 } else { 31.0 };
            half(out, 2.0 * size / levels / 63.0);
            half(out, size / 63.0);
            // The same bits for a scale and its minimum centre the values: bytes j, j + 4 and both nibbles.
            let scales: [u8; 4] = std::array::from_fn(|_| random.byte());
            out.extend(scales);
            out.extend(scales);
            out.extend((0..4).map(|_| (random.byte() & 0x0F) * 0x11));
            let rest = if kind == TensorType::Q4K { 128 } else { 160 };
            random.bytes(rest, out);
        }
        TensorType::Q6K => {
            random.bytes(192, out);
            random.bytes(16, out);
            half(out, size / 32.0 / 127.0);
        }
    }
}
