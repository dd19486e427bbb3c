//! SHA-256 digests as names: only what [`Digest`] accepts may become part of a path.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A SHA-256 digest: 64 characters of `0-9a-f`, nothing else, so that it is safe as a file name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// Text that is no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no digest: write sha256: and 64 characters of 0-9a-f")]
pub struct InvalidDigest(String);

impl Digest {
    /// The 64 characters, without a prefix.
    pub fn hex(&self) -> &str {
        &self.0
    }

    pub(super) fn of_hash(hash: &[u8]) -> Self {
        use fmt::Write as _;
        let mut hex = String::with_capacity(64);
        for byte in hash {
            // Writing to a String can't fail.
            let _ = write!(hex, "{byte:02x}");
        }
        Self(hex)
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(given: &str) -> Result<Self, InvalidDigest> {
        let hex = given.strip_prefix("sha256:").unwrap_or(given);
        let plain = hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if plain { Ok(Self(hex.to_owned())) } else { Err(InvalidDigest(given.to_owned())) }
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;

    fn try_from(given: String) -> Result<Self, InvalidDigest> {
        given.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ollama CVE-2024-37032: a digest that was none became a path. Guard: `Digest::from_str`.
    #[test]
    fn cve_2024_37032_only_lower_hex_of_the_right_length_is_a_digest() {
        let good = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
        assert_eq!(good.parse::<Digest>().unwrap().hex(), good);
        assert_eq!(format!("sha256:{good}").parse::<Digest>().unwrap().to_string(), format!("sha256:{good}"));
        let traversal = format!("../../{}", &good[6..]);
        let upper = good.to_uppercase();
        for bad in ["", "sha256:", &good[1..], &format!("{good}0"), &traversal, &upper, "sha512:00"] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
        assert!(serde_json::from_str::<Digest>("\"../../etc/passwd\"").is_err());
    }
}
