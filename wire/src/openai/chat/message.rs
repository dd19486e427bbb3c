//! Messages of a conversation.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};

use super::super::Extra;
use super::super::field::{OneOrMany, StringOrSeq};

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions.
    System,
    /// Instructions, by their newer name.
    Developer,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call.
    Tool,
}

impl Role {
    /// The role's name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Developer => "developer",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// One message of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said; null where the message only carries tool calls.
    #[serde(default)]
    pub content: Option<Content>,
    /// Tells speakers of one role apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Fields not known here, tool calls included.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Message {
    /// A message of plain text.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self { role, content: Some(Content::Text(text.into())), name: None, extra: Extra::new() }
    }
}

/// The content of a message: a string, or a list of parts.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Content {
    /// Plain text.
    Text(String),
    /// Typed parts.
    Parts(Vec<ContentPart>),
}

/// One part of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContentPart {
    /// The part's type, such as `text` or `image_url`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The text of a `text` part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A content part that is not text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsupportedContent {
    /// Part `index` has another type than `text`.
    #[error("part {index} has type `{kind}`; only `text` parts can be read here")]
    Kind {
        /// Position in the list, from 0.
        index: usize,
        /// The part's type.
        kind: String,
    },
    /// Part `index` is of type `text` but has no text.
    #[error("part {index} has type `text` but no `text`")]
    NoText {
        /// Position in the list, from 0.
        index: usize,
    },
}

impl Content {
    /// The content as one text; parts are joined with nothing between them.
    ///
    /// # Errors
    /// Where a part is not text.
    pub fn as_text(&self) -> Result<Cow<'_, str>, UnsupportedContent> {
        let parts = match self {
            Self::Text(text) => return Ok(Cow::Borrowed(text)),
            Self::Parts(parts) => parts,
        };
        let mut joined = String::new();
        for (index, part) in parts.iter().enumerate() {
            if part.kind != "text" {
                return Err(UnsupportedContent::Kind { index, kind: part.kind.clone() });
            }
            joined.push_str(part.text.as_deref().ok_or(UnsupportedContent::NoText { index })?);
        }
        Ok(Cow::Owned(joined))
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let visitor = StringOrSeq::<ContentPart>::new("a string or a list of content parts");
        match deserializer.deserialize_any(visitor)? {
            Some(OneOrMany::One(text)) => Ok(Self::Text(text)),
            Some(OneOrMany::Many(parts)) => Ok(Self::Parts(parts)),
            None => Err(D::Error::custom("must be a string or a list of content parts")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Message {
        serde_json::from_str(text).expect("parses")
    }

    #[test]
    fn content_is_text_parts_or_null() {
        assert_eq!(message(r#"{"role":"user","content":"a"}"#).content, Some(Content::Text("a".into())));
        assert_eq!(message(r#"{"role":"assistant","content":null}"#).content, None);
        assert_eq!(message(r#"{"role":"assistant"}"#).content, None);
        let parts =
            message(r#"{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#);
        assert_eq!(parts.content.expect("parts").as_text().expect("text"), "ab");
    }

    #[test]
    fn a_part_that_is_not_text_is_named() {
        let parts = message(r#"{"role":"user","content":[{"type":"image_url","image_url":{"url":"u"}}]}"#);
        let error = parts.content.expect("parts").as_text().expect_err("not text");
        assert_eq!(error, UnsupportedContent::Kind { index: 0, kind: "image_url".into() });
    }

    #[test]
    fn tool_calls_are_kept() {
        let text = r#"{"role":"assistant","content":null,"tool_calls":[{"id":"c","x":1}]}"#;
        assert_eq!(serde_json::to_string(&message(text)).expect("encodes"), text);
    }
}
