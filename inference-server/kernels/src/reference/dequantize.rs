//! From stored blocks to floats, bit for bit as ggml's `dequantize_row_*` (`ggml-quants.c`).

use half::{bf16, f16};

use crate::TensorType;

/// Dequantises whole blocks of `kind` in `bytes` into `out`. Stops at the shorter of the two.
pub fn dequantize(kind: TensorType, bytes: &[u8], out: &mut [f32]) {
    let blocks = bytes.chunks_exact(kind.block_bytes()).zip(out.chunks_exact_mut(kind.block_elements()));
    for (block, out) in blocks {
        match kind {
            TensorType::F32 => out[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]),
            TensorType::F16 => out[0] = half_at(block, 0),
            TensorType::BF16 => out[0] = bf16::from_le_bytes([block[0], block[1]]).to_f32(),
            TensorType::Q4_0 => q4_0(block, out),
            TensorType::Q4_1 => q4_1(block, out),
            TensorType::Q5_0 => q5_0(block, out),
            TensorType::Q5_1 => q5_1(block, out),
            TensorType::Q8_0 => q8_0(block, out),
            TensorType::Q2K => q2_k(block, out),
            TensorType::Q3K => q3_k(block, out),
            TensorType::Q4K => q4_k(block, out),
            TensorType::Q5K => q5_k(block, out),
            TensorType::Q6K => q6_k(block, out),
            TensorType::IQ4NL => iq4_nl(block, out),
            TensorType::IQ4XS => iq4_xs(block, out),
            TensorType::MXFP4 => mxfp4(block, out),
        }
    }
}

fn half_at(block: &[u8], offset: usize) -> f32 {
    f16::from_le_bytes([block[offset], block[offset + 1]]).to_f32()
}

fn q4_0(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 0);
    for (i, &q) in block[2..18].iter().enumerate() {
        out[i] = (i32::from(q & 0x0F) - 8) as f32 * d;
        out[i + 16] = (i32::from(q >> 4) - 8) as f32 * d;
    }
}

fn q4_1(block: &[u8], out: &mut [f32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    for (i, &q) in block[4..20].iter().enumerate() {
        out[i] = f32::from(q & 0x0F) * d + m;
        out[i + 16] = f32::from(q >> 4) * d + m;
    }
}

/// Fifth bit of weight `i`, in place.
fn fifth_bit(block: &[u8], offset: usize, i: usize) -> u8 {
    (block[offset + i / 8] >> (i % 8) & 1) << 4
}

fn q5_0(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 0);
    for (i, &q) in block[6..22].iter().enumerate() {
        let (low, high) = (q & 0x0F | fifth_bit(block, 2, i), q >> 4 | fifth_bit(block, 2, i + 16));
        out[i] = (i32::from(low) - 16) as f32 * d;
        out[i + 16] = (i32::from(high) - 16) as f32 * d;
    }
}

fn q5_1(block: &[u8], out: &mut [f32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    for (i, &q) in block[8..24].iter().enumerate() {
        let (low, high) = (q & 0x0F | fifth_bit(block, 4, i), q >> 4 | fifth_bit(block, 4, i + 16));
        out[i] = f32::from(low) * d + m;
        out[i + 16] = f32::from(high) * d + m;
    }
}

fn q8_0(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 0);
    for (out, &q) in out.iter_mut().zip(&block[2..34]) {
        *out = f32::from(q as i8) * d;
    }
}

/// Six-bit scale and minimum of sub-block `j` (ggml's `get_scale_min_k4`).
fn scale_min(scales: &[u8], j: usize) -> (u8, u8) {
    if j < 4 {
        (scales[j] & 63, scales[j + 4] & 63)
    } else {
        let scale = (scales[j + 4] & 0x0F) | ((scales[j - 4] >> 6) << 4);
        let min = (scales[j + 4] >> 4) | ((scales[j] >> 6) << 4);
        (scale, min)
    }
}

fn q4_k(block: &[u8], out: &mut [f32]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    let (scales, qs) = (&block[4..16], &block[16..144]);
    for pair in 0..4 {
        for high in 0..2 {
            let (scale, min) = scale_min(scales, 2 * pair + high);
            let (d, m) = (d * f32::from(scale), dmin * f32::from(min));
            for l in 0..32 {
                let q = (qs[32 * pair + l] >> (4 * high)) & 0x0F;
                out[64 * pair + 32 * high + l] = d * f32::from(q) - m;
            }
        }
    }
}

fn q5_k(block: &[u8], out: &mut [f32]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    let (scales, qh, qs) = (&block[4..16], &block[16..48], &block[48..176]);
    for pair in 0..4 {
        for high in 0..2 {
            let sub = 2 * pair + high;
            let (scale, min) = scale_min(scales, sub);
            let (d, m) = (d * f32::from(scale), dmin * f32::from(min));
            for l in 0..32 {
                let q = ((qs[32 * pair + l] >> (4 * high)) & 0x0F) + (((qh[l] >> sub) & 1) << 4);
                out[32 * sub + l] = d * f32::from(q) - m;
            }
        }
    }
}

