//! What an engine keeps numbers as, where a field or a flag says it.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What keys and values are kept as. About half the memory of `f16` take `q8_0`, on CPUs, which needs heads of a multiple of
/// 32 elements, and `fp8`, on GPUs. Default: `auto`, which is `f16`.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KvCacheType {
    /// The engine's own choice: f16.
    #[default]
    Auto,
    /// 32-bit floats: twice the memory of f16.
    F32,
    /// 16-bit floats.
    F16,
    /// int8 in groups of 32 with a scale: about half the memory of f16. For CPUs.
    #[serde(rename = "q8_0")]
    Q8_0,
    /// 8-bit floats (E4M3) without a scale: half the memory of f16. For GPUs.
    Fp8,
}

/// What the matrices of safetensors are quantised to while loading: Q4_K, about 4.5 bits a weight, or Q8_0, 8.5. Where a
/// row is no multiple of 256, Q8_0 stands in for Q4_K. Default: as they are stored. A GGUF source is refused.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Quantization {
    /// 32 weights: an f16 scale and int8 values.
    #[serde(rename = "Q8_0")]
    Q8_0,
    /// 256 weights: 4-bit values with 6-bit scales and minimums.
    #[serde(rename = "Q4_K")]
    Q4K,
}

/// A word that names none of the choices.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is none of {known}")]
pub struct UnknownWord {
    pub(crate) given: String,
    pub(crate) known: &'static str,
}

impl KvCacheType {
    /// The word that names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
            Self::Fp8 => "fp8",
        }
    }
}

impl fmt::Display for KvCacheType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KvCacheType {
    type Err = UnknownWord;

    fn from_str(given: &str) -> Result<Self, UnknownWord> {
        let all = [Self::Auto, Self::F32, Self::F16, Self::Q8_0, Self::Fp8];
        let found = all.into_iter().find(|known| known.as_str() == given);
        found.ok_or_else(|| UnknownWord { given: given.to_owned(), known: "auto, f32, f16, q8_0, fp8" })
    }
}

impl Quantization {
    /// The word that names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Q8_0 => "Q8_0",
            Self::Q4K => "Q4_K",
        }
    }
}

impl fmt::Display for Quantization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Quantization {
    type Err = UnknownWord;

    fn from_str(given: &str) -> Result<Self, UnknownWord> {
        let found = [Self::Q8_0, Self::Q4K].into_iter().find(|known| known.as_str() == given);
        found.ok_or_else(|| UnknownWord { given: given.to_owned(), known: "Q8_0, Q4_K" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flag_and_field_use_the_same_words() {
        let kinds = ["auto", "f32", "f16", "q8_0", "fp8"];
        for kind in kinds.map(|word| word.parse::<KvCacheType>().unwrap()) {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        for kind in [Quantization::Q8_0, Quantization::Q4K] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        let error = "Q5_K".parse::<Quantization>().unwrap_err().to_string();
        assert!(error.contains("\"Q5_K\"") && error.contains("Q8_0, Q4_K"), "{error}");
        let error = "fp4".parse::<KvCacheType>().unwrap_err().to_string();
        assert!(error.contains("\"fp4\"") && error.contains("auto, f32, f16, q8_0, fp8"), "{error}");
    }
}
