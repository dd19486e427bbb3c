//! The chat completion request.

use serde::{Deserialize, Serialize};

use super::super::{Extra, StreamOptions, field};
use super::Message;

/// A chat completion request. A reader should destructure it without `..`: a field that is accepted and
/// not enforced is a bug, and what is in `extra` has to be refused by name or passed on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatCompletionRequest {
    /// The model's public name.
    pub model: String,
    /// The conversation, oldest first.
    pub messages: Vec<Message>,
    /// Most tokens to write; the older name of `max_completion_tokens`. At least 1.
    #[serde(default, deserialize_with = "field::positive", skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Most tokens to write, reasoning included. At least 1.
    #[serde(default, deserialize_with = "field::positive", skip_serializing_if = "Option::is_none")]
    pub max_completion_tokens: Option<u32>,
    /// 0 (greedy) to 2.
    #[serde(default, deserialize_with = "field::temperature", skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Nucleus sampling, 0 to 1.
    #[serde(default, deserialize_with = "field::probability", skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// Makes sampling repeatable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// How many answers. At least 1.
    #[serde(default, deserialize_with = "field::positive", skip_serializing_if = "Option::is_none")]
    pub n: Option<u32>,
    /// Strings that end the answer; a single string or null is accepted too.
    #[serde(default, deserialize_with = "field::stop", skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// -2 to 2.
    #[serde(default, deserialize_with = "field::penalty", skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f32>,
    /// -2 to 2.
    #[serde(default, deserialize_with = "field::penalty", skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f32>,
    /// Report log probabilities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<bool>,
    /// How many alternatives to report for each token, 0 to 20.
    #[serde(default, deserialize_with = "field::top_logprobs", skip_serializing_if = "Option::is_none")]
    pub top_logprobs: Option<u32>,
    /// Answer as server-sent events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// Options of the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_options: Option<StreamOptions>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_survive_in_order() {
        let text = r#"{"model":"m","messages":[],"zeta":1,"alpha":{"b":[1,2]}}"#;
        let request: ChatCompletionRequest = serde_json::from_str(text).expect("parses");
        assert_eq!(request.extra.keys().collect::<Vec<_>>(), ["zeta", "alpha"]);
        assert_eq!(serde_json::to_string(&request).expect("encodes"), text);
    }

    #[test]
    fn stop_takes_a_string_a_list_or_null() {
        for (given, expected) in [(r#""a""#, vec!["a"]), (r#"["a","b"]"#, vec!["a", "b"]), ("null", vec![])] {
            let text = format!(r#"{{"model":"m","messages":[],"stop":{given}}}"#);
            let request: ChatCompletionRequest = serde_json::from_str(&text).expect("parses");
            assert_eq!(request.stop, expected);
        }
        let text = r#"{"model":"m","messages":[],"stop":[""]}"#;
        assert!(serde_json::from_str::<ChatCompletionRequest>(text).is_err());
    }
}
