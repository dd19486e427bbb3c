//! Log probabilities, in the chat form and the older completions form.

use serde::{Deserialize, Serialize};

/// `logprobs` of a chat choice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatLogprobs {
    /// One entry for each content token.
    pub content: Option<Vec<TokenLogprob>>,
    /// One entry for each refusal token.
    #[serde(default)]
    pub refusal: Option<Vec<TokenLogprob>>,
}

/// One token with its log probability and the alternatives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// The token's text (lossy where its bytes are a part of a character).
    pub token: String,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// The token's bytes; null where it has none.
    pub bytes: Option<Vec<u8>>,
    /// The likeliest tokens at this place, best first.
    #[serde(default)]
    pub top_logprobs: Vec<TopLogprob>,
}

/// One alternative.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopLogprob {
    /// The token's text.
    pub token: String,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// The token's bytes; null where it has none.
    pub bytes: Option<Vec<u8>>,
}

/// `logprobs` of a completions choice: parallel lists, one entry a token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CompletionLogprobs {
    /// The tokens' texts.
    pub tokens: Vec<String>,
    /// Natural logarithms; null for a first prompt token under `echo`.
    pub token_logprobs: Vec<Option<f32>>,
    /// Alternatives as a map from token to logarithm.
    pub top_logprobs: Option<Vec<Option<serde_json::Map<String, serde_json::Value>>>>,
    /// Offset of each token in the text, in characters.
    pub text_offset: Vec<u64>,
}
