//! The chat completion answer.

use serde::{Deserialize, Serialize};

use super::super::{ChatLogprobs, Extra, FinishReason, Usage};
use super::Role;

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatCompletion {
    /// Unique name of the answer.
    pub id: String,
    /// Always `chat.completion`.
    pub object: String,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// The model that answered.
    pub model: String,
    /// The answers, as many as `n`.
    pub choices: Vec<ChatChoice>,
    /// What it used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Which build answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_fingerprint: Option<String>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl ChatCompletion {
    /// The value of `object`.
    pub const OBJECT: &'static str = "chat.completion";
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatChoice {
    /// Position, from 0.
    pub index: u32,
    /// What the model said.
    pub message: ResponseMessage,
    /// Log probabilities, where asked for; null otherwise.
    #[serde(default)]
    pub logprobs: Option<ChatLogprobs>,
    /// Why it ended.
    pub finish_reason: Option<FinishReason>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The model's message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResponseMessage {
    /// Always `assistant`.
    pub role: Role,
    /// The text; null where there is none.
    #[serde(default)]
    pub content: Option<String>,
    /// Why the model refused; null where it did not.
    #[serde(default)]
    pub refusal: Option<String>,
    /// Fields not known here, tool calls included.
    #[serde(flatten)]
    pub extra: Extra,
}

impl ResponseMessage {
    /// The assistant says `text`.
    pub fn text(text: impl Into<String>) -> Self {
        Self { role: Role::Assistant, content: Some(text.into()), refusal: None, extra: Extra::new() }
    }
}
