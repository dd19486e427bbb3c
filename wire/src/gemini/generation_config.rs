//! How an answer is made: the types.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::proto_json::integer;
use crate::canonical::Extra;

/// `generationConfig`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GenerationConfig {
    /// How many answers.
    #[serde(
        alias = "candidate_count",
        deserialize_with = "integer",
        skip_serializing_if = "Option::is_none"
    )]
    pub candidate_count: Option<u32>,
    /// Strings that end the answer.
    #[serde(alias = "stop_sequences", skip_serializing_if = "Option::is_none")]
    pub stop_sequences: Option<Vec<String>>,
    /// Most tokens to write.
    #[serde(
        alias = "max_output_tokens",
        deserialize_with = "integer",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_output_tokens: Option<u32>,
    /// Sampling temperature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Nucleus sampling.
    #[serde(alias = "top_p", skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// Sampling from the k likeliest; Google's own client writes it as a float.
    #[serde(alias = "top_k", deserialize_with = "integer", skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Repeatable sampling.
    #[serde(deserialize_with = "integer", skip_serializing_if = "Option::is_none")]
    pub seed: Option<i32>,
    /// Presence penalty.
    #[serde(alias = "presence_penalty", skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f32>,
    /// Frequency penalty.
    #[serde(alias = "frequency_penalty", skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f32>,
    /// Report log probabilities.
    #[serde(alias = "response_logprobs", skip_serializing_if = "Option::is_none")]
    pub response_logprobs: Option<bool>,
    /// How many alternatives for each token.
    #[serde(deserialize_with = "integer", skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<u32>,
    /// `text/plain`, `application/json`, or `text/x.enum`.
    #[serde(alias = "response_mime_type", skip_serializing_if = "Option::is_none")]
    pub response_mime_type: Option<String>,
    /// The answer's schema, in the subset of OpenAPI's.
    #[serde(alias = "response_schema", skip_serializing_if = "Option::is_none")]
    pub response_schema: Option<Value>,
    /// The answer's schema, as JSON Schema.
    #[serde(
        alias = "response_json_schema",
        alias = "_responseJsonSchema",
        skip_serializing_if = "Option::is_none"
    )]
    pub response_json_schema: Option<Value>,
    /// Thinking.
    #[serde(alias = "thinking_config", skip_serializing_if = "Option::is_none")]
    pub thinking_config: Option<ThinkingConfig>,
    /// Fields not known here, such as `speechConfig`.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `thinkingConfig`. A request has a budget or a level.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ThinkingConfig {
    /// Whether the answer shows it.
    #[serde(alias = "include_thoughts", skip_serializing_if = "Option::is_none")]
    pub include_thoughts: Option<bool>,
    /// Tokens; 0 is off, -1 lets the model decide.
    #[serde(
        alias = "thinking_budget",
        deserialize_with = "integer",
        skip_serializing_if = "Option::is_none"
    )]
    pub thinking_budget: Option<i64>,
    /// `MINIMAL` to `XHIGH`.
    #[serde(alias = "thinking_level", skip_serializing_if = "Option::is_none")]
    pub thinking_level: Option<String>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
