//! OpenAI's dialect: chat completions, completions, Responses, embeddings, the models list and errors; and reranking and
//! counting tokens, which OpenAI has not.
//!
//! Message types keep the fields they do not know in `extra`, so that an engine can refuse them by name
//! and a gateway can pass them on. Parsing goes through [`parse`], whose error names the field.
//! [`edit`] changes single values in raw JSON and leaves every other byte alone; [`translate`] goes to and from the
//! form that other dialects share. No I/O here.

pub mod chat;
pub mod completion;
pub mod edit;
pub mod embedding;
mod error;
mod field;
mod logprobs;
mod model;
mod parse;
pub mod rerank;
pub mod responses;
pub mod tokenize;
pub mod translate;
mod usage;

pub use embedding::InputUsage;
pub use error::{ApiError, ErrorBody, ErrorObject};
pub use field::MAX_STOP_SEQUENCES;
pub use logprobs::{ChatLogprobs, CompletionLogprobs, TokenLogprob, TopLogprob};
pub use model::{Model, ModelList};
pub use parse::parse;
pub use usage::{CompletionTokensDetails, PROMPT_TOKENS_HEADER, PromptTokensDetails, StreamOptions, Usage};

use serde::{Deserialize, Serialize};

/// Fields that a type does not know, kept in the order they came.
pub type Extra = serde_json::Map<String, serde_json::Value>;

/// Why a choice ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// A stop string, or the model's end-of-turn token.
    Stop,
    /// `max_tokens` or the context was used up.
    Length,
    /// The model calls one or more tools.
    ToolCalls,
    /// A filter withheld the rest.
    ContentFilter,
    /// The older spelling of `tool_calls`.
    FunctionCall,
    /// A reason outside OpenAI's list; kept as it came.
    #[serde(untagged)]
    Other(String),
}
