//! What a key hashes to.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// How a digest is written, before its hexadecimal digits.
const PREFIX: &str = "sha256:";

/// The SHA-256 of a key. Keys are long and random, so that a fast hash without salt gives nothing away. Two are
/// compared in constant time and in no other way.
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of `key`.
    pub fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// As `sha256:` and 64 lower-case digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX).filter(|digits| digits.len() == 64)?.as_bytes();
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
            let value = |digit: u8| match digit {
                b'0'..=b'9' => Some(digit - b'0'),
                b'a'..=b'f' => Some(digit - b'a' + 10),
                _ => None,
            };
            *byte = value(pair[0])? << 4 | value(pair[1])?;
        }
        Some(Self(digest))
    }

    /// Where in a map to look for its like: enough bits that two keys never meet, and too few to be compared with.
    pub(super) fn bucket(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

impl ConstantTimeEq for Digest {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-2's own example.
    const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_digest_is_written_as_it_is_read() {
        assert_eq!(Digest::of(b"abc").to_string(), ABC);
        let read = Digest::parse(ABC).expect("a digest");
        assert!(bool::from(read.ct_eq(&Digest::of(b"abc"))));
        assert!(!bool::from(read.ct_eq(&Digest::of(b"abd"))));
        for bad in
            [&ABC[7..], &ABC[..70], &ABC.to_uppercase(), &ABC.replace('b', "B"), &ABC.replace('b', "g"), ""]
        {
            assert!(Digest::parse(bad).is_none(), "{bad}");
        }
    }
}
