//! The answer to `POST /v1/messages`.

mod read;
mod write;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::block::Block;
use super::error::ErrorObject;
use super::usage::Usage;
use crate::canonical::Extra;

pub use read::to_canonical;
pub use write::from_canonical;
pub(super) use write::own_fields;

/// An answer. `container`, `stop_details` and whatever comes later are in `extra`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MessagesResponse {
    /// Its name.
    #[serde(default)]
    pub id: String,
    /// `message`; `error` where an error came with a status of success.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// `assistant`.
    #[serde(default)]
    pub role: String,
    /// The model that answered.
    #[serde(default)]
    pub model: String,
    /// What it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Vec<Block>>,
    /// Why it ended; null at the start of a stream.
    #[serde(default)]
    pub stop_reason: Option<String>,
    /// The string that ended it.
    #[serde(default)]
    pub stop_sequence: Option<String>,
    /// What it used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The error that came in an answer's place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorObject>,
    /// Beside an error: Anthropic's name of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
