//! Small damage to a file, the same for the same seed.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Numbers at which sizes wrap, signs turn and buffers end.
const INTERESTING: [u64; 14] = [
    0,
    1,
    0x7F,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFF,
    0x1_0000_0000,
    1 << 61,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

/// A source of damage.
pub(super) struct Mutator(ChaCha8Rng);

impl Mutator {
    pub(super) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number below `end`, which is positive.
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }

    /// `entry`, changed in one to four places; some changes come from `other` and from `dictionary`.
    pub(super) fn mutate(&mut self, entry: &[u8], other: &[u8], dictionary: &[&str]) -> Vec<u8> {
        let mut bytes = entry.to_vec();
        for _ in 0..=self.below(4) {
            self.change(&mut bytes, other, dictionary);
        }
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, other: &[u8], dictionary: &[&str]) {
        let at = self.below(bytes.len() + 1);
        match self.below(8) {
            0 => bytes.truncate(at),
            1 => {
                let end = (at + 1 + self.below(16)).min(bytes.len());
                bytes.drain(at..end);
            }
            2 if !dictionary.is_empty() => {
                let word = dictionary[self.below(dictionary.len())];
                bytes.splice(at..at, word.bytes());
            }
            3 => {
                let number = INTERESTING[self.below(INTERESTING.len())].to_le_bytes();
                let width = [1, 2, 4, 8][self.below(4)];
                overwrite(bytes, at, &number[..width]);
            }
            4 if !other.is_empty() => {
                let from = self.below(other.len());
                let part = &other[from..(from + 1 + self.below(64)).min(other.len())];
                bytes.splice(at..at, part.iter().copied());
            }
            5 => {
                let end = (at + 1 + self.below(64)).min(bytes.len());
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            6 => overwrite(bytes, at, &[self.0.random()]),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << self.0.random_range(0..8u8);
                }
            }
        }
    }
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    bytes[at..].iter_mut().zip(with).for_each(|(byte, new)| *byte = *new);
}

#[test]
fn the_same_seed_does_the_same_damage() {
    let damage = |seed| Mutator::new(seed).mutate(b"abcdefgh", b"12345678", &["word"]);
    assert_eq!(damage(7), damage(7));
    assert!((0..50).any(|seed| damage(seed) != damage(seed + 1)));
}
