//! The Responses answer. Events of a stream hold it too, at its start and at its end.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::Extra;

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResponseObject {
    /// Unique name of the answer.
    pub id: String,
    /// Always `response`.
    #[serde(default)]
    pub object: String,
    /// When it was made, in seconds since 1970.
    #[serde(default)]
    pub created_at: Option<serde_json::Number>,
    /// `completed`, `incomplete`, `failed`, `in_progress`, `cancelled` or `queued`.
    #[serde(default)]
    pub status: Option<String>,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<Value>,
    /// Why it is incomplete.
    #[serde(default)]
    pub incomplete_details: Option<IncompleteDetails>,
    /// The model that answered.
    #[serde(default)]
    pub model: String,
    /// What it said: items.
    #[serde(default)]
    pub output: Vec<Value>,
    /// What it used; null until it is whole.
    #[serde(default)]
    pub usage: Option<ResponsesUsage>,
    /// Fields not known here, and those that repeat the request.
    #[serde(flatten)]
    pub extra: Extra,
}

impl ResponseObject {
    /// The value of `object`.
    pub const OBJECT: &'static str = "response";
}

/// Why an answer is incomplete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncompleteDetails {
    /// `max_output_tokens` or `content_filter`.
    pub reason: String,
}

/// What an answer used, in tokens. Input includes what was cached, output what was reasoned.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResponsesUsage {
    /// Tokens read.
    pub input_tokens: u64,
    /// How they split.
    #[serde(default)]
    pub input_tokens_details: InputDetails,
    /// Tokens written.
    #[serde(default)]
    pub output_tokens: u64,
    /// How they split.
    #[serde(default)]
    pub output_tokens_details: OutputDetails,
    /// The sum of the two.
    #[serde(default)]
    pub total_tokens: u64,
}

/// How the tokens read split.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InputDetails {
    /// From a cache.
    #[serde(default)]
    pub cached_tokens: u64,
    /// Into a cache.
    #[serde(default)]
    pub cache_write_tokens: u64,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How the tokens written split.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OutputDetails {
    /// Spent on reasoning.
    #[serde(default)]
    pub reasoning_tokens: u64,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
