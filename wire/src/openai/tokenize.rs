//! `POST /tokenize`: how many tokens a prompt has. Not OpenAI's: vLLM's shape (its "Tokenizer API"), which our engine
//! serves.

use serde::{Deserialize, Serialize};

use super::Extra;
use super::chat::Message;

/// A conversation, or a text. Destructure it without `..`, as the chat request.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct TokenizeRequest {
    /// The model's public name.
    pub model: String,
    /// A conversation, to be read as chat completions read it.
    #[serde(default)]
    pub messages: Option<Vec<Message>>,
    /// A text, to be read as completions read it.
    #[serde(default)]
    pub prompt: Option<String>,
    /// Whether a conversation ends with the opening of the model's answer; it does where absent.
    #[serde(default)]
    pub add_generation_prompt: Option<bool>,
    /// Whether a text begins as the model's texts do; it does where absent.
    #[serde(default)]
    pub add_special_tokens: Option<bool>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenizeResponse {
    /// How many there are.
    pub count: u64,
    /// Tokens of the model's context.
    pub max_model_len: u64,
    /// Their ids.
    pub tokens: Vec<u32>,
}

/// What a gateway reads of an answer: ids are of no use to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct TokenizeCount {
    /// How many there are.
    pub count: u64,
}
