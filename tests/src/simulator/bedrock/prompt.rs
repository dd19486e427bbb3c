//! A conversation's request, read as strictly as Converse reads it.

use serde_json::{Value, json};

use super::history;
use crate::simulator::asked::Asked;
use crate::simulator::error::Refusal;
use crate::simulator::model::{Cache, Choice, Image, Prompt, Tool, count_tokens};

const KNOWN: [&str; 12] = [
    "additionalModelRequestFields",
    "additionalModelResponseFieldPaths",
    "guardrailConfig",
    "inferenceConfig",
    "messages",
    "outputConfig",
    "performanceConfig",
    "promptVariables",
    "requestMetadata",
    "serviceTier",
    "system",
    "toolConfig",
];
const COUNTED: [&str; 4] = ["additionalModelRequestFields", "messages", "system", "toolConfig"];
const EFFORTS: [&str; 5] = ["low", "medium", "high", "xhigh", "max"];
/// Points of the cache that there may be.
const MARKS: usize = 4;

/// Reads a request for an answer.
pub(super) fn prompt(asked: &Asked) -> Result<Prompt, Refusal> {
    let body = &asked.body;
    only("", body, &KNOWN)?;
    let config = &body["inferenceConfig"];
    only("inferenceConfig.", config, &["maxTokens", "temperature", "topP", "stopSequences"])?;
    for name in ["temperature", "topP"] {
        if config[name].as_f64().is_some_and(|value| !(0.0..=1.0).contains(&value)) {
            let message = format!(
                "1 validation error detected: Value at 'inferenceConfig.{name}' failed to satisfy constraint: Member must \
                 have value less than or equal to 1"
            );
            return Err(Refusal::bad(message));
        }
    }
    let limit = match &config["maxTokens"] {
        Value::Null => None,
        limit => Some(limit.as_u64().filter(|limit| *limit > 0).ok_or_else(|| {
            Refusal::bad(
                "1 validation error detected: Value at 'inferenceConfig.maxTokens' must be at least 1",
            )
        })?),
    };
    let stops = config["stopSequences"].as_array().into_iter().flatten();
    let output = &body["outputConfig"];
    only("outputConfig.", output, &["textFormat", "effort"])?;
    let effort = &output["effort"];
    if !effort.is_null() && !effort.as_str().is_some_and(|effort| EFFORTS.contains(&effort)) {
        return Err(Refusal::bad(format!("outputConfig.effort: {effort} is no effort")));
    }
    Ok(Prompt {
        thinking: !effort.is_null(),
        schema: schema(&output["textFormat"])?,
        limit,
        stops: stops.filter_map(Value::as_str).map(str::to_owned).collect(),
        ..read(asked, body)?
    })
}

/// Reads what tokens are counted of.
pub(super) fn counted(asked: &Asked, body: &Value) -> Result<Prompt, Refusal> {
    only("input.converse.", body, &COUNTED)?;
    read(asked, body)
}

fn read(asked: &Asked, body: &Value) -> Result<Prompt, Refusal> {
    let messages = body["messages"].as_array().filter(|messages| !messages.is_empty());
    let messages =
        messages.ok_or_else(|| Refusal::bad("A conversation must start with a user message. Try again."))?;
    let last = history::last(messages, !body["toolConfig"].is_null())?;
    for (index, block) in body["system"].as_array().into_iter().flatten().enumerate() {
        history::one_of(&format!("system.{index}"), block, &["text", "cachePoint", "guardContent"])?;
    }
    let (tools, choice) = tools(&body["toolConfig"])?;
    let texts = [&body["system"], &body["toolConfig"], &body["messages"]];
    let tokens =
        texts.into_iter().filter(|value| !value.is_null()).map(|value| count_tokens(&value.to_string()));
    let tokens = tokens.sum();
    Ok(Prompt {
        tools,
        choice,
        parallel: true,
        last,
        images: images(messages)?,
        tokens,
        cache: cache(asked, body)?,
        ..Prompt::default()
    })
}

fn images(messages: &[Value]) -> Result<Vec<Image>, Refusal> {
    let blocks = messages.iter().filter_map(|message| message["content"].as_array()).flatten();
    let images = blocks.map(|block| &block["image"]).filter(|image| image["source"]["bytes"].is_string());
    let image = |image: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let media_type = format!("image/{}", text(&image["format"]));
        Image::new(&media_type, &text(&image["source"]["bytes"]))
            .ok_or_else(|| Refusal::bad("image.source.bytes is no base64"))
    };
    images.map(image).collect()
}

