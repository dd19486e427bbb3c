//! Messages, and their tokens counted.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Seen, name_span, says, unreadable};
use crate::anthropic::error;
use crate::anthropic::usage::{self, Usage};
use crate::canonical::{Dialect, Failure};
use crate::edit::Text;
use crate::lane::Operation;

const DIALECT: Dialect = Dialect::Anthropic;

/// Reads a stream. Each event says the counts that it knows, so they are kept.
#[derive(Debug, Default)]
pub(in crate::lane) struct Anthropic {
    usage: Usage,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Option<Text<'a>>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content_block: Option<Typed<'a>>,
    #[serde(borrow, default)]
    delta: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    partial_json: Option<&'a RawValue>,
    #[serde(borrow, default)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow, default)]
    stop_reason: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Option<Text<'a>>,
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input_tokens: Option<&'a RawValue>,
}

impl Anthropic {
    pub(super) fn event(&mut self, name: Option<&str>, data: &str) -> Result<Seen, Failure> {
        if name == Some("error") {
            return Err(error::to_canonical(200, None, data.as_bytes()));
        }
        let Event { kind, message, content_block, delta, usage, error } = parse(data)?;
        let kind = kind.as_ref().map_or("", |kind| &*kind.0);
        if kind == "error" || (kind.is_empty() && says(error)) {
            return Err(error::to_canonical(200, None, data.as_bytes()));
        }
        let mut seen = Seen::default();
        match kind {
            "message_start" => {
                let message: Message<'_> = parse(message.map_or("{}", RawValue::get))?;
                seen.model = name_span(data, message.model);
                self.count(message.usage, &mut seen);
            }
            "content_block_start" => {
                let block = content_block.as_ref().and_then(|block| block.kind.as_ref());
                // A text and a thought begin with their first words.
                seen.meaningful = block.is_some_and(|kind| !matches!(&*kind.0, "text" | "thinking"));
                seen.speaks = block.is_some_and(|kind| kind.0 == "tool_use");
            }
            "content_block_delta" => {
                let Delta { text, partial_json, thinking, stop_reason: _ } =
                    parse(delta.map_or("{}", RawValue::get))?;
                seen.speaks = says(text) || says(partial_json) || says(thinking);
                seen.meaningful = seen.speaks;
            }
            "message_delta" => {
                let Delta { stop_reason, .. } = parse(delta.map_or("{}", RawValue::get))?;
                seen.meaningful = says(stop_reason);
                self.count(usage, &mut seen);
            }
            "message_stop" => (seen.meaningful, seen.ends) = (true, true),
            // Pings, the end of a block, and what comes later.
            _ => {}
        }
        Ok(seen)
    }

    fn count(&mut self, usage: Option<&RawValue>, seen: &mut Seen) {
        // Figures that make no sense do not spoil the answer.
        if let Some(usage) = usage.and_then(|usage| serde_json::from_str::<Usage>(usage.get()).ok()) {
            seen.place = place(&usage);
            self.usage.update(usage);
            seen.usage = Some(usage::to_canonical(&self.usage));
        }
    }
}

pub(super) fn whole(operation: Operation, text: &str) -> Result<Seen, Failure> {
    let Message { kind, model, usage, error, content, input_tokens } = parse(text)?;
    if says(error) || kind.as_ref().is_some_and(|kind| kind.0 == "error") {
        return Err(error::to_canonical(200, None, text.as_bytes()));
    }
    let (there, name) = match operation {
        Operation::CountMessageTokens => (input_tokens.is_some(), "input_tokens"),
        _ => (content.is_some(), "content"),
    };
    if !there {
        return Err(unreadable(DIALECT, &format!("it has no `{name}`")));
    }
    let usage = usage.and_then(|usage| serde_json::from_str::<Usage>(usage.get()).ok());
    Ok(Seen {
        model: name_span(text, model),
        place: usage.as_ref().and_then(place),
        usage: usage.as_ref().map(usage::to_canonical),
        ..Seen::default()
    })
}

fn place(usage: &Usage) -> Option<Arc<str>> {
    usage.extra.get("inference_geo")?.as_str().map(Arc::from)
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| unreadable(DIALECT, &error.to_string()))
}
