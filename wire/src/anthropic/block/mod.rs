//! Content blocks, of requests and of answers alike.
//!
//! A block is read from its raw text by its `type`: serde's own way of telling variants apart goes through a buffer,
//! which would parse a tool's input and write it anew.

mod content;
mod plain;
mod source;

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

pub use content::Content;
pub use plain::{CitationsConfig, DocumentBlock, ImageBlock, OtherBlock, PlainBlock, TextBlock};
pub use source::Source;

use super::CacheControl;
use super::parse::without_position;
use crate::canonical::Extra;

/// A content block of a message.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block {
    /// The model calls a tool.
    ToolUse(ToolUseBlock),
    /// What the call came to.
    ToolResult(ToolResultBlock),
    /// Thinking in words.
    Thinking(ThinkingBlock),
    /// Thinking that only Anthropic can read.
    RedactedThinking(RedactedThinkingBlock),
    /// What a tool result can hold too, and what is not known here.
    #[serde(untagged)]
    Plain(PlainBlock),
}

/// The model calls a tool.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ToolUseBlock {
    /// Names the call. Servers that imitate Anthropic leave it out at times.
    #[serde(default)]
    pub id: String,
    /// The tool.
    pub name: String,
    /// Its arguments: an object, byte for byte.
    pub input: Box<RawValue>,
    /// Cache the prompt up to here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<CacheControl>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What a call came to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ToolResultBlock {
    /// The call.
    pub tool_use_id: String,
    /// What the tool said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content<PlainBlock>>,
    /// The tool failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_error: Option<bool>,
    /// Cache the prompt up to here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<CacheControl>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Thinking in words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ThinkingBlock {
    /// The words; empty where only the signature is given out.
    pub thinking: String,
    /// Proves it untouched. Servers that imitate Anthropic leave it out at times.
    #[serde(default)]
    pub signature: String,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Encrypted thinking.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RedactedThinkingBlock {
    /// The data.
    pub data: String,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl<'de> Deserialize<'de> for Block {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let block = match kind(&raw).map_err(D::Error::custom)?.as_str() {
            "tool_use" => read(&raw, |block: &mut ToolUseBlock| &mut block.extra).map(Self::ToolUse),
            "tool_result" => read(&raw, |block: &mut ToolResultBlock| &mut block.extra).map(Self::ToolResult),
            "thinking" => read(&raw, |block: &mut ThinkingBlock| &mut block.extra).map(Self::Thinking),
            "redacted_thinking" => {
                read(&raw, |block: &mut RedactedThinkingBlock| &mut block.extra).map(Self::RedactedThinking)
            }
            plain => PlainBlock::read(plain, &raw).map(Self::Plain),
        };
        block.map_err(D::Error::custom)
    }
}

/// The `type` of an object.
fn kind(raw: &RawValue) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Kind {
        #[serde(rename = "type")]
        kind: String,
    }
    let kind: Kind = serde_json::from_str(raw.get()).map_err(|error| without_position(&error))?;
    Ok(kind.kind)
}

/// Reads the block, without the `type` that told which it is.
fn read<T: DeserializeOwned>(raw: &RawValue, extra: impl Fn(&mut T) -> &mut Extra) -> Result<T, String> {
    let mut json = serde_json::Deserializer::from_str(raw.get());
    let mut block: T = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let (path, text) = (error.path().to_string(), without_position(error.inner()));
        if path == "." { text } else { format!("`{path}`: {text}") }
    })?;
    extra(&mut block).shift_remove("type");
    Ok(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_written_as_it_was_read() {
        for json in [
            r#"{"type":"text","text":"a","citations":[{"type":"char_location","x":1}],"cache_control":{"type":"ephemeral","ttl":"1h"}}"#,
            r#"{"type":"tool_use","id":"toolu_1","name":"f","input":{"b": 1.0,  "a":1e2},"caller":{"type":"direct"}}"#,
            r#"{"type":"tool_result","tool_use_id":"toolu_1","content":[{"type":"text","text":"x"},{"type":"tool_reference","tool_name":"y"}],"is_error":true}"#,
            r#"{"type":"tool_result","tool_use_id":"toolu_1","content":"x"}"#,
            r#"{"type":"thinking","thinking":"","signature":"EqR+/="}"#,
            r#"{"type":"redacted_thinking","data":"x+/="}"#,
            r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA=="}}"#,
            r#"{"type":"document","source":{"type":"content","content":[{"type":"text","text":"a"}]},"title":"t","citations":{"enabled":true}}"#,
            r#"{"type":"web_search_tool_result","tool_use_id":"srvtoolu_1","content":[{"url":"u","z":1,"a":2}]}"#,
        ] {
            let block: Block = serde_json::from_str(json).expect(json);
            assert_eq!(serde_json::to_string(&block).expect("writes"), json);
        }
    }
}
