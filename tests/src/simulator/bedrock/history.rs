//! The turns before: roles alternate, calls and results match, reasoning is as it was.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::REASONING;
use super::prompt::only;
use crate::simulator::error::Refusal;
use crate::simulator::model::Last;

const BLOCKS: [&str; 12] = [
    "audio",
    "cachePoint",
    "citationsContent",
    "document",
    "guardContent",
    "image",
    "reasoningContent",
    "searchResult",
    "text",
    "toolResult",
    "toolUse",
    "video",
];
const RESULTS: [&str; 6] = ["document", "image", "json", "searchResult", "text", "video"];

/// The one member of a union at `place`.
pub(super) fn one_of<'a>(place: &str, value: &Value, known: &[&'a str]) -> Result<&'a str, Refusal> {
    let names: Vec<&str> = value.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let found = match names.as_slice() {
        [name] => known.iter().find(|known| *known == name),
        _ => None,
    };
    found.copied().ok_or_else(|| {
        Refusal::bad(format!(
            "The value at {place} must have exactly one of the following members: {}. It has: {}",
            known.join(", "),
            names.join(", ")
        ))
    })
}

/// What the answer goes on from.
pub(super) fn last(messages: &[Value], has_tools: bool) -> Result<Last, Refusal> {
    let mut open: Vec<String> = Vec::new();
    let mut results: Vec<String> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let place = format!("messages.{index}");
        only(&format!("{place}."), message, &["role", "content"])?;
        let expected = if index % 2 == 0 { "user" } else { "assistant" };
        if message["role"] != expected {
            return Err(Refusal::bad(if index == 0 {
                "A conversation must start with a user message. Try again with a conversation that starts with a user \
                 message."
                    .to_owned()
            } else {
                format!(
                    "A conversation must alternate between user and assistant roles: {place}.role is not {expected}"
                )
            }));
        }
        let blocks = message["content"].as_array().filter(|blocks| !blocks.is_empty());
        let blocks = blocks.ok_or_else(|| Refusal::bad(format!("The content field at {place} is empty.")))?;
        let mut calls = Vec::new();
        let mut said: Vec<(String, String)> = Vec::new();
        for (at, block) in blocks.iter().enumerate() {
            let place = format!("{place}.content.{at}");
            match one_of(&place, block, &BLOCKS)? {
                "text" if block["text"].as_str().is_none_or(|text| text.trim().is_empty()) => {
                    let message = format!(
                        "The text field in the ContentBlock object at {place} is blank. Add text to the text field, and \
                         try again."
                    );
                    return Err(Refusal::bad(message));
                }
                "toolUse" => calls.push(call(&place, &block["toolUse"])?),
                "toolResult" => said.push(result(&place, &block["toolResult"])?),
                "reasoningContent" => reasoning(&place, &block["reasoningContent"])?,
                "image" => image(&place, &block["image"])?,
                _ => {}
            }
        }
        if !has_tools && (!calls.is_empty() || !said.is_empty()) {
            return Err(Refusal::bad(
                "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
            ));
        }
        results = answered(&place, &open, &said)?;
        open = calls;
    }
    if messages.len().is_multiple_of(2) {
        return Err(Refusal::bad(
            "This model does not support assistant message prefill. The conversation must end with a user message.",
        ));
    }
    Ok(if results.is_empty() { Last::Question } else { Last::Results(results) })
}

fn id(place: &str, value: &Value) -> Result<String, Refusal> {
    let id = value["toolUseId"].as_str().unwrap_or_default();
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "_-.:".contains(letter);
    if id.is_empty() || id.len() > 64 || !id.chars().all(fits) {
        let message = format!(
            "1 validation error detected: Value '{id}' at '{place}.toolUseId' failed to satisfy constraint: Member must \
             satisfy regular expression pattern: [a-zA-Z0-9_.:-]+"
        );
        return Err(Refusal::bad(message));
    }
    Ok(id.to_owned())
}

fn call(place: &str, call: &Value) -> Result<String, Refusal> {
    let place = format!("{place}.toolUse");
    only(&format!("{place}."), call, &["toolUseId", "name", "input", "type"])?;
    if !call["input"].is_object() {
        let message = format!(
            "The format of the value at {place}.input is invalid. Provide a json object for the field and try again."
        );
        return Err(Refusal::bad(message));
    }
    id(&place, call)
}

fn result(place: &str, result: &Value) -> Result<(String, String), Refusal> {
    let place = format!("{place}.toolResult");
    only(&format!("{place}."), result, &["toolUseId", "content", "status", "type"])?;
    if !matches!(result["status"].as_str(), None | Some("success" | "error")) {
        return Err(Refusal::bad(format!("The value at {place}.status is no status")));
    }
    let mut text = String::new();
    for (at, part) in result["content"].as_array().into_iter().flatten().enumerate() {
        match one_of(&format!("{place}.content.{at}"), part, &RESULTS)? {
            "text" => text.push_str(part["text"].as_str().unwrap_or_default()),
            "json" if !part["json"].is_object() => {
                return Err(Refusal::bad(format!(
                    "The format of the value at {place}.content.{at}.json is invalid. Provide a json object for the field \
                     and try again."
                )));
            }
            "json" => text.push_str(&part["json"].to_string()),
            "image" => image(&place, &part["image"])?,
            _ => {}
        }
    }
    Ok((id(&place, result)?, text))
}

fn reasoning(place: &str, content: &Value) -> Result<(), Refusal> {
    let place = format!("{place}.reasoningContent");
    if one_of(&place, content, &["reasoningText", "redactedContent"])? == "redactedContent" {
        return Err(Refusal::bad(format!("{place}.redactedContent is not this model's")));
    }
    let said = &content["reasoningText"];
    only(&format!("{place}.reasoningText."), said, &["text", "signature"])?;
    let text = said["text"].as_str().unwrap_or_default();
    match said["signature"].as_str() {
        Some(signature) if !REASONING.holds(signature, text) => {
            Err(Refusal::bad(format!("Invalid `signature` in `{place}`")))
        }
        Some(_) | None => Ok(()),
    }
}

fn image(place: &str, image: &Value) -> Result<(), Refusal> {
    only(&format!("{place}.image."), image, &["format", "source"])?;
    let known = matches!(image["format"].as_str(), Some("png" | "jpeg" | "gif" | "webp"));
    let bytes = image["source"]["bytes"].as_str();
    if !known || bytes.is_none_or(|bytes| STANDARD.decode(bytes).is_err()) {
        return Err(Refusal::bad(format!("The image at {place} could not be read. Provide a valid image.")));
    }
    Ok(())
}

/// What was said to the calls, in their order.
fn answered(place: &str, open: &[String], said: &[(String, String)]) -> Result<Vec<String>, Refusal> {
    let missing: Vec<&str> =
        open.iter().filter(|call| !said.iter().any(|(id, _)| id == *call)).map(String::as_str).collect();
    if !missing.is_empty() {
        return Err(Refusal::bad(format!(
            "Expected toolResult blocks at {place}.content for the following Ids: {}",
            missing.join(", ")
        )));
    }
    if said.len() > open.len() {
        return Err(Refusal::bad(format!(
            "The number of toolResult blocks at {place}.content exceeds the number of toolUse blocks of previous turn."
        )));
    }
    let of = |call: &String| said.iter().find(|(id, _)| id == call).map(|(_, text)| text.clone());
    Ok(open.iter().filter_map(of).collect())
}
