//! Seeded numbers of a model's tensors.

use super::tensors::Values;
use crate::gguf::TensorType;
use crate::kernels::random::{Random, float, random_block};

/// Appends `blocks` blocks of a tensor with rows of `columns`.
pub(super) fn fill(
    kind: TensorType,
    columns: usize,
    values: Values,
    blocks: usize,
    seed: u64,
    out: &mut Vec<u8>,
) {
    let mut random = Random(seed);
    match values {
        Values::Matrix | Values::Stream => {
            let variance = if values == Values::Matrix { 1.0 / columns.max(1) as f32 } else { 1.0 };
            let reach = (3.0 * variance).sqrt();
            (0..blocks).for_each(|_| random_block(kind, reach, &mut random, out));
        }
        // Vectors are kept as floats, whatever matrices are.
        Values::Between(low, high) => {
            (0..blocks).for_each(|_| float(kind, random.between(low, high), out));
        }
    }
}

/// The seed of a part of a model: of `name`'s `piece`, whatever else the model has.
pub(super) fn seed_of(seed: u64, name: &str, piece: u64) -> u64 {
    // FNV-1a, then one round of the generator to spread it.
    let hash = name.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    let mut random = Random(seed ^ hash);
    random.draw() ^ Random(piece).draw()
}
