//! Seeded numbers of a model's tensors.

use super::tensors::Values;
use crate::gguf::StoredType;
use crate::kernels::e4m3::{E4M3_LARGEST, f32_to_e4m3};
use crate::kernels::random::{Random, float, random_block};

/// Appends `blocks` blocks of a tensor with rows of `columns`.
pub(super) fn fill(
    kind: StoredType,
    columns: usize,
    values: Values,
    blocks: usize,
    seed: u64,
    out: &mut Vec<u8>,
) {
    let mut random = Random(seed);
    match values {
        Values::Matrix | Values::Stream => {
            let reach = values.reach(columns);
            match kind {
                StoredType::Ggml(kind) => {
                    (0..blocks).for_each(|_| random_block(kind, reach, &mut random, out));
                }
                // Their scales make them as large as the others.
                StoredType::E4M3 => {
                    let number = |random: &mut Random| random.between(-E4M3_LARGEST, E4M3_LARGEST);
                    out.extend((0..blocks).map(|_| f32_to_e4m3(number(&mut random))));
                }
            }
        }
        // Vectors are kept as floats, whatever matrices are.
        Values::Between(low, high) => {
            (0..blocks).for_each(|_| float(kind.kept(), random.between(low, high), out));
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
