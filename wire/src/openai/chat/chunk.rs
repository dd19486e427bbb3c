//! Chunks of a streamed chat completion.

use serde::{Deserialize, Serialize};

use super::super::{ChatLogprobs, Extra, FinishReason, Usage, field};
use super::Role;

/// One chunk. The first has `delta: {role, content: ""}`, the last `delta: {}` with a finish reason; with
/// `include_usage` one more follows, with `choices: []` and the usage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatCompletionChunk {
    /// The same in every chunk of an answer.
    pub id: String,
    /// Always `chat.completion.chunk`.
    pub object: String,
    /// The same in every chunk, in seconds since 1970.
    pub created: i64,
    /// The model that answers.
    pub model: String,
    /// What is new; empty in the usage chunk.
    pub choices: Vec<ChunkChoice>,
    /// Absent (`None`), null (`Some(None)`: usage was asked for and comes later) or the usage.
    #[serde(default, deserialize_with = "field::nullable", skip_serializing_if = "Option::is_none")]
    pub usage: Option<Option<Usage>>,
    /// Which build answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_fingerprint: Option<String>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl ChatCompletionChunk {
    /// The value of `object`.
    pub const OBJECT: &'static str = "chat.completion.chunk";
}

/// What is new in one answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChunkChoice {
    /// Which answer, from 0.
    pub index: u32,
    /// What is new.
    pub delta: Delta,
    /// Log probabilities of the new tokens, where asked for.
    #[serde(default)]
    pub logprobs: Option<ChatLogprobs>,
    /// Why it ended; null until then.
    #[serde(default)]
    pub finish_reason: Option<FinishReason>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A piece of a message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// Only in the first chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// New text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Absent, null (in the first chunk) or a piece of a refusal.
    #[serde(default, deserialize_with = "field::nullable", skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Option<String>>,
    /// Fields not known here, tool call pieces included.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Delta {
    /// The delta that opens an answer.
    pub fn opening() -> Self {
        Self {
            role: Some(Role::Assistant),
            content: Some(String::new()),
            refusal: Some(None),
            extra: Extra::new(),
        }
    }

    /// A piece of text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { content: Some(text.into()), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(usage: &str) -> String {
        format!(
            r#"{{"id":"i","object":"chat.completion.chunk","created":1,"model":"m","choices":[]{usage}}}"#
        )
    }

    #[test]
    fn absent_null_and_given_usage_are_told_apart() {
        for (text, expected) in [
            (chunk(""), None),
            (chunk(r#","usage":null"#), Some(None)),
            (
                chunk(r#","usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}"#),
                Some(Some(Usage::new(3, 4))),
            ),
        ] {
            let parsed: ChatCompletionChunk = serde_json::from_str(&text).expect("parses");
            assert_eq!(parsed.usage, expected);
            assert_eq!(serde_json::to_string(&parsed).expect("encodes"), text);
        }
    }

    #[test]
    fn the_opening_delta_is_openais() {
        let text = serde_json::to_string(&Delta::opening()).expect("encodes");
        assert_eq!(text, r#"{"role":"assistant","content":"","refusal":null}"#);
        assert_eq!(serde_json::to_string(&Delta::default()).expect("encodes"), "{}");
    }
}
