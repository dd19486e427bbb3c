//! Signatures that only their issuer can make: what comes back altered, or from another provider, is known.

use std::hash::{DefaultHasher, Hash, Hasher};

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Padding may be missing: clients that hold bytes encode them anew.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Blocks of eight bytes in a signature; what a real one has of entropy, in small.
const BLOCKS: u64 = 5;

/// Who signs, and for which kind of thing.
#[derive(Clone, Copy, Debug)]
pub(in crate::simulator) struct Seal(pub(in crate::simulator) &'static str);

impl Seal {
    /// Signs `text`. Two signatures with different numbers are different.
    pub(in crate::simulator) fn sign(self, number: u64, text: &str) -> String {
        let mut bytes = number.to_le_bytes().to_vec();
        for block in 0..BLOCKS {
            let mut hasher = DefaultHasher::new();
            (self.0, number, text, block).hash(&mut hasher);
            bytes.extend(hasher.finish().to_le_bytes());
        }
        BASE64.encode(bytes)
    }

    /// Whether `signature`, in either alphabet of base64, is this seal's of `text`.
    pub(in crate::simulator) fn holds(self, signature: &str, text: &str) -> bool {
        let Ok(bytes) = BASE64.decode(signature.replace('-', "+").replace('_', "/")) else { return false };
        let Some(number) = bytes.first_chunk::<8>() else { return false };
        BASE64.decode(self.sign(u64::from_le_bytes(*number), text)).is_ok_and(|own| own == bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_altered_or_is_anothers_does_not_hold() {
        let signature = Seal("a").sign(3, "text");
        assert!(Seal("a").holds(&signature, "text"));
        assert!(Seal("a").holds(&signature.replace('+', "-").replace('/', "_"), "text"));
        assert!(!Seal("a").holds(&signature, "other text"));
        assert!(!Seal("b").holds(&signature, "text"));
        assert!(!Seal("a").holds(&signature.replacen(char::is_alphabetic, "0", 1), "text"));
        assert!(!Seal("a").holds("", "text"));
        assert_ne!(signature, Seal("a").sign(4, "text"));
    }
}
