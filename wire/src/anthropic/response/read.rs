//! Reading Anthropic's answer.

use serde_json::Value;

use super::MessagesResponse;
use crate::anthropic::block::Block;
use crate::anthropic::part::{PartReader, Sender};
use crate::anthropic::{error, stop_reason, usage};
use crate::canonical::{
    Choice, Dialect, Extra, Failure, FailureClass, Mint, Part, Response, Stop, Unreadable, keep_foreign,
};

/// What belongs to the end of an answer.
const END_FIELDS: [&str; 2] = ["container", "stop_details"];

/// Reads an answer. `mint` gives the ids that some servers leave out.
///
/// # Errors
/// Where an error came with a status of success, and where what came is no answer.
pub fn to_canonical(response: MessagesResponse, mint: &mut Mint) -> Result<Response, Failure> {
    let MessagesResponse {
        id,
        kind,
        role: _,
        model,
        content,
        stop_reason,
        stop_sequence,
        usage,
        error: broken,
        request_id,
        mut extra,
    } = response;
    if let Some(error) = broken {
        let body = error::ErrorBody { kind, error, request_id, extra: Extra::new() };
        return Err(error::read(200, body));
    }
    let Some(content) = content.filter(|_| kind == "message") else {
        return Err(upstream("the upstream answered with success, and its body is no message"));
    };
    let mut foreign = Vec::new();
    let mut stop = stop_reason.map(|reason| stop_reason::to_canonical(&reason, stop_sequence, false));
    if let Some(stop) = &mut stop {
        // A stream says them at its end.
        let ends = |(name, _): &(String, Value)| END_FIELDS.contains(&name.as_str());
        let (end, rest) = std::mem::take(&mut extra).into_iter().partition::<Vec<_>, _>(ends);
        keep_foreign("", end.into_iter().collect(), &mut stop.foreign);
        extra = rest.into_iter().collect();
    }
    keep_foreign("", extra, &mut foreign);
    let mut parts = Vec::with_capacity(content.len());
    for (index, mut block) in content.into_iter().enumerate() {
        name_call(&mut block, mint);
        let mut reader = PartReader { sender: Sender::Upstream, foreign: &mut foreign };
        parts.push(reader.block(block, &format!("content[{index}]")).map_err(unreadable)?);
    }
    let counts = usage.map(|usage| {
        let counts = usage::to_canonical(&usage);
        keep_foreign(usage::PARENT, usage.extra, &mut foreign);
        counts
    });
    let calls_tools = parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
    let stop = stop.map(|stop| Stop { reason: stop.reason.with_calls(calls_tools), ..stop });
    Ok(Response {
        origin: Dialect::Anthropic,
        id,
        created: None,
        model,
        choices: vec![Choice { index: 0, parts, stop, logprobs: None }],
        usage: counts,
        foreign,
    })
}

/// Mints the id of a call that has none.
fn name_call(block: &mut Block, mint: &mut Mint) {
    if let Block::ToolUse(call) = block
        && call.id.is_empty()
    {
        call.id = mint.call_id();
    }
}

fn unreadable(problem: Unreadable) -> Failure {
    upstream(format!("the upstream's answer makes no sense: {problem}"))
}

fn upstream(message: impl Into<String>) -> Failure {
    let mut failure = Failure::new(FailureClass::Upstream, message);
    failure.origin = Some(Dialect::Anthropic);
    failure
}
