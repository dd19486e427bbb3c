//! `countTokens`. The question is a request, of which Vertex has the fields at the top and the Gemini API in
//! `generateContentRequest`.

use serde::{Deserialize, Serialize};

use super::content::Content;
use super::generation_config::GenerationConfig;
use super::path::bare_model;
use super::proto_json::{integer, one_or_many};
use super::request::{self, GenerateContentRequest};
use super::service::{Service, Upstream};
use super::tool::Tool;
use crate::canonical::{
    Extra, Inexpressible, Request, TokenCount, Translated, Unreadable, Unsupported, keep_foreign,
};

/// The question.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CountTokensRequest {
    /// The conversation alone.
    #[serde(deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub contents: Vec<Content>,
    /// A whole request (the Gemini API's).
    #[serde(alias = "generate_content_request", skip_serializing_if = "Option::is_none")]
    pub generate_content_request: Option<GenerateContentRequest>,
    /// Instructions (Vertex's).
    #[serde(alias = "system_instruction", skip_serializing_if = "Option::is_none")]
    pub system_instruction: Option<Content>,
    /// The tools (Vertex's).
    #[serde(deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Tool>,
    /// How an answer would be made (Vertex's).
    #[serde(alias = "generation_config", skip_serializing_if = "Option::is_none")]
    pub generation_config: Option<GenerationConfig>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CountTokensResponse {
    /// Tokens of the whole request.
    #[serde(alias = "total_tokens", deserialize_with = "integer")]
    pub total_tokens: Option<u64>,
    /// Those of them in a cache.
    #[serde(
        alias = "cached_content_token_count",
        deserialize_with = "integer",
        skip_serializing_if = "Option::is_none"
    )]
    pub cached_content_token_count: Option<u64>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Reads the question.
///
/// # Errors
/// Names the field that makes no sense.
pub fn to_canonical(wire: CountTokensRequest, model: &str) -> Result<Request, Unreadable> {
    let CountTokensRequest {
        contents,
        generate_content_request,
        system_instruction,
        tools,
        generation_config,
        mut extra,
    } = wire;
    let outer = !contents.is_empty() || system_instruction.is_some() || !tools.is_empty();
    // The path's word is the one that was routed.
    extra.shift_remove("model");
    let request = match generate_content_request {
        Some(_) if outer => {
            return Err(Unreadable::new("generateContentRequest", "give this or `contents`, not both"));
        }
        Some(request) => request,
        None => GenerateContentRequest {
            contents,
            system_instruction,
            tools,
            generation_config,
            ..GenerateContentRequest::default()
        },
    };
    let mut request = request::to_canonical(request, model, false)?;
    keep_foreign("", extra, &mut request.foreign);
    Ok(request)
}

/// Writes the question.
///
/// # Errors
/// As [`request::from_canonical`].
pub fn from_canonical(
    request: &Request,
    upstream: Upstream,
    policy: Unsupported,
) -> Result<Translated<CountTokensRequest>, Inexpressible> {
    let Translated { message: mut inner, dropped } = request::from_canonical(request, upstream, policy)?;
    let message = match upstream.service {
        Service::GeminiApi => {
            inner.model = Some(format!("models/{}", bare_model(&request.model)));
            CountTokensRequest { generate_content_request: Some(inner), ..CountTokensRequest::default() }
        }
        // Only what is counted: choices, filters and labels have no tokens.
        Service::Vertex => CountTokensRequest {
            contents: inner.contents,
            system_instruction: inner.system_instruction,
            tools: inner.tools,
            generation_config: inner.generation_config,
            ..CountTokensRequest::default()
        },
    };
    Ok(Translated { message, dropped })
}

/// Reads the answer.
pub fn response_to_canonical(wire: &CountTokensResponse) -> TokenCount {
    let CountTokensResponse { total_tokens, cached_content_token_count, extra: _ } = wire;
    TokenCount { input: total_tokens.unwrap_or_default(), cached: *cached_content_token_count }
}

/// Writes the answer.
pub fn response_from_canonical(count: TokenCount) -> CountTokensResponse {
    let TokenCount { input, cached } = count;
    CountTokensResponse { total_tokens: Some(input), cached_content_token_count: cached, extra: Extra::new() }
}

#[cfg(test)]
#[path = "count_tokens_tests.rs"]
mod tests;
