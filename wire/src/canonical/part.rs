//! Parts of a message, of a request and of an answer alike.

use super::{Audio, Citation, CustomCall, Document, ForeignPart, Image, Provider, ToolCall, ToolResult};

/// One part of a message. The order of parts is meaning: thinking comes before the calls that it led to.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Text.
    Text(Text),
    /// An image.
    Image(Image),
    /// Sound.
    Audio(Audio),
    /// A document.
    Document(Document),
    /// The model calls a tool.
    ToolCall(ToolCall),
    /// The model calls a tool with free text.
    CustomCall(CustomCall),
    /// What the call came to; stands in a user's turn.
    ToolResult(ToolResult),
    /// The model's thinking, in words.
    Thinking(Thinking),
    /// Thinking that only its provider can read.
    RedactedThinking(RedactedThinking),
    /// The model says that it will not answer.
    Refusal(String),
    /// What only one dialect has.
    Foreign(ForeignPart),
}

impl Part {
    /// Plain text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(Text::new(text))
    }

    /// Whether OpenAI keeps it in a message's `content`.
    pub fn is_content(&self) -> bool {
        match self {
            Self::Text(_)
            | Self::Image(_)
            | Self::Audio(_)
            | Self::Document(_)
            | Self::Refusal(_)
            | Self::Foreign(_) => true,
            Self::ToolCall(_)
            | Self::CustomCall(_)
            | Self::ToolResult(_)
            | Self::Thinking(_)
            | Self::RedactedThinking(_) => false,
        }
    }

    /// What to call it in an error.
    pub fn kind(&self) -> &str {
        match self {
            Self::Text(_) => "text",
            Self::Image(_) => "image",
            Self::Audio(_) => "audio",
            Self::Document(_) => "document",
            Self::ToolCall(_) => "tool call",
            Self::CustomCall(_) => "call of a custom tool",
            Self::ToolResult(_) => "tool result",
            Self::Thinking(_) => "thinking",
            Self::RedactedThinking(_) => "redacted thinking",
            Self::Refusal(_) => "refusal",
            Self::Foreign(part) => &part.kind,
        }
    }
}

/// A text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Text {
    /// The text itself.
    pub text: String,
    /// What it rests on.
    pub citations: Vec<Citation>,
    /// Gemini signs text too (`thoughtSignature` on a text part, whose text may be empty).
    pub signature: Option<Signature>,
    /// Cache the prompt up to here.
    pub cache: Option<CacheMark>,
}

impl Text {
    /// Plain text.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

/// Thinking in words.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Thinking {
    /// The words; may be empty where only the signature counts.
    pub text: String,
    /// What proves to its provider that it is untouched.
    pub signature: Option<Signature>,
    /// The provider's id of the block (Responses' reasoning items have one).
    pub id: Option<String>,
}

/// Thinking that was encrypted whole (Anthropic's `redacted_thinking`).
#[derive(Clone, Debug, PartialEq)]
pub struct RedactedThinking {
    /// Who can read it.
    pub provider: Provider,
    /// The data, byte for byte.
    pub data: String,
}

/// Opaque data by which a provider knows its own thinking again. Sent back byte for byte, to its issuer alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Who issued it.
    pub provider: Provider,
    /// The data as it came.
    pub data: String,
}

/// A wish to cache the prompt up to here (Anthropic's `cache_control`). A hint: it changes no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheMark {
    /// How long.
    pub ttl: CacheTtl,
}

/// How long a cached prompt is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheTtl {
    /// Five minutes.
    #[default]
    FiveMinutes,
    /// An hour.
    OneHour,
}
