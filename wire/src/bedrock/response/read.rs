//! Reading Bedrock's answer.

use super::{ConverseResponse, Output};
use crate::bedrock::part::{PartReader, Sender};
use crate::bedrock::request::Message;
use crate::bedrock::{stop_reason, usage};
use crate::canonical::{
    Choice, Dialect, Failure, FailureClass, ForeignField, Mint, Part, Response, Stop, StopReason, Unreadable,
    keep_foreign,
};

/// How long it took, which is nobody's wish: clients have clocks of their own.
const METRICS: &str = "metrics";

/// Reads an answer. `mint` gives the ids that some models leave out.
///
/// # Errors
/// Where what came is no answer, or none that can be used.
pub fn to_canonical(response: ConverseResponse, mint: &mut Mint) -> Result<Response, Failure> {
    let ConverseResponse { output, stop_reason, usage, mut extra } = response;
    let Some(Message { role: _, content, extra: within }) =
        output.and_then(|Output { message, extra: _ }| message)
    else {
        return Err(upstream("the upstream answered with success, and its body is no message"));
    };
    extra.shift_remove(METRICS);
    let mut foreign: Vec<ForeignField> = Vec::new();
    keep_foreign("", extra, &mut foreign);
    keep_foreign("output.message", within, &mut foreign);
    let mut parts = Vec::with_capacity(content.len());
    for (index, mut block) in content.into_iter().enumerate() {
        if let Some(call) = block.tool_use.as_mut().filter(|call| call.tool_use_id.is_empty()) {
            call.tool_use_id = mint.call_id();
        }
        let mut reader = PartReader { sender: Sender::Upstream, foreign: &mut foreign };
        parts.push(reader.block(block, &format!("output.message.content[{index}]")).map_err(unreadable)?);
    }
    let calls_tools = parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
    let stop = match stop_reason {
        Some(word) => stop_reason::to_canonical(&word, calls_tools)?,
        None => Stop::new(StopReason::EndTurn.with_calls(calls_tools)),
    };
    Ok(Response {
        origin: Dialect::Converse,
        id: String::new(),
        created: None,
        model: String::new(),
        choices: vec![Choice { index: 0, parts, stop: Some(stop), logprobs: None }],
        usage: usage.as_ref().map(usage::to_canonical),
        foreign,
    })
}

fn unreadable(problem: Unreadable) -> Failure {
    upstream(format!("the upstream's answer makes no sense: {problem}"))
}

pub(in crate::bedrock) fn upstream(message: impl Into<String>) -> Failure {
    let mut failure = Failure::new(FailureClass::Upstream, message);
    failure.origin = Some(Dialect::Converse);
    failure
}
