//! The turns before: calls and results must match, thinking must be as it was.

use serde_json::Value;

use super::{REDACTED, THINKING};
use crate::simulator::error::Refusal;
use crate::simulator::model::Last;

/// What the answer goes on from.
pub(super) fn last(messages: &[Value], thinking: bool) -> Result<Last, Refusal> {
    let mut open: Vec<String> = Vec::new();
    let mut results: Vec<(usize, String)> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        results.clear();
        let blocks = blocks(index, &message["content"])?;
        match message["role"].as_str() {
            Some("assistant") => {
                unanswered(index, &open)?;
                thoughts(index, blocks)?;
                open = calls(index, blocks)?;
                let goes_on = messages.get(index + 1).is_some_and(|next| {
                    next["content"]
                        .as_array()
                        .is_some_and(|all| all.iter().any(|one| one["type"] == "tool_result"))
                });
                // Only the turn that the answer goes on with is looked at.
                if thinking && goes_on && index + 2 == messages.len() {
                    thinks_first(index, blocks)?;
                }
            }
            Some("user") => results = take_results(index, blocks, &mut open)?,
            other => {
                let other = other.unwrap_or_default();
                let message = format!(
                    "messages.{index}.role: Unexpected role \"{other}\". Allowed roles are \"user\" or \
                     \"assistant\"."
                );
                return Err(Refusal::bad(message));
            }
        }
    }
    unanswered(messages.len(), &open)?;
    results.sort_by_key(|(place, _)| *place);
    let texts: Vec<String> = results.into_iter().map(|(_, text)| text).collect();
    Ok(if texts.is_empty() { Last::Question } else { Last::Results(texts) })
}

/// The blocks of a message's content; none where it is a text.
fn blocks(index: usize, content: &Value) -> Result<&[Value], Refusal> {
    let empty = || Err(Refusal::bad(format!("messages.{index}: all messages must have non-empty content")));
    match content {
        Value::String(text) if !text.is_empty() => Ok(&[]),
        Value::Array(blocks) if !blocks.is_empty() => {
            let blank = |block: &Value| {
                block["type"] == "text" && block["text"].as_str().is_none_or(|text| text.trim().is_empty())
            };
            if blocks.iter().any(blank) {
                return Err(Refusal::bad("messages: text content blocks must contain non-whitespace text"));
            }
            Ok(blocks)
        }
        _ => empty(),
    }
}

fn unanswered(index: usize, open: &[String]) -> Result<(), Refusal> {
    if open.is_empty() {
        return Ok(());
    }
    let before = index.saturating_sub(1);
    let ids = open.join(", ");
    Err(Refusal::bad(format!(
        "messages.{before}: `tool_use` ids were found without `tool_result` blocks immediately after: {ids}. \
         Each `tool_use` block must have a corresponding `tool_result` block in the next message."
    )))
}

fn thoughts(index: usize, blocks: &[Value]) -> Result<(), Refusal> {
    for (at, block) in blocks.iter().enumerate() {
        let text = |name: &str| block[name].as_str().unwrap_or_default();
        let holds = match block["type"].as_str() {
            Some("thinking") => THINKING.holds(text("signature"), text("thinking")),
            Some("redacted_thinking") => REDACTED.holds(text("data"), ""),
            Some(_) | None => true,
        };
        if !holds {
            let field = if block["type"] == "thinking" { "signature" } else { "data" };
            let message =
                format!("messages.{index}.content.{at}: Invalid `{field}` in `{}` block", text("type"));
            return Err(Refusal::bad(message));
        }
    }
    Ok(())
}

fn calls(index: usize, blocks: &[Value]) -> Result<Vec<String>, Refusal> {
    let mut ids = Vec::new();
    for (at, block) in blocks.iter().enumerate().filter(|(_, block)| block["type"] == "tool_use") {
        let id = block["id"].as_str().unwrap_or_default();
        let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
        if id.is_empty() || !id.chars().all(fits) {
            return Err(Refusal::bad(format!(
                "messages.{index}.content.{at}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
            )));
        }
        if !block["input"].is_object() {
            return Err(Refusal::bad(format!(
                "messages.{index}.content.{at}.tool_use.input: Input should be an object"
            )));
        }
        ids.push(id.to_owned());
    }
    Ok(ids)
}

fn thinks_first(index: usize, blocks: &[Value]) -> Result<(), Refusal> {
    let first = blocks.first().and_then(|block| block["type"].as_str()).unwrap_or("text");
    if matches!(first, "thinking" | "redacted_thinking") {
        return Ok(());
    }
    Err(Refusal::bad(format!(
        "messages.{index}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{first}`. \
         When `thinking` is enabled, a final `assistant` message must start with a thinking block (preceeding \
         the lastmost set of `tool_use` and `tool_result` blocks)."
    )))
}

/// The results in a message, each with its call's place.
fn take_results(
    index: usize,
    blocks: &[Value],
    open: &mut Vec<String>,
) -> Result<Vec<(usize, String)>, Refusal> {
    let asked = open.clone();
    let mut results = Vec::new();
    for (at, block) in blocks.iter().enumerate().filter(|(_, block)| block["type"] == "tool_result") {
        let id = block["tool_use_id"].as_str().unwrap_or_default();
        let Some(place) = open.iter().position(|call| call == id) else {
            return Err(Refusal::bad(format!(
                "messages.{index}.content.{at}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. \
                 Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
            )));
        };
        open.remove(place);
        let place = asked.iter().position(|call| call == id).unwrap_or_default();
        let text = match &block["content"] {
            Value::String(text) => text.clone(),
            Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
            _ => String::new(),
        };
        results.push((place, text));
    }
    unanswered(index, open)?;
    Ok(results)
}
