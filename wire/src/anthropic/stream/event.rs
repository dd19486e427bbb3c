//! The events as JSON.

use serde::{Deserialize, Serialize};

use crate::anthropic::block::Block;
use crate::anthropic::error::ErrorBody;
use crate::anthropic::response::MessagesResponse;
use crate::anthropic::usage::Usage;
use crate::canonical::Extra;

/// An event that is written, by its `type`.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Written<'a> {
    MessageStart {
        message: Box<MessagesResponse>,
    },
    ContentBlockStart {
        index: u32,
        content_block: Block,
    },
    ContentBlockDelta {
        index: u32,
        delta: WrittenDelta<'a>,
    },
    ContentBlockStop {
        index: u32,
    },
    MessageDelta {
        delta: MessageEnd,
        usage: Usage,
    },
    MessageStop,
    Ping,
    #[serde(untagged)]
    Error(ErrorBody),
}

/// What a block grows by.
#[derive(Debug, Serialize)]
#[serde(tag = "type")]
pub(super) enum WrittenDelta<'a> {
    #[serde(rename = "text_delta")]
    Text { text: &'a str },
    #[serde(rename = "input_json_delta")]
    Input { partial_json: &'a str },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: &'a str },
    #[serde(rename = "signature_delta")]
    Signature { signature: &'a str },
    #[serde(rename = "citations_delta")]
    Citation { citation: Extra },
}

/// How the message ended.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct MessageEnd {
    #[serde(default)]
    pub(super) stop_reason: Option<String>,
    #[serde(default)]
    pub(super) stop_sequence: Option<String>,
    /// `container` and `stop_details`.
    #[serde(flatten)]
    pub(super) extra: Extra,
}

impl Written<'_> {
    /// The event's name, which is its `type`.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::MessageStart { .. } => "message_start",
            Self::ContentBlockStart { .. } => "content_block_start",
            Self::ContentBlockDelta { .. } => "content_block_delta",
            Self::ContentBlockStop { .. } => "content_block_stop",
            Self::MessageDelta { .. } => "message_delta",
            Self::MessageStop => "message_stop",
            Self::Ping => "ping",
            Self::Error(_) => "error",
        }
    }
}

/// `message_start`.
#[derive(Debug, Deserialize)]
pub(super) struct ReadStart {
    pub(super) message: MessagesResponse,
}

/// `content_block_start`.
#[derive(Debug, Deserialize)]
pub(super) struct ReadBlockStart {
    pub(super) index: u64,
    pub(super) content_block: Block,
}

/// `content_block_delta`. Its fields depend on its `type`; a new type is no error.
#[derive(Debug, Deserialize)]
pub(super) struct ReadBlockDelta {
    pub(super) index: u64,
    pub(super) delta: ReadDelta,
}

#[derive(Debug, Deserialize)]
pub(super) struct ReadDelta {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) text: String,
    #[serde(default)]
    pub(super) partial_json: String,
    #[serde(default)]
    pub(super) thinking: String,
    #[serde(default)]
    pub(super) signature: String,
    #[serde(default)]
    pub(super) citation: Option<Extra>,
}

/// `content_block_stop`.
#[derive(Debug, Deserialize)]
pub(super) struct ReadBlockStop {
    pub(super) index: u64,
}

/// `message_delta`.
#[derive(Debug, Deserialize)]
pub(super) struct ReadEnd {
    #[serde(default)]
    pub(super) delta: MessageEnd,
    #[serde(default)]
    pub(super) usage: Option<Usage>,
}

/// Any event: its `type`.
#[derive(Debug, Deserialize)]
pub(super) struct ReadKind {
    #[serde(rename = "type")]
    pub(super) kind: String,
}
