//! `POST /model/…/count-tokens`: the question is a request by Converse, or one in the model's own dialect.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::request::{self, ConverseRequest, Message, SystemBlock};
use super::tool::ToolConfig;
use crate::canonical::{
    Extra, Inexpressible, Request, TokenCount, Translated, Unreadable, Unsupported, keep_foreign,
};

/// The question.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CountTokensRequest {
    /// What is counted.
    pub input: CountTokensInput,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What is counted; one of the fields is there.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CountTokensInput {
    /// A request by Converse.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub converse: Option<CountedRequest>,
    /// A request in the model's own dialect (`invokeModel`).
    #[serde(flatten)]
    pub extra: Extra,
}

/// What of a request is counted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CountedRequest {
    /// The conversation.
    pub messages: Vec<Message>,
    /// Instructions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub system: Vec<SystemBlock>,
    /// The tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_config: Option<ToolConfig>,
    /// Fields not known here, `additionalModelRequestFields` among them.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CountTokensResponse {
    /// Tokens of the whole request.
    pub input_tokens: u64,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Reads a client's question.
///
/// # Errors
/// Names the field that makes no sense.
pub fn to_canonical(wire: CountTokensRequest, model: &str) -> Result<Request, Unreadable> {
    let CountTokensRequest { input: CountTokensInput { converse, extra: within }, extra } = wire;
    let Some(CountedRequest { messages, system, tool_config, extra: inner }) = converse else {
        return Err(Unreadable::new("input.converse", "give the conversation here, as Converse has it"));
    };
    let whole = ConverseRequest { messages, system, tool_config, extra: inner, ..ConverseRequest::default() };
    let mut request = request::to_canonical(whole, model, false)?;
    keep_foreign("input", within, &mut request.foreign);
    keep_foreign("", extra, &mut request.foreign);
    Ok(request)
}

/// Writes a question for Bedrock. What does not count is left out.
///
/// # Errors
/// As [`request::from_canonical`].
pub fn from_canonical(
    request: &Request,
    policy: Unsupported,
) -> Result<Translated<CountTokensRequest>, Inexpressible> {
    let Translated { message, dropped } = request::from_canonical(request, policy)?;
    let ConverseRequest {
        messages,
        system,
        inference_config: _,
        tool_config,
        output_config: _,
        request_metadata: _,
        extra,
    } = message;
    let extra = extra.into_iter().filter(|(name, _)| name == "additionalModelRequestFields").collect();
    let converse = Some(CountedRequest { messages, system, tool_config, extra });
    let input = CountTokensInput { converse, extra: Extra::new() };
    Ok(Translated { message: CountTokensRequest { input, extra: Extra::new() }, dropped })
}

/// The question for a request in the model's own dialect.
pub fn invoked(body: &[u8]) -> String {
    json!({"input": {"invokeModel": {"body": STANDARD.encode(body)}}}).to_string()
}

/// Reads Bedrock's answer.
pub fn response_to_canonical(response: &CountTokensResponse) -> TokenCount {
    TokenCount { input: response.input_tokens, cached: None }
}

/// Writes an answer for a client. Bedrock does not say how many of them were cached.
pub fn response_from_canonical(count: TokenCount) -> CountTokensResponse {
    let TokenCount { input, cached: _ } = count;
    CountTokensResponse { input_tokens: input, extra: Extra::new() }
}
