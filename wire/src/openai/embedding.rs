//! `POST /v1/embeddings`: texts in, one vector each out.

use serde::{Deserialize, Serialize};

use super::completion::Prompt;
use super::{Extra, field};

/// An embeddings request. Destructure it without `..`, as the chat request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EmbeddingRequest {
    /// The model's public name.
    pub model: String,
    /// A text, several, or their token ids.
    pub input: Prompt,
    /// How vectors are written; numbers when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding_format: Option<EncodingFormat>,
    /// Elements of a vector. At least 1.
    #[serde(default, deserialize_with = "field::positive", skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<u32>,
    /// Beyond OpenAI's: cut what is longer than the context, where it would be refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncate: Option<bool>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How a vector is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EncodingFormat {
    /// As a list of numbers.
    #[default]
    Float,
    /// As base64 of little-endian 32-bit floats.
    Base64,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EmbeddingList {
    /// Always `list`.
    pub object: String,
    /// A vector for each text, in order.
    pub data: Vec<Embedding>,
    /// The model that answered.
    pub model: String,
    /// What it used.
    pub usage: InputUsage,
}

impl EmbeddingList {
    /// The value of `object`.
    pub const OBJECT: &'static str = "list";
}

/// One vector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Embedding {
    /// Always `embedding`.
    pub object: String,
    /// Which text, from 0.
    pub index: u32,
    /// The vector.
    pub embedding: Vector,
}

impl Embedding {
    /// The value of `object`.
    pub const OBJECT: &'static str = "embedding";
}

/// A vector as it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Vector {
    /// Numbers.
    Floats(Vec<f32>),
    /// Base64 of little-endian 32-bit floats.
    Base64(String),
}

/// What a request that writes no token used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputUsage {
    /// Tokens read.
    pub prompt_tokens: u64,
    /// The same.
    pub total_tokens: u64,
}

impl InputUsage {
    /// Usage of `tokens` tokens read.
    pub fn new(tokens: u64) -> Self {
        Self { prompt_tokens: tokens, total_tokens: tokens }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    #[test]
    fn a_bad_field_is_named() {
        for (fields, param, words) in [
            (r#""input":[]"#, "input", "must not be an empty list"),
            (r#""input":["a",1]"#, "input", "must not mix strings and token ids"),
            (r#""input":["a",null]"#, "input[1]", "expected a string"),
            (r#""input":"a","encoding_format":"int8""#, "encoding_format", "expected `float` or `base64`"),
            (r#""input":"a","dimensions":0"#, "dimensions", "from 1"),
            (r#""input":"a","truncate":"END""#, "truncate", "expected a boolean"),
            (r#""texts":"a""#, "input", "missing"),
        ] {
            let body = format!(r#"{{"model":"m",{fields}}}"#);
            let error = parse::<EmbeddingRequest>(body.as_bytes()).expect_err(fields).body.error;
            assert_eq!(error.param.as_deref(), Some(param), "{}", error.message);
            assert!(error.message.contains(words), "{}", error.message);
        }
    }

    #[test]
    fn a_vector_is_numbers_or_text() {
        let floats = serde_json::to_string(&Vector::Floats(vec![0.1, -2.0])).expect("encodes");
        assert_eq!(floats, "[0.1,-2.0]", "the digits of a 32-bit float");
        let text: Vector = serde_json::from_str(r#""AACAPw==""#).expect("decodes");
        assert_eq!(text, Vector::Base64("AACAPw==".to_owned()));
    }
}
