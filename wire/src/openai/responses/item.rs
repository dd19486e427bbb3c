//! Items of a conversation: messages, reasoning, calls and their outputs. Input and output share them.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::super::Extra;
use super::super::field::{OneOrMany, StringOrSeq};

/// One item, of any type. Which fields there are depends on `type`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// `message` (also where absent), `reasoning`, `function_call`, `custom_tool_call`, their outputs, or another.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The item's own id. It names nothing where nothing is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `in_progress`, `completed` or `incomplete`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Who speaks, in a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// What is said in a message, or thought in a reasoning item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<ItemContent>,
    /// What was thought, in short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Vec<Summary>>,
    /// What was thought, for OpenAI's eyes; an item of another request may bring it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypted_content: Option<String>,
    /// The call that this is, or that this answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// The tool that is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The call's arguments as JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
    /// The free text that a custom tool is called with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// What the call came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<ItemContent>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A text, or parts.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ItemContent {
    /// A text.
    Text(String),
    /// Parts.
    Parts(Vec<ItemPart>),
}

impl<'de> Deserialize<'de> for ItemContent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let visitor = StringOrSeq::<ItemPart>::new("a string or a list of parts");
        match deserializer.deserialize_any(visitor)? {
            Some(OneOrMany::One(text)) => Ok(Self::Text(text)),
            Some(OneOrMany::Many(parts)) => Ok(Self::Parts(parts)),
            None => Ok(Self::Parts(Vec::new())),
        }
    }
}

/// A part of an item.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ItemPart {
    /// `input_text`, `input_image`, `input_file`, `output_text`, `refusal`, `reasoning_text`, or another.
    #[serde(rename = "type")]
    pub kind: String,
    /// The text of the text types.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The text of a `refusal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// What an `output_text` rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Vec<Value>>,
    /// Log probabilities of an `output_text`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Vec<super::super::TokenLogprob>>,
    /// The URL of an `input_image`, or its `data:` URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_url: Option<String>,
    /// How closely to look at an `input_image`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The id of a file uploaded before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_id: Option<String>,
    /// The `data:` URL of an `input_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_data: Option<String>,
    /// The URL of an `input_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_url: Option<String>,
    /// The name of an `input_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A part of a reasoning item's summary.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// `summary_text`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The text.
    #[serde(default)]
    pub text: String,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
