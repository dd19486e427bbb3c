//! What chat and Responses have in common: the fields that they know, texts in parts, cached halves.

use serde_json::Value;

use crate::simulator::asked::Asked;
use crate::simulator::error::Refusal;
use crate::simulator::model::{Cache, Choice, Image, count_tokens};

/// When every answer was made.
pub(super) const CREATED: u64 = 1_764_000_000;

/// Refuses the first field of `body` that is not `known`.
pub(super) fn only(body: &Value, known: &[&str]) -> Result<(), Refusal> {
    let unknown = body.as_object().into_iter().flatten().find(|(name, _)| !known.contains(&name.as_str()));
    unknown.map_or(Ok(()), |(name, _)| {
        let message = format!("Unknown parameter: '{name}'.");
        Err(Refusal { code: Some("unknown_parameter"), ..Refusal::at(message, name) })
    })
}

/// Refuses a number outside of `range`.
pub(super) fn within(body: &Value, name: &str, range: std::ops::RangeInclusive<f64>) -> Result<(), Refusal> {
    match &body[name] {
        Value::Null => Ok(()),
        Value::Number(number) if number.as_f64().is_some_and(|number| range.contains(&number)) => Ok(()),
        value => {
            let message = format!(
                "Invalid '{name}': expected a number between {} and {}, got {value}.",
                range.start(),
                range.end()
            );
            Err(Refusal { code: Some("invalid_value"), ..Refusal::at(message, name) })
        }
    }
}

/// The text of a message's content, be it text or parts.
pub(super) fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts =
                parts.iter().filter_map(|part| part.get("text").or_else(|| part.get("refusal"))?.as_str());
            texts.collect()
        }
        _ => String::new(),
    }
}

/// `tool_choice`; the two APIs differ in where a name stands.
pub(super) fn choice(choice: &Value, name: &str) -> Choice {
    match choice.as_str() {
        Some("none") => Choice::None,
        Some("required") => Choice::Any,
        Some(_) | None => {
            let named = choice.pointer(name).and_then(Value::as_str);
            named.map_or(Choice::Auto, |name| Choice::Named(name.to_owned()))
        }
    }
}

/// What all prompts of this account begin with is cached under the caller's key.
pub(super) fn cache(asked: &Asked) -> Option<Cache> {
    let key = asked.body.get("prompt_cache_key")?.as_str()?;
    Some(Cache { key: format!("openai {} {key}", asked.model), an_hour: false })
}

/// Tokens of everything that a model reads of a request.
pub(super) fn tokens<'a>(parts: impl IntoIterator<Item = &'a Value>) -> u64 {
    let count = |value: &Value| match value {
        Value::Null => 0,
        Value::String(text) => count_tokens(text),
        other => count_tokens(&other.to_string()),
    };
    parts.into_iter().map(count).sum()
}

/// The images in messages or items, each of which `url` finds in its part.
pub(super) fn images<'a>(
    said: impl IntoIterator<Item = &'a Value>,
    url: impl Fn(&'a Value) -> Option<&'a str>,
) -> Result<Vec<Image>, Refusal> {
    let parts = said.into_iter().filter_map(|said| said["content"].as_array()).flatten();
    let read = |url: &str| {
        Image::of_url(url).ok_or_else(|| Refusal {
            code: Some("invalid_base64"),
            ..Refusal::bad("Invalid base64 image_url: expected a data URL of base64.")
        })
    };
    parts.filter_map(url).map(read).collect()
}
