//! What content parts and messages hold in `extra`: images, sound, files, formats, reasoning, annotations.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::Extra;

/// `image_url` of a part of that type.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ImageUrl {
    /// A URL, or a `data:` URL.
    pub url: String,
    /// How closely to look.
    #[serde(default)]
    pub detail: Option<String>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `input_audio` of a part of that type.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct InputAudio {
    /// Base64.
    pub data: String,
    /// `wav` or `mp3`.
    pub format: String,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `file` of a part of that type.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct File {
    /// A `data:` URL.
    #[serde(default)]
    pub file_data: Option<String>,
    /// The id of a file uploaded before.
    #[serde(default)]
    pub file_id: Option<String>,
    /// Its name.
    #[serde(default)]
    pub filename: Option<String>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `response_format` of a request.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ResponseFormat {
    /// `text`, `json_object` or `json_schema`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The schema, where it is one.
    #[serde(default)]
    pub json_schema: Option<SchemaFormat>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A schema that the answer follows.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SchemaFormat {
    /// Its name.
    #[serde(default)]
    pub name: Option<String>,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// The schema.
    #[serde(default)]
    pub schema: Option<Value>,
    /// To the letter.
    #[serde(default)]
    pub strict: Option<bool>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// An entry of a message's `reasoning_details`. Not OpenAI's own: OpenRouter's form for thinking that must come
/// back whole, which clients send back as they got it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReasoningDetail {
    /// `reasoning.text`, `reasoning.encrypted`, `reasoning.summary`, or our [`ReasoningDetail::TEXT_SIGNATURE`].
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The words, in short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// The signature of the words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// Encrypted thinking, or a text's signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The provider's id of the block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Whose it is, such as `anthropic-claude-v1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Which block of the message it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl ReasoningDetail {
    /// The type of an entry that holds the signature of the message's text (Gemini signs text too).
    pub const TEXT_SIGNATURE: &'static str = "weighbridge.text_signature";
}

/// An entry of a message's `annotations`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Annotation {
    /// `url_citation`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The citation.
    #[serde(default)]
    pub url_citation: Option<UrlCitation>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A page that a stretch of the text rests on.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct UrlCitation {
    /// First character.
    #[serde(default)]
    pub start_index: u64,
    /// After the last one.
    #[serde(default)]
    pub end_index: u64,
    /// The page's address.
    pub url: String,
    /// The page's title.
    #[serde(default)]
    pub title: Option<String>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
