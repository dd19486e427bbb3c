//! A message's request, read as strictly as Anthropic reads it.

use serde_json::{Value, json};

use super::history;
use crate::simulator::asked::Asked;
use crate::simulator::error::Refusal;
use crate::simulator::model::{Cache, Choice, Image, Prompt, Tool, count_tokens};

const COUNTED: [&str; 11] = [
    "cache_control",
    "messages",
    "model",
    "output_config",
    "speed",
    "system",
    "thinking",
    "tool_choice",
    "tools",
    "user_profile_id",
    "workspace_id",
];
const GENERATED: [&str; 11] = [
    "container",
    "diagnostics",
    "inference_geo",
    "max_tokens",
    "metadata",
    "service_tier",
    "stop_sequences",
    "stream",
    "temperature",
    "top_k",
    "top_p",
];
/// The smallest budget of thinking.
const LEAST_BUDGET: u64 = 1024;
/// Blocks that may be marked for the cache.
const MARKS: usize = 4;

/// Reads a request for an answer.
pub(super) fn prompt(asked: &Asked) -> Result<Prompt, Refusal> {
    let body = &asked.body;
    only(body, &[&COUNTED[..], &GENERATED[..]].concat())?;
    if asked.header("anthropic-version").is_none() {
        return Err(Refusal::bad("anthropic-version: header is required"));
    }
    let limit = body["max_tokens"].as_u64().filter(|limit| *limit > 0);
    let limit = limit.ok_or_else(|| Refusal::bad("max_tokens: Field required"))?;
    let prompt = read(asked)?;
    sampling(body, prompt.thinking)?;
    budget(body, limit, prompt.thinking)?;
    Ok(Prompt { limit: Some(limit), ..prompt })
}

/// Reads a request whose tokens are to be counted.
pub(super) fn counted(asked: &Asked) -> Result<Prompt, Refusal> {
    only(&asked.body, &COUNTED)?;
    read(asked)
}

fn only(body: &Value, known: &[&str]) -> Result<(), Refusal> {
    let unknown = body.as_object().into_iter().flatten().find(|(name, _)| !known.contains(&name.as_str()));
    unknown.map_or(Ok(()), |(name, _)| Err(Refusal::bad(format!("{name}: Extra inputs are not permitted"))))
}