fn q6_k(block: &[u8], out: &mut [f32]) {
    let (ql, qh, scales, d) = (&block[0..128], &block[128..192], &block[192..208], half_at(block, 208));
    for half in 0..2 {
        for quarter in 0..4 {
            for l in 0..32 {
                let low = ql[64 * half + 32 * (quarter % 2) + l] >> (4 * (quarter / 2));
                let high = qh[32 * half + l] >> (2 * quarter);
                let q = i32::from((low & 0x0F) | ((high & 3) << 4)) - 32;
                let scale = f32::from(scales[8 * half + 2 * quarter + l / 16] as i8);
                out[128 * half + 32 * quarter + l] = d * scale * q as f32;
            }
        }
    }
}

fn q2_k(block: &[u8], out: &mut [f32]) {
    let (scales, qs) = (&block[..16], &block[16..80]);
    let (d, dmin) = (half_at(block, 80), half_at(block, 82));
    for (sub, out) in out.chunks_exact_mut(16).enumerate() {
        let (dl, ml) = (d * f32::from(scales[sub] & 0x0F), dmin * f32::from(scales[sub] >> 4));
        for (l, out) in out.iter_mut().enumerate() {
            let (byte, shift) = two_bits(sub, l);
            *out = dl * f32::from(qs[byte] >> shift & 3) - ml;
        }
    }
}

/// Where the low two bits of weight `l` of sub-block `sub` lie among the quants of `Q2_K` and `Q3_K`.
pub(crate) fn two_bits(sub: usize, l: usize) -> (usize, usize) {
    (32 * (sub / 8) + 16 * (sub % 2) + l, 2 * (sub % 8 / 2))
}

/// The sixteen scales of a `Q3_K` block, of six bits each.
pub(crate) fn q3_k_scales(packed: &[u8]) -> [i8; 16] {
    std::array::from_fn(|sub| {
        let low = packed[sub % 8] >> (4 * (sub / 8)) & 0x0F;
        let high = packed[8 + sub % 4] >> (2 * (sub / 4)) & 3;
        (low | high << 4) as i8 - 32
    })
}

fn q3_k(block: &[u8], out: &mut [f32]) {
    let (mask, qs, d) = (&block[..32], &block[32..96], half_at(block, 108));
    let scales = q3_k_scales(&block[96..108]);
    for (sub, out) in out.chunks_exact_mut(16).enumerate() {
        let dl = d * f32::from(scales[sub]);
        for (l, out) in out.iter_mut().enumerate() {
            let (byte, shift) = two_bits(sub, l);
            let high = mask[16 * (sub % 2) + l] >> (sub / 2) & 1;
            let q = i32::from(qs[byte] >> shift & 3) - if high == 1 { 0 } else { 4 };
            *out = dl * q as f32;
        }
    }
}

/// `IQ4_NL`'s and `IQ4_XS`'s values (`kvalues_iq4nl`).
pub(crate) const IQ4_VALUES: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Twice the values of a 4-bit float (`kvalues_mxfp4`).
pub(crate) const MXFP4_VALUES: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Values of 16 bytes' low, then high nibbles, times `scale`.
fn looked_up(values: &[i8; 16], scale: f32, quants: &[u8], out: &mut [f32]) {
    for (i, &q) in quants.iter().enumerate() {
        out[i] = scale * f32::from(values[usize::from(q & 0x0F)]);
        out[i + 16] = scale * f32::from(values[usize::from(q >> 4)]);
    }
}

fn iq4_nl(block: &[u8], out: &mut [f32]) {
    looked_up(&IQ4_VALUES, half_at(block, 0), &block[2..18], out);
}

/// The eight scales of an `IQ4_XS` block, of six bits each.
pub(crate) fn iq4_xs_scales(block: &[u8]) -> [i8; 8] {
    let high = u16::from_le_bytes([block[2], block[3]]);
    std::array::from_fn(|sub| {
        let low = block[4 + sub / 2] >> (4 * (sub % 2)) & 0x0F;
        (low | ((high >> (2 * sub) & 3) as u8) << 4) as i8 - 32
    })
}

fn iq4_xs(block: &[u8], out: &mut [f32]) {
    let (d, scales) = (half_at(block, 0), iq4_xs_scales(block));
    let subs = block[8..136].chunks_exact(16).zip(out.chunks_exact_mut(32));
    for ((quants, out), scale) in subs.zip(scales) {
        looked_up(&IQ4_VALUES, d * f32::from(scale), quants, out);
    }
}

/// Half of `2^(exponent - 127)` (`ggml_e8m0_to_fp32_half`).
pub(crate) fn half_power(exponent: u8) -> f32 {
    let bits = if exponent < 2 { 0x0020_0000 << exponent } else { (u32::from(exponent) - 1) << 23 };
    f32::from_bits(bits)
}

fn mxfp4(block: &[u8], out: &mut [f32]) {
    looked_up(&MXFP4_VALUES, half_power(block[0]), &block[1..17], out);
}
