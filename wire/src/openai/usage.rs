//! Token counts.

use serde::{Deserialize, Serialize};

use super::Extra;

/// Header of a streamed answer of our engine: the tokens of its prompt, known before the first token is drawn.
/// A stream that ends early never comes to its usage, and would else be metered as if it had read nothing.
pub const PROMPT_TOKENS_HEADER: &str = "x-weighbridge-prompt-tokens";

/// What a request used, in tokens. `prompt_tokens` includes the cached ones and `completion_tokens` the
/// reasoning ones; the details only split them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read, cached ones included.
    pub prompt_tokens: u64,
    /// Tokens written, reasoning included.
    #[serde(default)]
    pub completion_tokens: u64,
    /// The sum of the two.
    #[serde(default)]
    pub total_tokens: u64,
    /// How `prompt_tokens` splits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens_details: Option<PromptTokensDetails>,
    /// How `completion_tokens` splits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_tokens_details: Option<CompletionTokensDetails>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Usage {
    /// Usage of a plain request: `prompt` tokens read, `completion` tokens written.
    pub fn new(prompt: u64, completion: u64) -> Self {
        Self {
            prompt_tokens: prompt,
            completion_tokens: completion,
            total_tokens: prompt.saturating_add(completion),
            ..Self::default()
        }
    }
}

/// How the prompt's tokens split.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PromptTokensDetails {
    /// Tokens served from a cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u64>,
    /// Tokens written to a cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_tokens: Option<u64>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How the completion's tokens split.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CompletionTokensDetails {
    /// Tokens spent on reasoning that is not shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<u64>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `stream_options` of a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamOptions {
    /// Ask for one more chunk, with `choices: []` and the usage; every other chunk then has `usage: null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_usage: Option<bool>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
