//! Ids where a provider gave none, without chance: the same seed mints the same ids in the same order.

/// The FNV-1a constants for 128 bits.
const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Digits of an id: 62^21 is just below 2^126, so nearly all of the hash is used, and `call_` and these stay
/// under the 40 characters that OpenAI allows.
const LENGTH: usize = 21;

/// Mints ids. The caller passes a seed that is unique to the answer, such as its own request id.
#[derive(Clone, Debug)]
pub struct Mint {
    seed: u128,
    minted: u64,
}

impl Mint {
    /// A mint for one answer.
    pub fn new(seed: &str) -> Self {
        Self { seed: hash(OFFSET, seed.as_bytes()), minted: 0 }
    }

    /// A new id of this kind: `prefix`, an underscore, and digits and letters.
    pub fn id(&mut self, prefix: &str) -> String {
        self.minted += 1;
        let mut rest = hash(self.seed, &self.minted.to_le_bytes());
        let mut id = format!("{prefix}_");
        for _ in 0..LENGTH {
            let digit = usize::try_from(rest % 62).unwrap_or_default();
            id.extend(DIGITS.get(digit).map(|byte| char::from(*byte)));
            rest /= 62;
        }
        id
    }

    /// A new id of a tool call.
    pub fn call_id(&mut self) -> String {
        self.id("call")
    }
}

fn hash(from: u128, bytes: &[u8]) -> u128 {
    bytes.iter().fold(from, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn one_seed_mints_the_same_ids_and_no_id_twice() {
        let ids = |seed: &str| {
            let mut mint = Mint::new(seed);
            (0..1000).map(|_| mint.call_id()).collect::<Vec<_>>()
        };
        assert_eq!(ids("a"), ids("a"));
        let all: BTreeSet<String> =
            ["", "a", "b", "aa", "req_1", "req_2"].iter().flat_map(|s| ids(s)).collect();
        assert_eq!(all.len(), 6000);
        assert!(all.iter().all(|id| id.len() == 26 && id.starts_with("call_")));
        assert!(all.iter().all(|id| id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')));
    }
}
