//! The events as JSON.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bedrock::content::ReasoningBlock;
use crate::bedrock::error;
use crate::bedrock::usage::{self, TokenUsage};
use crate::canonical::{Extra, Failure, FailureClass, Usage};
use crate::eventstream::Message;

/// Names of the events.
pub(super) const MESSAGE_START: &str = "messageStart";
pub(super) const BLOCK_START: &str = "contentBlockStart";
pub(super) const BLOCK_DELTA: &str = "contentBlockDelta";
pub(super) const BLOCK_STOP: &str = "contentBlockStop";
pub(super) const MESSAGE_STOP: &str = "messageStop";
pub(super) const METADATA: &str = "metadata";

/// `contentBlockStart`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct BlockStart {
    pub(super) content_block_index: u64,
    pub(super) start: Start,
}

/// What a block begins as; one of the fields is there.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Start {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_use: Option<ToolUseStart>,
    /// `toolResult`, `image`.
    #[serde(flatten)]
    pub(super) extra: Extra,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ToolUseStart {
    pub(super) tool_use_id: String,
    pub(super) name: String,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<String>,
}

/// `contentBlockDelta`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct BlockDelta {
    pub(super) content_block_index: u64,
    pub(super) delta: Delta,
}

/// What a block grows by; one of the fields is there.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_use: Option<ToolUseDelta>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reasoning_content: Option<ReasoningDelta>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) citation: Option<Extra>,
    /// `toolResult`, `image`.
    #[serde(flatten)]
    pub(super) extra: Extra,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct ToolUseDelta {
    pub(super) input: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ReasoningDelta {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) signature: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) redacted_content: Option<String>,
}

/// `contentBlockStop`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct BlockStop {
    pub(super) content_block_index: u64,
}

/// `messageStop`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct MessageStop {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stop_reason: Option<String>,
    /// `additionalModelResponseFields`.
    #[serde(flatten)]
    pub(super) extra: Extra,
}

/// `metadata`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Metadata {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage: Option<TokenUsage>,
    /// `metrics`, `trace`, `serviceTier`.
    #[serde(flatten)]
    pub(super) extra: Extra,
}

/// The event of a message, by its name.
///
/// # Errors
/// The failure that an exception is.
pub(in crate::bedrock) fn named(message: &Message) -> Result<Option<&str>, Failure> {
    match message.header(":message-type") {
        Some("exception") => {
            let kind = message.header(":exception-type");
            Err(error::to_canonical(200, kind, None, message.payload()))
        }
        Some("error") => {
            let code = message.header(":error-code").unwrap_or_default();
            let said = message.header(":error-message").unwrap_or_default();
            let mut failure = Failure::new(FailureClass::Upstream, format!("{code}: {said}"));
            failure.code = Some(code.to_owned());
            failure.origin = Some(crate::canonical::Dialect::Converse);
            Err(failure)
        }
        _ => Ok(message.header(":event-type")),
    }
}

/// How far a stream has come by an event that passes as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// More is to come.
    Not,
    /// The answer is whole; what it used may follow.
    Answer,
    /// Nothing follows.
    Stream,
}

/// What an event says that passes as it came: whether it means something to a client, whether it brings words, what was used,
/// and whether it ends the answer.
///
/// # Errors
/// The failure that it states, or that it can't be read.
pub fn see(message: &Message) -> Result<(bool, bool, Option<Usage>, Ended), Failure> {
    let kind = named(message)?.unwrap_or_default();
    let payload = message.payload();
    let read = |problem: serde_json::Error| {
        super::super::response::upstream(format!("the upstream's event `{kind}` can't be read: {problem}"))
    };
    Ok(match kind {
        BLOCK_START => {
            let BlockStart { content_block_index: _, start: Start { tool_use, extra } } =
                serde_json::from_slice(payload).map_err(read)?;
            (tool_use.is_some() || !extra.is_empty(), tool_use.is_some(), None, Ended::Not)
        }
        BLOCK_DELTA => {
            let BlockDelta { content_block_index: _, delta } =
                serde_json::from_slice(payload).map_err(read)?;
            let Delta { text, tool_use, reasoning_content, citation: _, extra: _ } = delta;
            let says = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
            let speaks = says(&text)
                || tool_use.is_some_and(|delta| !delta.input.is_empty())
                || reasoning_content.as_ref().is_some_and(|delta| says(&delta.text));
            let hidden = reasoning_content.is_some_and(|delta| says(&delta.redacted_content));
            (speaks || hidden, speaks, None, Ended::Not)
        }
        MESSAGE_STOP => {
            serde_json::from_slice::<Value>(payload).map_err(read)?;
            (true, false, None, Ended::Answer)
        }
        METADATA => {
            // Figures that make no sense do not spoil the answer.
            let usage = serde_json::from_slice::<Metadata>(payload).ok().and_then(|metadata| metadata.usage);
            (false, false, usage.as_ref().map(usage::to_canonical), Ended::Stream)
        }
        _ => (false, false, None, Ended::Not),
    })
}

/// Thinking that is told whole, as a delta.
impl From<ReasoningBlock> for ReasoningDelta {
    fn from(block: ReasoningBlock) -> Self {
        let ReasoningBlock { reasoning_text, redacted_content, extra: _ } = block;
        let (text, signature) =
            reasoning_text.map_or((None, None), |words| (Some(words.text), words.signature));
        Self { text, signature, redacted_content }
    }
}
