//! The blocks that a message and a tool result both hold. A result holds no other, so results can't nest.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Source, kind, read};
use crate::anthropic::CacheControl;
use crate::anthropic::parse::without_position;
use crate::canonical::Extra;

/// A block without blocks in it, as far as we look.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PlainBlock {
    /// Text.
    Text(TextBlock),
    /// An image.
    Image(Box<ImageBlock>),
    /// A document.
    Document(Box<DocumentBlock>),
    /// A block that is not known here.
    #[serde(untagged)]
    Other(OtherBlock),
}

/// Text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TextBlock {
    /// The text.
    pub text: String,
    /// What it rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub citations: Option<Vec<Extra>>,
    /// Cache the prompt up to here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<CacheControl>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// An image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageBlock {
    /// Its bytes.
    pub source: Source,
    /// Cache the prompt up to here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<CacheControl>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DocumentBlock {
    /// Its bytes or its text.
    pub source: Source,
    /// Its title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What the model should know about it, not to be cited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Whether answers cite it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub citations: Option<CitationsConfig>,
    /// Cache the prompt up to here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<CacheControl>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Whether answers cite a document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CitationsConfig {
    /// They do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A block that is not known here, whole.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct OtherBlock {
    /// Its `type`.
    #[serde(skip)]
    pub kind: String,
    /// All of it, the `type` included.
    pub value: Value,
}

impl PlainBlock {
    /// Reads a block of type `kind`.
    pub(super) fn read(kind: &str, raw: &RawValue) -> Result<Self, String> {
        match kind {
            "text" => read(raw, |block: &mut TextBlock| &mut block.extra).map(Self::Text),
            "image" => read(raw, |block: &mut Box<ImageBlock>| &mut block.extra).map(Self::Image),
            "document" => read(raw, |block: &mut Box<DocumentBlock>| &mut block.extra).map(Self::Document),
            other => {
                let value = serde_json::from_str(raw.get()).map_err(|error| without_position(&error))?;
                Ok(Self::Other(OtherBlock { kind: other.to_owned(), value }))
            }
        }
    }
}

impl<'de> Deserialize<'de> for PlainBlock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let kind = kind(&raw).map_err(D::Error::custom)?;
        Self::read(&kind, &raw).map_err(D::Error::custom)
    }
}
