//! Events of a streamed answer.
//!
//! ```text
//! stream := Ping* (Error | Start step* (End | Error))
//! step   := BlockStart | BlockDelta | BlockStop | Logprobs | Stop | Usage | Ping
//! ```
//!
//! Blocks of a choice are numbered from 0 without gaps, in the order they start; several may be open at once
//! (OpenAI interleaves tool calls), and each is stopped. `Stop` ends a choice: its blocks are stopped by then, and
//! only `Usage`, `Ping` and other choices follow. `End` needs every choice stopped. `Usage` may come at any time,
//! counts from the start, and replaces the one before. After `End` and `Error` comes nothing.
//! [`super::Assembler`] holds a stream to this.

use super::{Citation, Dialect, Failure, ForeignField, Logprobs, Part, Provider, Signature, Stop, Usage};

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The answer begins.
    Start(Start),
    /// A block begins.
    BlockStart {
        /// Which answer, from 0.
        choice: u32,
        /// Which block of it, from 0.
        block: u32,
        /// What kind.
        opening: Opening,
    },
    /// A block goes on.
    BlockDelta {
        /// Which answer.
        choice: u32,
        /// Which block of it.
        block: u32,
        /// What is new.
        delta: Delta,
    },
    /// A block is whole.
    BlockStop {
        /// Which answer.
        choice: u32,
        /// Which block of it.
        block: u32,
    },
    /// Log probabilities of the newest tokens.
    Logprobs {
        /// Which answer.
        choice: u32,
        /// The new entries.
        logprobs: Logprobs,
    },
    /// An answer ended.
    Stop {
        /// Which answer.
        choice: u32,
        /// Why.
        stop: Stop,
    },
    /// What was used so far.
    Usage(Usage),
    /// The upstream is still there.
    Ping,
    /// The answer broke off.
    Error(Failure),
    /// The answer is whole.
    End,
}

/// What is known when an answer begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// The dialect it is read from.
    pub origin: Dialect,
    /// The provider's name of the answer; empty where it gave none.
    pub id: String,
    /// When, in seconds since 1970, where the provider says.
    pub created: Option<i64>,
    /// The model that answers.
    pub model: String,
    /// What nobody knows how to translate.
    pub foreign: Vec<ForeignField>,
}

/// How a block begins.
#[derive(Clone, Debug, PartialEq)]
pub enum Opening {
    /// Text; grows by [`Delta::Text`], [`Delta::Citation`] and [`Delta::Signature`].
    Text,
    /// A tool call; grows by [`Delta::Arguments`].
    ToolCall {
        /// The call's id; never empty.
        id: String,
        /// The tool.
        name: String,
        /// Its signature. It is here and no delta, since a client may have to be told it inside the id
        /// ([`super::seal`]), which comes first.
        signature: Option<Signature>,
    },
    /// A call with free text; grows by [`Delta::Input`].
    CustomCall {
        /// The call's id; never empty.
        id: String,
        /// The tool.
        name: String,
    },
    /// Thinking; grows by [`Delta::Thinking`] and [`Delta::Signature`].
    Thinking {
        /// The provider's id of the block.
        id: Option<String>,
    },
    /// Encrypted thinking, whole.
    RedactedThinking {
        /// Who can read it.
        provider: Provider,
        /// The data.
        data: String,
    },
    /// A refusal; grows by [`Delta::Refusal`].
    Refusal,
    /// A part that comes whole, such as an image or what only one dialect has.
    Whole(Box<Part>),
}

/// What is new in a block.
#[derive(Clone, Debug, PartialEq)]
pub enum Delta {
    /// More text.
    Text(String),
    /// More of a call's arguments, as raw text.
    Arguments(String),
    /// More of what a custom tool is called with.
    Input(String),
    /// More thinking.
    Thinking(String),
    /// More of a refusal.
    Refusal(String),
    /// The signature, whole; a later one replaces it.
    Signature(Signature),
    /// One more citation.
    Citation(Box<Citation>),
}
