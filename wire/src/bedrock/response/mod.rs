//! The answer to `POST /model/…/converse`.

mod read;
mod write;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::request::Message;
use super::usage::TokenUsage;
use crate::canonical::{Extra, Took};

pub use read::to_canonical;
pub(super) use read::upstream;
pub use write::from_canonical;
pub(super) use write::own_fields;

/// An answer. `metrics`, `trace` and whatever comes later are in `extra`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConverseResponse {
    /// What the model said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Output>,
    /// Why it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// What it used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<TokenUsage>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What says how long an answer `took`, as every client of AWS's expects.
pub(crate) fn timed(took: &Took) -> Extra {
    let milliseconds = u64::try_from(took.now().as_millis()).unwrap_or(u64::MAX);
    Extra::from_iter([("metrics".to_owned(), json!({"latencyMs": milliseconds}))])
}

/// What the model said.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Output {
    /// A message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Message>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}
