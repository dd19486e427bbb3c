//! A Responses request, read as strictly as OpenAI reads it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::fields::{cache, choice, images, only, text_of, tokens, within};
use super::responses::{ENCRYPTED, reasoning_of};
use crate::simulator::asked::Asked;
use crate::simulator::error::Refusal;
use crate::simulator::model::{Last, Prompt, Tool};
use crate::simulator::state::State;

const KNOWN: [&str; 34] = [
    "access_programs",
    "background",
    "background_options",
    "context_management",
    "conversation",
    "image",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "moderation",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
];

/// The request's prompt, and its items after those of the answer that it goes on from.
pub(super) fn prompt(state: &State, asked: &Asked) -> Result<(Prompt, Vec<Value>), Refusal> {
    let body = &asked.body;
    only(body, &KNOWN)?;
    within(body, "temperature", 0.0..=2.0)?;
    within(body, "top_p", 0.0..=1.0)?;
    let mut items = match body["previous_response_id"].as_str() {
        None => Vec::new(),
        Some(id) => state.stored(id).ok_or_else(|| {
            let message = format!("Previous response with id '{id}' not found.");
            Refusal {
                code: Some("previous_response_not_found"),
                ..Refusal::at(message, "previous_response_id")
            }
        })?,
    };
    match &body["input"] {
        Value::String(text) => items.push(json!({"role": "user", "content": text})),
        Value::Array(input) => {
            for item in input {
                items.extend(referred(state, item)?);
            }
        }
        _ => {
            return Err(Refusal {
                code: Some("missing_required_parameter"),
                ..Refusal::at("Missing required parameter: 'input'.", "input")
            });
        }
    }
    let last = last(&items)?;
    let tools = body["tools"].as_array().into_iter().flatten().enumerate().map(|(index, tool)| {
        let name = tool["name"].as_str().ok_or_else(|| {
            let param = format!("tools[{index}].name");
            let message = format!("Missing required parameter: '{param}'.");
            Refusal { code: Some("missing_required_parameter"), ..Refusal::at(message, &param) }
        })?;
        let schema = tool.get("parameters").filter(|schema| !schema.is_null()).cloned();
        Ok(Tool { name: name.to_owned(), schema: schema.unwrap_or_else(|| json!({"type": "object"})) })
    });
    let tools = tools.collect::<Result<Vec<_>, Refusal>>()?;
    let reasoning = &body["reasoning"];
    let thinking =
        reasoning["effort"].as_str().map_or(!reasoning["summary"].is_null(), |effort| effort != "none");
    let read = items.iter().map(|item| item.get("content").or_else(|| item.get("output")).unwrap_or(item));
    let prompt = Prompt {
        tools,
        choice: choice(&body["tool_choice"], "/name"),
        parallel: body["parallel_tool_calls"] != false,
        last,
        images: images(&items, |part| part["image_url"].as_str())?,
        schema: schema(&body["text"]["format"])?,
        thinking,
        limit: body["max_output_tokens"].as_u64(),
        stops: Vec::new(),
        tokens: tokens(read.chain([&body["instructions"], &body["tools"]])),
        cache: cache(asked),
    };
    Ok((prompt, items))
}

/// The item, or the one that it refers to.
fn referred(state: &State, item: &Value) -> Result<Vec<Value>, Refusal> {
    if item["type"] != "item_reference" {
        return Ok(vec![item.clone()]);
    }
    let id = item["id"].as_str().unwrap_or_default();
    state.stored(id).ok_or_else(|| Refusal::new(404, format!("Item with id '{id}' not found.")))
}

fn schema(format: &Value) -> Result<Option<Value>, Refusal> {
    match format["type"].as_str() {
        None | Some("text") => Ok(None),
        Some("json_object") => Ok(Some(json!({"properties": {"answer": {"type": "string"}}}))),
        Some("json_schema") => {
            let missing = |field: &str| {
                let name = format!("text.format.{field}");
                let message = format!("Missing required parameter: '{name}'.");
                Refusal { code: Some("missing_required_parameter"), ..Refusal::at(message, &name) }
            };
            format["name"].as_str().ok_or_else(|| missing("name"))?;
            Ok(Some(format.get("schema").ok_or_else(|| missing("schema"))?.clone()))
        }
        Some(other) => Err(Refusal::at(format!("Invalid value: '{other}'."), "text.format.type")),
    }
}

/// What the tools said last, once calls and outputs are known to match and reasoning to be whole.
fn last(items: &[Value]) -> Result<Last, Refusal> {
    let ids: BTreeSet<&str> = items.iter().filter_map(|item| item["id"].as_str()).collect();
    let mut open: BTreeMap<&str, usize> = BTreeMap::new();
    let mut results: Vec<(usize, String)> = Vec::new();
    for (place, item) in items.iter().enumerate() {
        let call_id = item["call_id"].as_str().unwrap_or_default();
        match item["type"].as_str().unwrap_or("message") {
            "function_call" => {
                needs_reasoning(item, &ids)?;
                open.insert(call_id, place);
            }
            "function_call_output" => {
                let place = open.remove(call_id).ok_or_else(|| {
                    let message =
                        format!("No tool call found for function call output with call_id {call_id}.");
                    Refusal::at(message, "input")
                })?;
                results.push((place, text_of(&item["output"])));
            }
            "reasoning" => whole_reasoning(item, items.get(place + 1))?,
            "message" => results.clear(),
            other => {
                let param = format!("input[{place}].type");
                let message = format!("Invalid value: '{other}'.");
                return Err(Refusal { code: Some("invalid_value"), ..Refusal::at(message, &param) });
            }
        }
    }
    if let Some(id) = open.keys().next() {
        return Err(Refusal::at(format!("No tool output found for function call {id}."), "input"));
    }
    results.sort_by_key(|(place, _)| *place);
    let texts: Vec<String> = results.into_iter().map(|(_, text)| text).collect();
    Ok(if texts.is_empty() { Last::Question } else { Last::Results(texts) })
}

fn needs_reasoning(item: &Value, ids: &BTreeSet<&str>) -> Result<(), Refusal> {
    let id = item["id"].as_str().unwrap_or_default();
    match reasoning_of(id) {
        Some(reasoning) if !ids.contains(reasoning.as_str()) => Err(Refusal::at(
            format!(
                "Item '{id}' of type 'function_call' was provided without its required 'reasoning' item: \
                 '{reasoning}'."
            ),
            "input",
        )),
        Some(_) | None => Ok(()),
    }
}

fn whole_reasoning(item: &Value, next: Option<&Value>) -> Result<(), Refusal> {
    let id = item["id"].as_str().unwrap_or_default();
    if next.is_none_or(|next| next["type"] == "function_call_output") {
        let message =
            format!("Item '{id}' of type 'reasoning' was provided without its required following item.");
        return Err(Refusal::at(message, "input"));
    }
    match item["encrypted_content"].as_str() {
        Some(content) if !ENCRYPTED.holds(content, "") => {
            let message = format!(
                "The encrypted content for item {id} could not be verified. Reason: Encrypted content could not \
                 be decrypted or parsed."
            );
            Err(Refusal { code: Some("invalid_encrypted_content"), ..Refusal::bad(message) })
        }
        Some(_) | None => Ok(()),
    }
}
