//! Where the bytes of an image or a document are.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical::Extra;

/// Where the bytes are; which fields are there depends on the `type`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// `base64`, `url`, `file`, `text` or `content`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Of `base64` and `text`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Of `base64` and `text`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Of `url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Of `file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_id: Option<String>,
    /// Of `content`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Value>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
