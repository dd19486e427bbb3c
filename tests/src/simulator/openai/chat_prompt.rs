//! A chat request, read as strictly as OpenAI reads it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::fields::{cache, choice, images, only, text_of, tokens, within};
use crate::simulator::asked::Asked;
use crate::simulator::error::Refusal;
use crate::simulator::model::{Last, Prompt, Tool};

const KNOWN: [&str; 37] = [
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "metadata",
    "modalities",
    "model",
    "moderation",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
];

/// Reads the request.
pub(super) fn prompt(asked: &Asked) -> Result<Prompt, Refusal> {
    let body = &asked.body;
    only(body, &KNOWN)?;
    within(body, "temperature", 0.0..=2.0)?;
    within(body, "top_p", 0.0..=1.0)?;
    within(body, "n", 1.0..=1.0)?;
    let messages = body["messages"].as_array().filter(|messages| !messages.is_empty());
    let messages = messages.ok_or_else(|| {
        Refusal::at("Invalid 'messages': empty array. Expected an array with minimum length 1.", "messages")
    })?;
    let last = results(messages)?;
    let tools = body["tools"].as_array().into_iter().flatten().map(tool).collect::<Result<Vec<_>, _>>()?;
    let chosen = choice(&body["tool_choice"], "/function/name");
    if tools.is_empty() && !body["tool_choice"].is_null() {
        return Err(Refusal::at("'tool_choice' is only allowed when 'tools' are specified.", "tool_choice"));
    }
    let effort = body["reasoning_effort"].as_str();
    if effort.is_some_and(|effort| effort != "none") && !body["max_tokens"].is_null() {
        let message = "Unsupported parameter: 'max_tokens' is not supported with this model. Use \
                       'max_completion_tokens' instead.";
        return Err(Refusal { code: Some("unsupported_parameter"), ..Refusal::at(message, "max_tokens") });
    }
    Ok(Prompt {
        tools,
        choice: chosen,
        parallel: body["parallel_tool_calls"] != false,
        last,
        images: images(messages, |part| part.pointer("/image_url/url")?.as_str())?,
        schema: schema(&body["response_format"])?,
        thinking: effort.is_some_and(|effort| effort != "none"),
        limit: body["max_completion_tokens"].as_u64().or(body["max_tokens"].as_u64()),
        stops: stops(&body["stop"]),
        tokens: tokens(messages.iter().map(|message| &message["content"]).chain([&body["tools"]])),
        cache: cache(asked),
    })
}

pub(super) fn stops(stop: &Value) -> Vec<String> {
    match stop {
        Value::Array(stops) => stops.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        one => one.as_str().map(str::to_owned).into_iter().collect(),
    }
}

fn tool(tool: &Value) -> Result<Tool, Refusal> {
    let name = tool.pointer("/function/name").and_then(Value::as_str);
    let name =
        name.ok_or_else(|| Refusal::at("Missing required parameter: 'tools[0].function.name'.", "tools"))?;
    let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
        let message = "Invalid 'tools[0].function.name': string does not match pattern. Expected a string that \
                       matches the pattern '^[a-zA-Z0-9_-]+$'.";
        return Err(Refusal {
            code: Some("invalid_value"),
            ..Refusal::at(message, "tools[0].function.name")
        });
    }
    let schema = tool.pointer("/function/parameters").cloned().unwrap_or_else(|| json!({"type": "object"}));
    Ok(Tool { name: name.to_owned(), schema })
}

fn schema(format: &Value) -> Result<Option<Value>, Refusal> {
    match format["type"].as_str() {
        None | Some("text") => Ok(None),
        Some("json_object") => Ok(Some(json!({"properties": {"answer": {"type": "string"}}}))),
        Some("json_schema") => {
            let missing = |field: &str| {
                let name = format!("response_format.json_schema.{field}");
                let message = format!("Missing required parameter: '{name}'.");
                Refusal { code: Some("missing_required_parameter"), ..Refusal::at(message, &name) }
            };
            let wanted = &format["json_schema"];
            wanted["name"].as_str().ok_or_else(|| missing("name"))?;
            Ok(Some(wanted.get("schema").ok_or_else(|| missing("schema"))?.clone()))
        }
        Some(other) => Err(Refusal::at(format!("Invalid value: '{other}'."), "response_format.type")),
    }
}

/// What the tools said last, once every call is known to be answered and every answer to have a call.
fn results(messages: &[Value]) -> Result<Last, Refusal> {
    let mut open: BTreeMap<String, usize> = BTreeMap::new();
    let mut results: Vec<(usize, String)> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let param = format!("messages.[{index}].role");
        if message["role"] == "tool" {
            let id = message["tool_call_id"].as_str().unwrap_or_default();
            let place = open.remove(id).ok_or_else(|| {
                let message = "Invalid parameter: messages with role 'tool' must be a response to a preceeding \
                               message with 'tool_calls'.";
                Refusal::at(message, &param)
            })?;
            results.push((place, text_of(&message["content"])));
            continue;
        }
        unanswered(&open, &param)?;
        results.clear();
        let calls = message["tool_calls"].as_array().into_iter().flatten();
        open = calls
            .enumerate()
            .filter_map(|(place, call)| Some((call["id"].as_str()?.to_owned(), place)))
            .collect();
    }
    unanswered(&open, &format!("messages.[{}].role", messages.len()))?;
    results.sort_by_key(|(place, _)| *place);
    let texts: Vec<String> = results.into_iter().map(|(_, text)| text).collect();
    Ok(if texts.is_empty() { Last::Question } else { Last::Results(texts) })
}

fn unanswered(open: &BTreeMap<String, usize>, param: &str) -> Result<(), Refusal> {
    if open.is_empty() {
        return Ok(());
    }
    let ids = open.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let message = format!(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each \
         'tool_call_id'. The following tool_call_ids did not have response messages: {ids}"
    );
    Err(Refusal::at(message, param))
}
