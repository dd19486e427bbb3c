//! Answers, written.

use super::super::super::completion::{Completion, CompletionChoice};
use super::super::super::{Extra, FinishReason};
use super::super::shared::takes_foreign;
use super::super::{finish, usage};
use super::legacy_logprobs;
use crate::canonical::{
    Choice, Dialect, Envelope, Inexpressible, Losses, Part, Place, Response, Translated, Unsupported,
};

const TARGET: Dialect = Dialect::OpenAiCompletions;

/// Writes an answer.
///
/// # Errors
/// Where a completion has no words for a part and the caller did not say to drop.
pub fn from_canonical(
    response: &Response,
    envelope: &Envelope,
    policy: Unsupported,
) -> Result<Translated<Completion>, Inexpressible> {
    let Response { origin, id: _, created: _, model: _, choices, usage, foreign } = response;
    let mut losses = Losses::of_answer(policy, *origin, TARGET);
    let extra = losses.remarks(foreign, |origin, name| takes_foreign(TARGET, origin, name));
    let choices =
        choices.iter().map(|choice| write_choice(choice, *origin, &mut losses)).collect::<Result<_, _>>()?;
    let message = Completion {
        id: envelope.id.clone(),
        object: Completion::OBJECT.to_owned(),
        created: envelope.created,
        model: envelope.model.clone(),
        choices,
        usage: usage.as_ref().map(|usage| Some(usage::from_canonical(usage))),
        system_fingerprint: None,
        extra,
    };
    Ok(Translated { message, dropped: losses.into_dropped() })
}

fn write_choice(
    choice: &Choice,
    origin: Dialect,
    losses: &mut Losses,
) -> Result<CompletionChoice, Inexpressible> {
    let Choice { index, parts, stop, logprobs } = choice;
    let mut text = String::new();
    for (position, part) in parts.iter().enumerate() {
        let place = Place::Answer { choice: *index, part: position };
        text.push_str(said(part, place, losses)?);
    }
    if let Some(stop) = stop {
        losses.waive_all(&stop.foreign);
    }
    let reason = stop.as_ref().map(|stop| finish::from_canonical(&stop.reason, origin));
    Ok(CompletionChoice {
        index: *index,
        text,
        logprobs: logprobs.as_ref().map(|logprobs| legacy_logprobs::write(logprobs, &mut 0)),
        finish_reason: Some(reason.unwrap_or(FinishReason::Stop)),
        extra: Extra::new(),
    })
}

/// What a part says in plain text. Thinking was not asked for and is only reported; a refusal is text like another.
pub(super) fn said<'a>(part: &'a Part, place: Place, losses: &mut Losses) -> Result<&'a str, Inexpressible> {
    let path = place.path(losses.origin());
    match part {
        Part::Text(text) => {
            if !text.citations.is_empty() {
                losses.waive(format!("{path}.citations"));
            }
            if text.signature.is_some() {
                losses.waive(format!("{path}.signature"));
            }
            Ok(&text.text)
        }
        Part::Refusal(refusal) => Ok(refusal),
        Part::Thinking(_) | Part::RedactedThinking(_) => {
            losses.waive(path);
            Ok("")
        }
        Part::ToolCall(_)
        | Part::CustomCall(_)
        | Part::Image(_)
        | Part::Audio(_)
        | Part::Document(_)
        | Part::ToolResult(_) => {
            losses.lose(path, no_text(part))?;
            Ok("")
        }
        Part::Foreign(foreign) => {
            losses.lose_foreign_part(path, foreign, no_text(part))?;
            Ok("")
        }
    }
}

fn no_text(part: &Part) -> String {
    format!("a completion holds text and no {}: use chat completions", part.kind())
}
