//! Responses.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Seen, name_span, says, unreadable};
use crate::canonical::{Dialect, Failure, Usage};
use crate::edit::Text;
use crate::openai::responses::ResponsesUsage;
use crate::openai::translate::responses::{failure_of_answer, failure_of_event, usage};

const DIALECT: Dialect = Dialect::OpenAiResponses;

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Option<Text<'a>>,
    #[serde(borrow, default)]
    response: Option<&'a RawValue>,
    #[serde(borrow, default)]
    item: Option<Item<'a>>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    delta: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output: Option<&'a RawValue>,
}

pub(super) fn event(name: Option<&str>, data: &str) -> Result<Seen, Failure> {
    let event: Event<'_> =
        serde_json::from_str(data).map_err(|error| unreadable(DIALECT, &error.to_string()))?;
    let Event { kind, response, item, error, delta } = event;
    let kind = kind.as_ref().map_or("", |kind| &*kind.0);
    let errs = kind == "error" || name == Some("error");
    if errs || (!kind.starts_with("response.") && says(error)) {
        return Err(failure_of_event(data.as_bytes()));
    }
    let mut seen = Seen::default();
    if let Some(response) = response.filter(|response| response.get() != "null") {
        let answer = answer(response.get())?;
        if kind == "response.failed" {
            return Err(failure_of_answer(response.get().as_bytes()));
        }
        seen.model = name_span(data, answer.model);
        seen.usage = counts(&answer);
    } else if kind == "response.failed" {
        return Err(unreadable(DIALECT, "it failed, and does not say why"));
    }
    let item = item.as_ref().and_then(|item| item.kind.as_ref()).map(|kind| &*kind.0);
    match kind {
        "response.completed" | "response.incomplete" => (seen.meaningful, seen.ends) = (true, true),
        "response.output_item.added" | "response.output_item.done" => {
            // A message and a thought begin with their first words; everything else is there with its item.
            let opens = kind == "response.output_item.added";
            let waits = matches!(item, Some("message" | "reasoning") | None);
            seen.meaningful = !(opens && waits);
            seen.speaks = opens && item == Some("function_call");
        }
        _ => seen.speaks = kind.ends_with(".delta") && delta.is_some_and(|delta| delta.get() != r#""""#),
    }
    seen.meaningful |= seen.speaks;
    Ok(seen)
}

pub(super) fn whole(text: &str) -> Result<Seen, Failure> {
    let answer = answer(text)?;
    let failed = answer.status.is_some_and(|status| status.get() == r#""failed""#);
    if failed || says(answer.error) {
        return Err(failure_of_answer(text.as_bytes()));
    }
    if answer.output.is_none() {
        return Err(unreadable(DIALECT, "it has no `output`"));
    }
    let model = name_span(text, answer.model);
    Ok(Seen { model, usage: counts(&answer), ..Seen::default() })
}

fn answer(text: &str) -> Result<Answer<'_>, Failure> {
    serde_json::from_str(text).map_err(|error| unreadable(DIALECT, &error.to_string()))
}

fn counts(answer: &Answer<'_>) -> Option<Usage> {
    let usage: ResponsesUsage = serde_json::from_str(answer.usage?.get()).ok()?;
    Some(usage::to_canonical(&usage))
}
