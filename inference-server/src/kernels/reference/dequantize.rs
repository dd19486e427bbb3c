//! From stored blocks to floats, bit for bit as ggml's `dequantize_row_*` (`ggml-quants.c`).

use half::{bf16, f16};

use crate::gguf::TensorType;

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
            TensorType::Q8_0 => q8_0(block, out),
            TensorType::Q4K => q4_k(block, out),
            TensorType::Q5K => q5_k(block, out),
            TensorType::Q6K => q6_k(block, out),
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
