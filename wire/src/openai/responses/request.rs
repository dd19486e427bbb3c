//! The Responses request.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::super::field::{self, OneOrMany, StringOrSeq};
use super::super::{Extra, StreamOptions};

/// A Responses request. Destructure it without `..`, as the chat request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResponsesRequest {
    /// The model's public name.
    pub model: String,
    /// What to answer.
    #[serde(default)]
    pub input: Input,
    /// Instructions that come before the input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// Most tokens to write, reasoning included. At least 1.
    #[serde(default, deserialize_with = "field::positive", skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u32>,
    /// 0 (greedy) to 2.
    #[serde(default, deserialize_with = "field::temperature", skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Nucleus sampling, 0 to 1.
    #[serde(default, deserialize_with = "field::probability", skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// How many alternatives to report for each token, 0 to 20.
    #[serde(default, deserialize_with = "field::top_logprobs", skip_serializing_if = "Option::is_none")]
    pub top_logprobs: Option<u32>,
    /// Answer as server-sent events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// Options of the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_options: Option<StreamOptions>,
    /// Keep the answer, so that a later request can name it. OpenAI's default is true; nothing is kept here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<bool>,
    /// A stored answer to go on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_response_id: Option<String>,
    /// What else the answer is to hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include: Option<Vec<String>>,
    /// Fields not known here: tools, reasoning and formats too, which translation reads.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What a request is to answer: a text, or items.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Input {
    /// A user's text.
    Text(String),
    /// Items, oldest first. They are read one by one, so that each error has its path.
    Items(Vec<Value>),
}

impl Default for Input {
    fn default() -> Self {
        Self::Items(Vec::new())
    }
}

impl<'de> Deserialize<'de> for Input {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let visitor = StringOrSeq::<Value>::new("a string or a list of items");
        match deserializer.deserialize_any(visitor)? {
            Some(OneOrMany::One(text)) => Ok(Self::Text(text)),
            Some(OneOrMany::Many(items)) => Ok(Self::Items(items)),
            None => Ok(Self::default()),
        }
    }
}
