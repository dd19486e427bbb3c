//! `POST /v1/messages`: the request.

mod open_turn;
mod read;
mod write;

#[cfg(test)]
mod read_tests;
#[cfg(test)]
mod write_tests;

use serde::{Deserialize, Serialize};

use super::block::{Block, Content, TextBlock};
pub use super::thinking::{FormatConfig, OutputConfig, ThinkingConfig};
pub use super::tool::{Tool, ToolChoice};
use crate::canonical::Extra;

pub(super) use read::conversation_to_canonical;
pub use read::to_canonical;
pub use write::from_canonical;
pub(super) use write::{Fields, write};

/// A request. `cache_control`, `container`, `inference_geo`, `service_tier`, `speed` and whatever comes later are
/// in `extra`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MessagesRequest {
    /// The model.
    pub model: String,
    /// The conversation.
    pub messages: Vec<Message>,
    /// Instructions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<Content<SystemBlock>>,
    /// Most tokens to write. Demanded, except where tokens are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Whom it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// Strings that end the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_sequences: Option<Vec<String>>,
    /// Answer as a stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// 0 to 1. Gone from API version `2026-10-21`, as the next two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Draw from the k likeliest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Nucleus sampling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// The tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<Tool>>,
    /// Which tool to call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
    /// Thinking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<ThinkingConfig>,
    /// Effort, and the answer's form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_config: Option<OutputConfig>,
    /// The older place of `output_config.format`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_format: Option<FormatConfig>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A message of the conversation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Message {
    /// `user`, `assistant`, or `system` in the midst of a conversation.
    pub role: String,
    /// What is said.
    pub content: Content<Block>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A text of the instructions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SystemBlock {
    /// `text`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The text.
    #[serde(flatten)]
    pub block: TextBlock,
}

/// Whom a request is for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// An opaque name of the end user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
