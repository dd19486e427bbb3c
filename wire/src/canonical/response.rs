//! The answer.

use super::{Dialect, ForeignField, Logprobs, Part, Usage};

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// The dialect it was read from.
    pub origin: Dialect,
    /// The provider's name of the answer; empty where it gave none.
    pub id: String,
    /// When it was made, in seconds since 1970, where the provider says.
    pub created: Option<i64>,
    /// The model that answered, by the provider's name.
    pub model: String,
    /// The answers, by index.
    pub choices: Vec<Choice>,
    /// What it used, where the provider says.
    pub usage: Option<Usage>,
    /// What nobody knows how to translate.
    pub foreign: Vec<ForeignField>,
}

/// One answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choice {
    /// Which, from 0.
    pub index: u32,
    /// What the model said, in its order.
    pub parts: Vec<Part>,
    /// Why it ended; `None` where the provider did not say.
    pub stop: Option<Stop>,
    /// Log probabilities, where asked for.
    pub logprobs: Option<Logprobs>,
}

impl Choice {
    /// Whether the model calls a tool.
    pub fn calls_tools(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::ToolCall(_) | Part::CustomCall(_)))
    }
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Stop {
    /// The reason.
    pub reason: StopReason,
    /// The string that ended it, where the provider says which.
    pub sequence: Option<String>,
    /// What nobody knows how to translate (`stop_details`, `safetyRatings`).
    pub foreign: Vec<ForeignField>,
}

impl Stop {
    /// Ended for `reason`.
    pub fn new(reason: StopReason) -> Self {
        Self { reason, sequence: None, foreign: Vec::new() }
    }
}

/// A reason to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The model was done (OpenAI's `stop` says a stop string by the same word).
    EndTurn,
    /// A stop string.
    StopSequence,
    /// The most tokens asked for were written.
    MaxTokens,
    /// The context was full.
    ContextFull,
    /// The model waits for its tools.
    ToolUse,
    /// A filter withheld the rest.
    ContentFilter,
    /// The model refused.
    Refusal,
    /// A provider's own tool takes long; the caller sends the conversation again (Anthropic's `pause_turn`).
    Pause,
    /// A reason outside the lists, as it came.
    Other(String),
}

impl StopReason {
    /// The reason, given that the answer calls tools: Gemini ends calls with `STOP`, and so do some servers that
    /// imitate OpenAI's.
    #[must_use]
    pub fn with_calls(self, calls_tools: bool) -> Self {
        match self {
            Self::EndTurn if calls_tools => Self::ToolUse,
            Self::EndTurn
            | Self::StopSequence
            | Self::MaxTokens
            | Self::ContextFull
            | Self::ToolUse
            | Self::ContentFilter
            | Self::Refusal
            | Self::Pause
            | Self::Other(_) => self,
        }
    }
}
