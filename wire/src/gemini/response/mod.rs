//! `generateContent`'s answer, which is also one piece of a stream. The types are here; [`read`] takes an upstream's, by
//! way of the same machine that reads a stream, and [`write`] makes a client's.

mod candidate;
mod parts;
mod read;
mod reader;
mod write;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use read::to_canonical;
pub use write::from_canonical;

pub(super) use parts::write_part;
pub(super) use reader::AnswerReader;
pub(super) use write::{Own, give_back};

use super::content::Content;
use super::error::ErrorObject;
use super::grounding::{CitationMetadata, GroundingMetadata};
use super::logprobs::LogprobsResult;
use super::proto_json::integer;
use super::usage::UsageMetadata;
use crate::canonical::Extra;

/// An answer, or a piece of one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GenerateContentResponse {
    /// The answers. A blocked prompt has none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Candidate>,
    /// What the filters say of the prompt.
    #[serde(alias = "prompt_feedback", skip_serializing_if = "Option::is_none")]
    pub prompt_feedback: Option<PromptFeedback>,
    /// What was used so far.
    #[serde(alias = "usage_metadata", skip_serializing_if = "Option::is_none")]
    pub usage_metadata: Option<UsageMetadata>,
    /// The model that answered.
    #[serde(alias = "model_version", skip_serializing_if = "Option::is_none")]
    pub model_version: Option<String>,
    /// The answer's name.
    #[serde(alias = "response_id", skip_serializing_if = "Option::is_none")]
    pub response_id: Option<String>,
    /// When the answer was made, as RFC 3339 has it; Vertex says it, and Google's clients read it of either service.
    #[serde(alias = "create_time", skip_serializing_if = "Option::is_none")]
    pub create_time: Option<String>,
    /// In its place: an error that came with a status of 200.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorObject>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What the filters say of a prompt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PromptFeedback {
    /// Why it was blocked; absent where it was not.
    #[serde(alias = "block_reason", skip_serializing_if = "Option::is_none")]
    pub block_reason: Option<String>,
    /// Fields not known here, such as `safetyRatings`.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One answer, or a piece of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Candidate {
    /// What the model said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// Why it ended; absent where it goes on.
    #[serde(alias = "finish_reason", skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// More about that, for a person.
    #[serde(alias = "finish_message", skip_serializing_if = "Option::is_none")]
    pub finish_message: Option<String>,
    /// Which answer; absent means the first.
    #[serde(deserialize_with = "integer", skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// Sources that are quoted word for word.
    #[serde(alias = "citation_metadata", skip_serializing_if = "Option::is_none")]
    pub citation_metadata: Option<CitationMetadata>,
    /// Sources that were searched.
    #[serde(alias = "grounding_metadata", skip_serializing_if = "Option::is_none")]
    pub grounding_metadata: Option<GroundingMetadata>,
    /// Log probabilities.
    #[serde(alias = "logprobs_result", skip_serializing_if = "Option::is_none")]
    pub logprobs_result: Option<LogprobsResult>,
    /// Their mean.
    #[serde(alias = "avg_logprobs", skip_serializing_if = "Option::is_none")]
    pub avg_logprobs: Option<f64>,
    /// Fields not known here, such as `safetyRatings`.
    #[serde(flatten)]
    pub extra: Extra,
}
