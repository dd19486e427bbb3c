//! Answers.

use serde_json::Value;

use super::super::super::responses::{Item, ResponseObject};
use super::super::error;
use super::super::view::read as read_value;
use super::builder::{Builder, Echo};
use super::{items_in, usage};
use crate::canonical::{
    Choice, Dialect, Envelope, Failure, FailureClass, ForeignField, Inexpressible, Logprobs, Response, Stop,
    StopReason, TokenLogprob, Translated, Unreadable, Unsupported, keep_foreign, play,
};

const ORIGIN: Dialect = Dialect::OpenAiResponses;

/// Reads the body of a 200.
///
/// # Errors
/// Where it holds a failure after all, or is no answer.
pub fn read(body: &[u8]) -> Result<Response, Failure> {
    match serde_json::from_slice::<ResponseObject>(body) {
        Ok(answer) => to_canonical(answer),
        Err(problem) => {
            let inside =
                serde_json::from_slice::<Value>(body).ok().and_then(|json| json.get("error").cloned());
            match inside.filter(|error| !error.is_null()) {
                Some(error) => Err(error::in_answer(error, ORIGIN)),
                None => Err(unreadable(&problem.to_string())),
            }
        }
    }
}

/// The failure of an answer that says it failed.
pub(crate) fn failure_of_answer(body: &[u8]) -> Failure {
    read(body).err().unwrap_or_else(|| unreadable("it failed, and does not say why"))
}

/// An upstream's answer that makes no sense.
pub(super) fn unreadable(problem: &str) -> Failure {
    let mut failure =
        Failure::new(FailureClass::Upstream, format!("the upstream's answer can't be read: {problem}"));
    failure.origin = Some(ORIGIN);
    failure
}

/// Reads an answer.
///
/// # Errors
/// Where it failed, is not whole yet, or makes no sense.
pub fn to_canonical(answer: ResponseObject) -> Result<Response, Failure> {
    let ResponseObject {
        id,
        object: _,
        created_at,
        status,
        error,
        incomplete_details,
        model,
        output,
        usage,
        extra,
    } = answer;
    let reason = incomplete_details.map(|details| details.reason);
    let reason = ending(status.as_deref(), reason.as_deref(), error)?;
    let foreign = remarks(extra);
    let mut choice = Choice::default();
    let tokens = read_output(output, &mut choice).map_err(|problem| unreadable(&problem.to_string()))?;
    if !tokens.is_empty() {
        choice.logprobs = Some(Logprobs { content: tokens, refusal: Vec::new() });
    }
    choice.stop = Some(Stop::new(reason.with_calls(choice.calls_tools())));
    Ok(Response {
        origin: ORIGIN,
        id,
        created: created_at.and_then(seconds),
        model,
        choices: vec![choice],
        usage: usage.as_ref().map(usage::to_canonical),
        foreign,
    })
}

/// `created_at` is a whole number that some servers write as a fraction.
pub(super) fn seconds(created: serde_json::Number) -> Option<i64> {
    created.as_i64().or_else(|| created.as_f64().map(|seconds| seconds as i64))
}

/// What is no repetition of the request.
pub(super) fn remarks(mut extra: super::super::super::Extra) -> Vec<ForeignField> {
    extra.retain(|name, _| !Echo::holds(name));
    let mut foreign = Vec::new();
    keep_foreign("", extra, &mut foreign);
    foreign
}

/// Why an answer ended. One that failed is an error and no answer (BerriAI/litellm #36768).
pub(super) fn ending(
    status: Option<&str>,
    incomplete: Option<&str>,
    error: Option<Value>,
) -> Result<StopReason, Failure> {
    match status {
        Some("completed") | None => match error.filter(|error| !error.is_null()) {
            Some(error) => Err(error::in_answer(error, ORIGIN)),
            None => Ok(StopReason::EndTurn),
        },
        Some("incomplete") => Ok(match incomplete {
            Some("max_output_tokens") | None => StopReason::MaxTokens,
            Some("content_filter") => StopReason::ContentFilter,
            Some(other) => StopReason::Other(other.to_owned()),
        }),
        Some("failed") => Err(match error.filter(|error| !error.is_null()) {
            Some(error) => error::in_answer(error, ORIGIN),
            None => unreadable("it failed, and does not say why"),
        }),
        Some(other) => Err(unreadable(&format!("its status is `{other}`, which is no end"))),
    }
}

fn read_output(output: Vec<Value>, choice: &mut Choice) -> Result<Vec<TokenLogprob>, Unreadable> {
    let (mut tokens, mut ignored) = (Vec::new(), Vec::new());
    for (index, value) in output.into_iter().enumerate() {
        let path = format!("output[{index}]");
        let item: Item = read_value(value.clone(), &path)?;
        // Unknown fields of an item are a server's remarks.
        let said = items_in::model_item(item, value, &path, &mut choice.parts, &mut ignored)?;
        choice.parts.extend(said.parts.into_iter().filter(|part| !is_empty_text(part)));
        tokens.extend(said.logprobs);
    }
    Ok(tokens)
}

/// An empty text says nothing, and a stream of the same answer would not have it.
fn is_empty_text(part: &crate::canonical::Part) -> bool {
    matches!(part, crate::canonical::Part::Text(text) if text.text.is_empty() && text.citations.is_empty())
}

/// Log probabilities of a whole `output`; what makes no sense has none.
pub(super) fn logprobs_of(output: Vec<Value>) -> Vec<TokenLogprob> {
    read_output(output, &mut Choice::default()).unwrap_or_default()
}

/// Writes an answer; `echo` is what it repeats of its request.
///
/// # Errors
/// Where Responses has no words for a part and the caller did not say to drop.
pub fn from_canonical(
    response: &Response,
    envelope: &Envelope,
    echo: Echo,
    policy: Unsupported,
) -> Result<Translated<ResponseObject>, Inexpressible> {
    let mut builder = Builder::new(envelope.clone(), echo, policy);
    for event in play(response) {
        builder.take(&event)?;
    }
    let (message, dropped) = builder.into_response();
    Ok(Translated { message, dropped })
}
