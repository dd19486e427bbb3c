//! What goes into the engine and what comes out.

use crate::backend::AdapterId;
use crate::sampling::{NoFiniteLogit, SamplingParams, TokenLogprobs};

/// One sequence to generate.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateRequest {
    /// Token ids; at least one.
    pub prompt: Vec<u32>,
    /// Most tokens to draw; at least one.
    pub max_tokens: usize,
    /// How to draw.
    pub sampling: SamplingParams,
    /// Texts that end the answer and are no part of it.
    pub stop: Vec<String>,
    /// Go on past the model's end tokens, for benchmarks.
    pub ignore_end: bool,
    /// Report log probabilities of the prompt's tokens, with this many alternatives.
    pub prompt_logprobs: Option<u32>,
    /// The adapter to run with.
    pub adapter: Option<AdapterId>,
}

/// What happens to a sequence, in this order: at most one `Prompt`, `Token`s, and one end.
#[derive(Debug)]
pub enum Event {
    /// Log probabilities of the prompt's tokens; the first has none, nothing came before it.
    Prompt(Vec<Option<TokenLogprobs>>),
    /// A token was drawn.
    Token(TokenEvent),
    /// The sequence is complete.
    Finished(Finished),
    /// The sequence ended in an error.
    Failed(GenerateError),
}

/// A drawn token.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenEvent {
    /// Its id.
    pub id: u32,
    /// The text that is certain now; empty while a character or a stop string may still be incomplete.
    pub text: String,
    /// Its log probability, where asked for.
    pub logprobs: Option<TokenLogprobs>,
}

/// A sequence's end.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// Why.
    pub cause: StopCause,
    /// Text that had been held back and is certain now.
    pub tail: String,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens drawn, the end token included.
    pub completion_tokens: usize,
}

/// Why a sequence ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// The model said so.
    EndToken(u32),
    /// A stop text came up.
    StopText(String),
    /// `max_tokens` were drawn.
    Length,
}

/// Why a sequence failed.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The step that it was part of could not be computed.
    #[error("the step failed: {0}")]
    Step(String),
    /// The engine slept, and others held its device for too long.
    #[error("the engine sleeps, and its device is taken: {0}")]
    NoRoom(String),
    /// Its logits were no numbers.
    #[error(transparent)]
    Logits(#[from] NoFiniteLogit),
    /// A bug of ours, contained.
    #[error("internal error: {0}")]
    Panicked(String),
    /// The engine thread is gone.
    #[error("the engine has stopped")]
    Stopped,
}
