//! Answers. This file reads them; `response_out` writes them.

use serde_json::Value;

use super::super::super::chat::{ChatChoice, ChatCompletion, ResponseMessage};
use super::super::{error, finish, logprobs, usage};
pub use super::response_out::from_canonical;
use super::{annotations, calls, reasoning, remarks};
use crate::canonical::{
    Choice, Dialect, Failure, FailureClass, ForeignField, Mint, Part, Response, Stop, Unreadable,
    keep_foreign,
};

const ORIGIN: Dialect = Dialect::OpenAiChat;

/// Reads the body of a 200.
///
/// # Errors
/// Where it holds an error after all, or is no answer.
pub fn read(body: &[u8], mint: &mut Mint) -> Result<Response, Failure> {
    match serde_json::from_slice::<ChatCompletion>(body) {
        Ok(answer) => to_canonical(answer, mint),
        Err(problem) => Err(no_answer(body, &problem)),
    }
}

fn no_answer(body: &[u8], problem: &serde_json::Error) -> Failure {
    let inside = serde_json::from_slice::<Value>(body).ok().and_then(|json| json.get("error").cloned());
    match inside.filter(|error| !error.is_null()) {
        Some(error) => error::in_answer(error, ORIGIN),
        None => unreadable(&problem.to_string()),
    }
}

/// An upstream's answer that makes no sense.
pub(super) fn unreadable(problem: &str) -> Failure {
    let mut failure =
        Failure::new(FailureClass::Upstream, format!("the upstream's answer can't be read: {problem}"));
    failure.origin = Some(ORIGIN);
    failure
}

/// Reads an answer. Calls that came without an id get one from `mint`.
///
/// # Errors
/// Where it holds an error after all, or makes no sense.
pub fn to_canonical(answer: ChatCompletion, mint: &mut Mint) -> Result<Response, Failure> {
    let ChatCompletion { id, object: _, created, model, choices, usage, system_fingerprint, mut extra } =
        answer;
    if let Some(error) = extra.shift_remove("error").filter(|error| !error.is_null()) {
        return Err(error::in_answer(error, ORIGIN));
    }
    let mut foreign = Vec::new();
    if let Some(fingerprint) = system_fingerprint {
        extra.insert("system_fingerprint".into(), fingerprint.into());
    }
    keep_foreign("", extra, &mut foreign);
    let choices = choices
        .into_iter()
        .map(|choice| read_choice(choice, mint, &mut foreign))
        .collect::<Result<_, _>>()
        .map_err(|problem| unreadable(&problem.to_string()))?;
    let usage = usage.as_ref().map(usage::to_canonical);
    Ok(Response { origin: ORIGIN, id, created: Some(created), model, choices, usage, foreign })
}

fn read_choice(
    choice: ChatChoice,
    mint: &mut Mint,
    foreign: &mut Vec<ForeignField>,
) -> Result<Choice, Unreadable> {
    let ChatChoice { index, message, logprobs, finish_reason, extra } = choice;
    let mut remarks = Vec::new();
    keep_foreign(&remarks::of_choice(index), extra, &mut remarks);
    let path = remarks::of_message(index);
    let ResponseMessage { role: _, content, refusal, mut extra } = message;
    // An empty text says nothing, and a stream of the same answer would not have it.
    let said = content.filter(|text| !text.is_empty());
    let mut parts: Vec<Part> = said.map(Part::text).into_iter().collect();
    annotations::attach(annotations::take_annotations(&mut extra, &path)?, &mut parts);
    parts.extend(refusal.filter(|text| !text.is_empty()).map(Part::Refusal));
    let reasoning = reasoning::take_reasoning(&mut extra, &path)?;
    parts.extend(calls::take_calls(&mut extra, &path, Some(mint), &mut remarks)?);
    reasoning.place(&mut parts);
    keep_foreign(&path, extra, &mut remarks);
    let mut choice = Choice { index, parts, stop: None, logprobs: logprobs.map(logprobs::to_canonical) };
    let calls_tools = choice.calls_tools();
    match finish_reason {
        Some(reason) => {
            let reason = finish::to_canonical(reason).with_calls(calls_tools);
            choice.stop = Some(Stop { foreign: remarks, ..Stop::new(reason) });
        }
        None => foreign.extend(remarks),
    }
    Ok(choice)
}
