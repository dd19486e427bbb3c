//! A number of bytes, as people write it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// What a unit is, in bytes, the largest of a kind first.
const UNITS: [(&str, u64); 6] =
    [("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10), ("G", 1_000_000_000), ("M", 1_000_000), ("k", 1_000)];

/// Whole bytes, or as many thousands or powers of 1024: `64Mi`, `200k`, `0`. Each is a quantity as Kubernetes has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ByteSize(u64);

/// A text that is no number of bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no number of bytes: write 64Mi, 200k or 0")]
pub struct ByteSizeError(String);

impl ByteSize {
    /// As many bytes.
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number itself.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(given: &str) -> Result<Self, ByteSizeError> {
        let refused = || ByteSizeError(given.to_owned());
        let (number, each) = UNITS
            .into_iter()
            .find_map(|(unit, each)| Some((given.strip_suffix(unit)?, each)))
            .unwrap_or((given, 1));
        if number.is_empty() || number.len() > 9 || !number.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(refused());
        }
        let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(each));
        bytes.map(Self).ok_or_else(refused)
    }
}

impl TryFrom<String> for ByteSize {
    type Error = ByteSizeError;

    fn try_from(given: String) -> Result<Self, ByteSizeError> {
        given.parse()
    }
}

/// In the largest unit of which it is a whole number.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.into_iter().find(|(_, each)| self.0 > 0 && self.0.is_multiple_of(*each)) {
            Some((unit, each)) => write!(f, "{}{unit}", self.0 / each),
            None => write!(f, "{}", self.0),
        }
    }
}

impl From<ByteSize> for String {
    fn from(size: ByteSize) -> Self {
        size.to_string()
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": 11, "pattern": "^[0-9]{1,9}(Ki|Mi|Gi|k|M|G)?$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_its_unit_are_bytes() {
        for (text, bytes) in [
            ("0", 0),
            ("7", 7),
            ("64Mi", 64 << 20),
            ("2Gi", 2 << 30),
            ("1Ki", 1024),
            ("3k", 3000),
            ("5G", 5_000_000_000),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!((size, size.to_string().as_str()), (ByteSize::bytes(bytes), text));
            assert_eq!(serde_json::from_str::<ByteSize>(&format!("{text:?}")).unwrap(), size);
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_to_write() {
        for text in
            ["", "Mi", "-1", "1.5Gi", "1 Mi", "64MB", "64mi", "1e3", "ü", "1000000000", "9999999999Gi"]
        {
            let error = text.parse::<ByteSize>().unwrap_err().to_string();
            assert!(error.contains("write 64Mi, 200k or 0"), "{error}");
        }
    }
}
