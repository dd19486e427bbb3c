//! `generateContent`'s request. The types are here; [`read`] takes a client's, [`write`] makes an upstream's.

mod call_ids;
mod config;
mod contents;
mod output;
mod read;
mod thinking;
mod tools;
mod turns;
mod write;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use read::to_canonical;
pub use write::from_canonical;

pub(super) use tools::NO_CUSTOM_TOOLS;

use super::content::Content;
use super::generation_config::GenerationConfig;
use super::proto_json::one_or_many;
use super::tool::{Tool, ToolConfig};
use crate::canonical::Extra;

/// The body of `generateContent` and `streamGenerateContent`; the model and the wish for a stream are in the path.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GenerateContentRequest {
    /// The model, where the request stands inside another body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Instructions.
    #[serde(alias = "system_instruction", skip_serializing_if = "Option::is_none")]
    pub system_instruction: Option<Content>,
    /// The conversation.
    #[serde(deserialize_with = "one_or_many")]
    pub contents: Vec<Content>,
    /// The tools.
    #[serde(deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Tool>,
    /// Which tool to call.
    #[serde(alias = "tool_config", skip_serializing_if = "Option::is_none")]
    pub tool_config: Option<ToolConfig>,
    /// How the answer is made.
    #[serde(alias = "generation_config", skip_serializing_if = "Option::is_none")]
    pub generation_config: Option<GenerationConfig>,
    /// Labels for the bill.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<std::collections::BTreeMap<String, String>>,
    /// Filters, as they came: no other dialect has them.
    #[serde(alias = "safety_settings", skip_serializing_if = "Option::is_none")]
    pub safety_settings: Option<Value>,
    /// A prompt that Google keeps, by its name there.
    #[serde(alias = "cached_content", skip_serializing_if = "Option::is_none")]
    pub cached_content: Option<String>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The word that stands for a signature on a call that Gemini did not make, as its documentation has it: without one,
/// Gemini 3 refuses a history that another model began.
pub const UNSIGNED_CALL: &str = "skip_thought_signature_validator";
