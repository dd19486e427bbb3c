//! Writing an answer for a client.

use super::MessagesResponse;
use crate::anthropic::part::{PartWriter, Receiver};
use crate::anthropic::stop_reason;
use crate::anthropic::usage::{self, own_extra};
use crate::canonical::{
    Choice, Dialect, Envelope, Extra, ForeignField, Inexpressible, Losses, Part, Place, Response, Translated,
    Unsupported,
};

/// Writes an answer. What the client never asked for (log probabilities, another dialect's own fields) goes without
/// being refused: it is no reason to withhold an answer.
///
/// # Errors
/// Names a part that Anthropic's answers can't hold, unless `policy` drops it. Arguments that are no JSON object are
/// refused under either policy, since a client would call its tool with something else.
pub fn from_canonical(
    response: &Response,
    envelope: &Envelope,
    policy: Unsupported,
) -> Result<Translated<MessagesResponse>, Inexpressible> {
    let mut losses = Losses::of_answer(policy, response.origin, Dialect::Anthropic);
    let Response { origin, id: _, created: _, model: _, choices, usage, foreign } = response;
    let Envelope { id, created: _, model } = envelope;
    let mut content = Vec::new();
    let (mut calls_tools, mut refuses, mut stop) = (false, false, None);
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
        for (index, part) in parts.iter().enumerate() {
            let mut writer = PartWriter { receiver: Receiver::Client, losses: &mut losses };
            content.extend(writer.block(part, &place(index))?);
        }
        calls_tools = answer.calls_tools();
        refuses = parts.iter().any(|part| matches!(part, Part::Refusal(_)));
        stop = reason.as_ref();
    }
    let (stop_reason, stop_sequence) = stop_reason::from_canonical(stop, *origin, calls_tools, refuses);
    let mut counts = usage::from_canonical(&usage.unwrap_or_default());
    counts.extra = own_extra(*origin, foreign);
    let mut extra = own_fields(*origin, foreign, &mut losses);
    if let Some(stop) = stop {
        extra.extend(own_fields(*origin, &stop.foreign, &mut losses));
    }
    let message = MessagesResponse {
        id: id.clone(),
        kind: "message".to_owned(),
        role: "assistant".to_owned(),
        model: model.clone(),
        content: Some(content),
        stop_reason: Some(stop_reason),
        stop_sequence,
        usage: Some(counts),
        error: None,
        request_id: None,
        extra,
    };
    Ok(Translated { message, dropped: losses.into_dropped() })
}

fn place(part: usize) -> String {
    Place::Answer { choice: 0, part }.path(Dialect::Anthropic)
}

/// The fields beside the answer that came from Anthropic; another dialect's are left out.
pub(in crate::anthropic) fn own_fields(
    origin: Dialect,
    foreign: &[ForeignField],
    losses: &mut Losses,
) -> Extra {
    let mut own = Extra::new();
    for field in foreign {
        match (origin, field.parent.as_str()) {
            (Dialect::Anthropic, "") => {
                own.insert(field.name.clone(), field.value.clone());
            }
            (Dialect::Anthropic, usage::PARENT) => {}
            _ => losses.waive(field.path()),
        }
    }
    own
}
