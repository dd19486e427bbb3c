//! Content blocks, of requests and of answers alike. Each is a union: of its fields one is there.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::canonical::Extra;

/// A block of a message.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContentBlock {
    /// Text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// An image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageBlock>,
    /// A document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<DocumentBlock>,
    /// Sound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio: Option<AudioBlock>,
    /// The model calls a tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_use: Option<ToolUseBlock>,
    /// What the call came to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_result: Option<ToolResultBlock>,
    /// The model's thinking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<ReasoningBlock>,
    /// Text that rests on something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub citations_content: Option<CitationsBlock>,
    /// Cache the prompt up to here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_point: Option<CachePoint>,
    /// A block that is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl ContentBlock {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..Self::default() }
    }

    pub(super) fn cache_point(point: CachePoint) -> Self {
        Self { cache_point: Some(point), ..Self::default() }
    }
}

/// An image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageBlock {
    /// `png`, `jpeg`, `gif` or `webp`.
    pub format: String,
    /// Its bytes.
    pub source: MediaSource,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Sound.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AudioBlock {
    /// `mp3`, `wav` and others.
    pub format: String,
    /// Its bytes.
    pub source: MediaSource,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Where the bytes of an image or of sound are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MediaSource {
    /// In the message, in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
    /// Elsewhere: `s3Location`.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DocumentBlock {
    /// `pdf`, `txt` and others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// What the model may call it.
    pub name: String,
    /// Its bytes or its text.
    pub source: DocumentSource,
    /// What the model should know about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Whether answers cite it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub citations: Option<CitationsConfig>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Where a document is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DocumentSource {
    /// In the message, in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
    /// In the message, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Elsewhere (`s3Location`), or in pieces (`content`).
    #[serde(flatten)]
    pub extra: Extra,
}

/// Whether answers cite a document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CitationsConfig {
    /// They do.
    pub enabled: bool,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The model calls a tool.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolUseBlock {
    /// Names the call.
    #[serde(default)]
    pub tool_use_id: String,
    /// The tool.
    #[serde(default)]
    pub name: String,
    /// Its arguments, byte for byte.
    pub input: Box<RawValue>,
    /// `server_tool_use` where the provider runs it.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What a call came to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ToolResultBlock {
    /// The call.
    pub tool_use_id: String,
    /// What the tool said.
    pub content: Vec<ToolResultContent>,
    /// `success` or `error`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The kind of a provider's own tool.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A piece of what a tool said; one of the fields is there.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ToolResultContent {
    /// Text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<Box<RawValue>>,
    /// An image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageBlock>,
    /// A document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<DocumentBlock>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The model's thinking; one of the fields is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ReasoningBlock {
    /// In words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_text: Option<ReasoningText>,
    /// That only its provider can read, in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redacted_content: Option<String>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Thinking in words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReasoningText {
    /// The words.
    pub text: String,
    /// Proves them untouched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Text that rests on something.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CitationsBlock {
    /// The text, in pieces.
    pub content: Vec<CitedText>,
    /// What all of it rests on.
    pub citations: Vec<Extra>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A piece of a cited text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CitedText {
    /// The words.
    pub text: String,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Cache the prompt up to here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CachePoint {
    /// `default`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `5m` or `1h`; five minutes where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