fn read(asked: &Asked) -> Result<Prompt, Refusal> {
    let body = &asked.body;
    let thinking =
        matches!(body["thinking"]["type"].as_str(), Some("enabled" | "adaptive" | "between_tools"));
    let messages = body["messages"].as_array().filter(|messages| !messages.is_empty());
    let messages = messages.ok_or_else(|| Refusal::bad("messages: at least one message is required"))?;
    let last = history::last(messages, thinking)?;
    let tools = body["tools"].as_array().into_iter().flatten().enumerate();
    let tools = tools.map(|(index, tool)| read_tool(index, tool)).collect::<Result<Vec<_>, _>>()?;
    let choice = &body["tool_choice"];
    let chosen = match choice["type"].as_str() {
        None | Some("auto") => Choice::Auto,
        Some("none") => Choice::None,
        Some("any") => Choice::Any,
        Some(_) => Choice::Named(choice["name"].as_str().unwrap_or_default().to_owned()),
    };
    if tools.is_empty() && chosen != Choice::Auto && chosen != Choice::None {
        return Err(Refusal::bad("tool_choice: Tools must be provided when tool_choice is set."));
    }
    if thinking && matches!(chosen, Choice::Any | Choice::Named(_)) {
        return Err(Refusal::bad("Thinking may not be enabled when tool_choice forces tool use."));
    }
    let texts = [&body["system"], &body["tools"]]
        .into_iter()
        .chain(messages.iter().map(|message| &message["content"]));
    Ok(Prompt {
        tools,
        choice: chosen,
        parallel: choice["disable_parallel_tool_use"] != true,
        last,
        images: images(messages)?,
        schema: schema(&body["output_config"]["format"])?,
        thinking,
        limit: None,
        stops: body["stop_sequences"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        tokens: texts.map(tokens).sum(),
        cache: cache(asked)?,
    })
}

fn images(messages: &[Value]) -> Result<Vec<Image>, Refusal> {
    let blocks = messages.iter().filter_map(|message| message["content"].as_array()).flatten();
    let sources = blocks.map(|block| &block["source"]).filter(|source| source["type"] == "base64");
    let image = |source: &Value| {
        let text = |name: &str| source[name].as_str().unwrap_or_default();
        Image::new(text("media_type"), text("data"))
            .ok_or_else(|| Refusal::bad("messages: image.source.base64.data: Invalid base64 data"))
    };
    sources.map(image).collect()
}

fn tokens(value: &Value) -> u64 {
    match value {
        Value::Null => 0,
        Value::String(text) => count_tokens(text),
        other => count_tokens(&other.to_string()),
    }
}

fn schema(format: &Value) -> Result<Option<Value>, Refusal> {
    match format["type"].as_str() {
        None => Ok(None),
        Some("json_schema") => {
            let schema = format.get("schema").filter(|schema| schema.is_object());
            schema
                .cloned()
                .map(Some)
                .ok_or_else(|| Refusal::bad("output_config.format.schema: Field required"))
        }
        Some(other) => {
            let message = format!(
                "output_config.format: Input tag '{other}' found using 'type' does not match 'json_schema'"
            );
            Err(Refusal::bad(message))
        }
    }
}

fn read_tool(index: usize, tool: &Value) -> Result<Tool, Refusal> {
    let name = tool["name"].as_str().unwrap_or_default();
    let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    if name.is_empty() || name.len() > 128 || !name.chars().all(fits) {
        let message =
            format!("tools.{index}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'");
        return Err(Refusal::bad(message));
    }
    let schema = &tool["input_schema"];
    if schema["type"] != "object" {
        return Err(Refusal::bad(format!(
            "tools.{index}.custom.input_schema.type: Input should be 'object'"
        )));
    }
    Ok(Tool { name: name.to_owned(), schema: schema.clone() })
}

fn sampling(body: &Value, thinking: bool) -> Result<(), Refusal> {
    match body["temperature"].as_f64() {
        Some(value) if value > 1.0 => {
            Err(Refusal::bad("temperature: Input should be less than or equal to 1"))
        }
        Some(value) if thinking && value < 1.0 => Err(Refusal::bad(
            "`temperature` may only be set to 1 when thinking is enabled. Please consult our documentation.",
        )),
        Some(_) if !body["top_p"].is_null() => Err(Refusal::bad(
            "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
        )),
        Some(_) | None if thinking && !body["top_k"].is_null() => Err(Refusal::bad(
            "`top_k` must be unset when thinking is enabled. Please consult our documentation.",
        )),
        Some(_) | None => Ok(()),
    }
}

fn budget(body: &Value, limit: u64, thinking: bool) -> Result<(), Refusal> {
    if !thinking || body["thinking"]["type"] != "enabled" {
        return Ok(());
    }
    match body["thinking"]["budget_tokens"].as_u64() {
        None => Err(Refusal::bad("thinking.enabled.budget_tokens: Field required")),
        Some(budget) if budget < LEAST_BUDGET => {
            Err(Refusal::bad("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"))
        }
        Some(budget) if budget >= limit => {
            Err(Refusal::bad("`max_tokens` must be greater than `thinking.budget_tokens`."))
        }
        Some(_) => Ok(()),
    }
}

/// What is to be cached: everything up to the last mark, in the order in which the model reads.
fn cache(asked: &Asked) -> Result<Option<Cache>, Refusal> {
    let body = &asked.body;
    let blocks = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let read = [blocks(&body["tools"]), blocks(&body["system"])].into_iter().flatten();
    let messages = body["messages"].as_array().into_iter().flatten();
    let said = messages.flat_map(|message| match &message["content"] {
        Value::Array(blocks) => blocks.clone(),
        other => vec![other.clone()],
    });
    let read: Vec<Value> = read.chain(said).collect();
    let marked = |block: &Value| block["cache_control"].is_object();
    let marks = read.iter().filter(|block| marked(block)).count() + usize::from(marked(body));
    if marks > MARKS {
        let message = format!("A maximum of 4 blocks with cache_control may be provided. Found {marks}.");
        return Err(Refusal::bad(message));
    }
    let last = if marked(body) { Some(read.len() - 1) } else { read.iter().rposition(marked) };
    Ok(last.map(|last| {
        let prefix = &read[..=last];
        let an_hour = prefix.iter().chain([body]).any(|block| block["cache_control"]["ttl"] == "1h");
        Cache { key: format!("anthropic {} {}", asked.model, json!(prefix)), an_hour }
    }))
}
