//! Writing an answer for a client.

use super::{ConverseResponse, Output};
use crate::bedrock::part::{PartWriter, Receiver};
use crate::bedrock::request::Message;
use crate::bedrock::{stop_reason, usage};
use crate::canonical::{
    Choice, Dialect, Extra, ForeignField, Inexpressible, Losses, Place, Response, Translated, Unsupported,
};

/// Writes an answer. It has no place for the model's name or its own.
///
/// # Errors
/// Names a part that its answers can't hold, unless `policy` drops it. Arguments that are no JSON object are refused under
/// either policy, since a client would call its tool with something else.
pub fn from_canonical(
    response: &Response,
    policy: Unsupported,
) -> Result<Translated<ConverseResponse>, Inexpressible> {
    let mut losses = Losses::of_answer(policy, response.origin, Dialect::Converse);
    let Response { origin, id: _, created: _, model: _, choices, usage, foreign } = response;
    let mut content = Vec::new();
    let (mut calls_tools, mut stop) = (false, None);
    for answer in choices {
        let Choice { index, parts, stop: reason, logprobs } = answer;
        if *index > 0 {
            // Nobody asked for it, since no request of this dialect can.
            losses.waive(format!("choices[{index}]"));
            continue;
        }
        if logprobs.is_some() {
            losses.waive("logprobs");
        }
        for (part, value) in parts.iter().enumerate() {
            let path = Place::Answer { choice: 0, part }.path(Dialect::Converse);
            let mut writer = PartWriter { receiver: Receiver::Client, losses: &mut losses };
            content.append(&mut writer.blocks(value, &path)?);
        }
        calls_tools = answer.calls_tools();
        stop = reason.as_ref();
    }
    let stop_reason = stop_reason::from_canonical(stop, *origin, calls_tools);
    let mut extra = own_fields(*origin, foreign, &mut losses);
    if let Some(stop) = stop {
        extra.extend(own_fields(*origin, &stop.foreign, &mut losses));
    }
    let message = Message { role: "assistant".to_owned(), content, extra: Extra::new() };
    let message = ConverseResponse {
        output: Some(Output { message: Some(message), extra: Extra::new() }),
        stop_reason: Some(stop_reason),
        usage: Some(usage::from_canonical(&usage.unwrap_or_default())),
        extra,
    };
    Ok(Translated { message, dropped: losses.into_dropped() })
}

/// The fields beside the answer that came from Bedrock; another dialect's are left out.
pub(in crate::bedrock) fn own_fields(
    origin: Dialect,
    foreign: &[ForeignField],
    losses: &mut Losses,
) -> Extra {
    losses.remarks(foreign, |_, _| origin == Dialect::Converse)
}