pub(super) fn only(place: &str, value: &Value, known: &[&str]) -> Result<(), Refusal> {
    let unknown = value.as_object().into_iter().flatten().find(|(name, _)| !known.contains(&name.as_str()));
    unknown.map_or(Ok(()), |(name, _)| {
        let message = format!(
            "The model returned the following errors: {place}{name}: extraneous key [{name}] is not permitted"
        );
        Err(Refusal::bad(message))
    })
}

fn schema(format: &Value) -> Result<Option<Value>, Refusal> {
    if format.is_null() {
        return Ok(None);
    }
    only("outputConfig.textFormat.", format, &["type", "structure"])?;
    let definition = &format["structure"]["jsonSchema"];
    only("outputConfig.textFormat.structure.jsonSchema.", definition, &["schema", "name", "description"])?;
    let schema = definition["schema"].as_str().and_then(|schema| serde_json::from_str::<Value>(schema).ok());
    let schema = schema.filter(|schema| schema.is_object() && format["type"] == "json_schema");
    schema.map(Some).ok_or_else(|| Refusal::bad("outputConfig.textFormat is no JSON schema in a text"))
}

fn tools(config: &Value) -> Result<(Vec<Tool>, Choice), Refusal> {
    if config.is_null() {
        return Ok((Vec::new(), Choice::None));
    }
    only("toolConfig.", config, &["tools", "toolChoice"])?;
    let mut tools = Vec::new();
    for (index, tool) in config["tools"].as_array().into_iter().flatten().enumerate() {
        let place = format!("toolConfig.tools.{index}");
        if history::one_of(&place, tool, &["toolSpec", "cachePoint", "systemTool"])? != "toolSpec" {
            continue;
        }
        let spec = &tool["toolSpec"];
        only(&format!("{place}.toolSpec."), spec, &["name", "description", "inputSchema", "strict"])?;
        let name = spec["name"].as_str().unwrap_or_default();
        let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
        if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
            let message = format!(
                "1 validation error detected: Value '{name}' at '{place}.toolSpec.name' failed to satisfy constraint: \
                 Member must satisfy regular expression pattern: [a-zA-Z0-9_-]+"
            );
            return Err(Refusal::bad(message));
        }
        let schema = &spec["inputSchema"]["json"];
        if schema["type"] != "object" {
            let message = format!(
                "The value at {place}.toolSpec.inputSchema.json.type must be one of the following: object."
            );
            return Err(Refusal::bad(message));
        }
        if spec["description"] == "" {
            return Err(Refusal::bad(format!("The value at {place}.toolSpec.description is empty")));
        }
        tools.push(Tool { name: name.to_owned(), schema: schema.clone() });
    }
    if tools.is_empty() {
        return Err(Refusal::bad("toolConfig.tools must have at least one tool"));
    }
    let choice = match &config["toolChoice"] {
        Value::Null => Choice::Auto,
        choice => match history::one_of("toolConfig.toolChoice", choice, &["auto", "any", "tool"])? {
            "any" => Choice::Any,
            "tool" => Choice::Named(choice["tool"]["name"].as_str().unwrap_or_default().to_owned()),
            _ => Choice::Auto,
        },
    };
    Ok((tools, choice))
}

/// What is to be cached: everything up to the last point, in the order in which the model reads.
fn cache(asked: &Asked, body: &Value) -> Result<Option<Cache>, Refusal> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let said = list(&body["messages"]).into_iter().flat_map(|message| list(&message["content"]));
    let read: Vec<Value> =
        list(&body["toolConfig"]["tools"]).into_iter().chain(list(&body["system"])).chain(said).collect();
    let is_point = |block: &Value| block["cachePoint"].is_object();
    let points = read.iter().filter(|block| is_point(block)).count();
    if points > MARKS {
        return Err(Refusal::bad(format!("You can have at most 4 cache points, and there are {points}.")));
    }
    Ok(read.iter().rposition(is_point).map(|last| {
        let prefix = &read[..=last];
        let an_hour = prefix.iter().any(|block| block["cachePoint"]["ttl"] == "1h");
        Cache { key: format!("converse {} {}", asked.model, json!(prefix)), an_hour }
    }))
}
