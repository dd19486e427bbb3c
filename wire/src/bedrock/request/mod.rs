//! `POST /model/…/converse` and `/converse-stream`: the request. The model, and whether the answer is a stream, stand in the path.

mod read;
mod write;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::content::{CachePoint, ContentBlock};
use super::output::OutputConfig;
use super::tool::ToolConfig;
use crate::canonical::Extra;

pub use read::to_canonical;
pub use write::from_canonical;

/// A request. `additionalModelRequestFields`, `guardrailConfig`, `performanceConfig`, `serviceTier` and whatever comes later are
/// in `extra`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConverseRequest {
    /// The conversation.
    pub messages: Vec<Message>,
    /// Instructions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub system: Vec<SystemBlock>,
    /// How tokens are drawn, and when to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inference_config: Option<InferenceConfig>,
    /// The tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_config: Option<ToolConfig>,
    /// The answer's form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_config: Option<OutputConfig>,
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub request_metadata: BTreeMap<String, String>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A message of the conversation, and of an answer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Message {
    /// `user`, `assistant`, or `system` in the midst of a conversation.
    pub role: String,
    /// What is said.
    #[serde(default)]
    pub content: Vec<ContentBlock>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A piece of the instructions; one of the fields is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SystemBlock {
    /// Text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Cache the prompt up to here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_point: Option<CachePoint>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How tokens are drawn, and when to end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct InferenceConfig {
    /// Most tokens to write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Nucleus sampling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// Strings that end the answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop_sequences: Vec<String>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
