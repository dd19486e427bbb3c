//! Requests. This file reads them; `request_out` writes them.

use serde_json::Value;

use super::super::super::chat::{ChatCompletionRequest, ResponseFormat, SchemaFormat, ToolDefinition};
use super::super::super::{Extra, StreamOptions};
use super::super::custom;
use super::super::shared::{is_text_only, read_effort};
use super::super::view::{join, read, take, take_cache_mark};
use super::messages_in;
pub use super::request_out::from_canonical;
use crate::canonical::{
    Dialect, ForeignPart, FunctionTool, LogprobsRequest, OutputFormat, Request, Sampling, ThinkingRequest,
    Tool, ToolChoice, Unreadable, keep_foreign,
};

/// Reads a request. What only OpenAI has is kept in [`Request::foreign`].
///
/// # Errors
/// Where a field makes no sense; the error names it.
pub fn to_canonical(request: ChatCompletionRequest) -> Result<Request, Unreadable> {
    let ChatCompletionRequest {
        model,
        messages,
        max_tokens,
        max_completion_tokens,
        temperature,
        top_p,
        seed,
        n,
        stop,
        presence_penalty,
        frequency_penalty,
        logprobs,
        top_logprobs,
        stream,
        stream_options,
        mut extra,
    } = request;
    let mut out = Request::new(Dialect::OpenAiChat, model);
    messages_in::read(messages, &mut out)?;
    out.sampling = Sampling {
        max_output_tokens: output_tokens(max_tokens, max_completion_tokens)?,
        temperature,
        top_p,
        top_k: take(&mut extra, "", "top_k")?,
        seed,
        stop,
        presence_penalty,
        frequency_penalty,
    };
    out.choices = n;
    out.logprobs = log_probabilities(logprobs, top_logprobs)?;
    out.stream = stream.unwrap_or(false);
    if let Some(StreamOptions { include_usage, extra }) = stream_options {
        out.include_usage = include_usage.unwrap_or(false);
        keep_foreign("stream_options", extra, &mut out.foreign);
    }
    out.tools = tools(&mut extra, &mut out)?;
    out.tool_choice = tool_choice(&mut extra)?;
    out.parallel_tool_calls = take(&mut extra, "", "parallel_tool_calls")?;
    out.output_format = output_format(&mut extra, &mut out)?;
    if let Some(word) = take::<String>(&mut extra, "", "reasoning_effort")? {
        let amount = Some(read_effort(&word, "reasoning_effort")?);
        out.thinking = Some(ThinkingRequest { amount, shown: None });
    }
    out.verbosity = take(&mut extra, "", "verbosity")?;
    out.user = take(&mut extra, "", "user")?;
    out.metadata = take(&mut extra, "", "metadata")?.unwrap_or_default();
    // What asks for nothing that is not done anyway.
    extra.retain(|name, value| match name.as_str() {
        "store" => *value != Value::Bool(false),
        "modalities" => !is_text_only(value),
        _ => true,
    });
    keep_foreign("", extra, &mut out.foreign);
    Ok(out)
}

fn output_tokens(older: Option<u32>, newer: Option<u32>) -> Result<Option<u32>, Unreadable> {
    match (older, newer) {
        (Some(older), Some(newer)) if older != newer => Err(Unreadable::new(
            "max_tokens",
            "is the older name of `max_completion_tokens`, which says otherwise: leave it out",
        )),
        (older, newer) => Ok(newer.or(older)),
    }
}

fn log_probabilities(asked: Option<bool>, top: Option<u32>) -> Result<Option<LogprobsRequest>, Unreadable> {
    match (asked.unwrap_or(false), top) {
        (true, top) => Ok(Some(LogprobsRequest { top })),
        (false, None) => Ok(None),
        (false, Some(_)) => Err(Unreadable::new("top_logprobs", "needs `logprobs: true` beside it")),
    }
}

fn tools(extra: &mut Extra, out: &mut Request) -> Result<Vec<Tool>, Unreadable> {
    let given: Vec<Value> = take(extra, "", "tools")?.unwrap_or_default();
    let mut tools = Vec::with_capacity(given.len());
    for (index, value) in given.into_iter().enumerate() {
        let path = format!("tools[{index}]");
        let ToolDefinition { kind, function, custom, mut extra } = read(value.clone(), &path)?;
        if let Some(custom) = custom.filter(|_| kind == "custom").and_then(custom::read_wrapped) {
            keep_foreign(&path, extra, &mut out.foreign);
            tools.push(Tool::Custom(custom));
            continue;
        }
        let Some(function) = function.filter(|_| kind == "function") else {
            tools.push(Tool::Foreign(ForeignPart { dialect: Dialect::OpenAiChat, kind, value }));
            continue;
        };
        let cache = take_cache_mark(&mut extra, &path)?;
        let super::super::super::chat::FunctionDefinition {
            name,
            description,
            parameters,
            strict,
            extra: inner,
        } = function;
        keep_foreign(&path, extra, &mut out.foreign);
        keep_foreign(&join(&path, "function"), inner, &mut out.foreign);
        tools.push(Tool::Function(FunctionTool { name, description, parameters, strict, cache }));
    }
    Ok(tools)
}

/// Reads `tool_choice`; one that only OpenAI has stays in `extra`.
fn tool_choice(extra: &mut Extra) -> Result<Option<ToolChoice>, Unreadable> {
    let Some(value) = extra.get("tool_choice") else { return Ok(None) };
    let choice = match value {
        Value::Null => None,
        Value::String(word) => Some(choice_of_word(word)?),
        value => match value.get("type").and_then(Value::as_str) {
            Some("function") => {
                Some(ToolChoice::Function(function_name(value, "tool_choice.function.name")?))
            }
            Some("custom") => {
                let name = value.pointer("/custom/name").and_then(Value::as_str);
                let name = name
                    .ok_or_else(|| Unreadable::new("tool_choice.custom.name", "must name the custom tool"))?;
                Some(ToolChoice::Custom(name.to_owned()))
            }
            Some("allowed_tools") => match allowed(value)? {
                Some(choice) => Some(choice),
                None => return Ok(None),
            },
            _ => return Ok(None),
        },
    };
    extra.shift_remove("tool_choice");
    Ok(choice)
}

fn choice_of_word(word: &str) -> Result<ToolChoice, Unreadable> {
    match word {
        "auto" => Ok(ToolChoice::Auto),
        "none" => Ok(ToolChoice::None),
        "required" => Ok(ToolChoice::Required),
        other => {
            let problem = format!("must be auto, none, required or an object, got `{other}`");
            Err(Unreadable::new("tool_choice", problem))
        }
    }
}

fn function_name(value: &Value, field: &str) -> Result<String, Unreadable> {
    let name = value.pointer("/function/name").and_then(Value::as_str);
    name.map(str::to_owned).ok_or_else(|| Unreadable::new(field, "must name the function"))
}

/// `None` where one of the tools is no function.
fn allowed(value: &Value) -> Result<Option<ToolChoice>, Unreadable> {
    let tools = value.pointer("/allowed_tools/tools").and_then(Value::as_array);
    let tools =
        tools.ok_or_else(|| Unreadable::new("tool_choice.allowed_tools.tools", "must list the tools"))?;
    if tools.iter().any(|tool| tool.get("type").and_then(Value::as_str) != Some("function")) {
        return Ok(None);
    }
    let required = match value.pointer("/allowed_tools/mode").and_then(Value::as_str) {
        Some("required") => true,
        Some("auto") | None => false,
        Some(other) => {
            let problem = format!("must be auto or required, got `{other}`");
            return Err(Unreadable::new("tool_choice.allowed_tools.mode", problem));
        }
    };
    let name = |(index, tool)| {
        function_name(tool, &format!("tool_choice.allowed_tools.tools[{index}].function.name"))
    };
    let names = tools.iter().enumerate().map(name).collect::<Result<_, _>>()?;
    Ok(Some(ToolChoice::Allowed { required, names }))
}

fn output_format(extra: &mut Extra, out: &mut Request) -> Result<Option<OutputFormat>, Unreadable> {
    let Some(format) = take::<ResponseFormat>(extra, "", "response_format")? else { return Ok(None) };
    let ResponseFormat { kind, json_schema, extra } = format;
    keep_foreign("response_format", extra, &mut out.foreign);
    match (kind.as_str(), json_schema) {
        ("text", _) => Ok(Some(OutputFormat::Text)),
        ("json_object", _) => Ok(Some(OutputFormat::JsonObject)),
        ("json_schema", Some(SchemaFormat { name, description, schema, strict, extra })) => {
            keep_foreign("response_format.json_schema", extra, &mut out.foreign);
            let field = "response_format.json_schema.schema";
            let schema = schema.ok_or_else(|| Unreadable::new(field, "must hold the schema"))?;
            Ok(Some(OutputFormat::JsonSchema { name, description, schema, strict }))
        }
        ("json_schema", None) => {
            Err(Unreadable::new("response_format.json_schema", "must hold the schema: {name, schema}"))
        }
        (other, _) => {
            let problem = format!("must be text, json_object or json_schema, got `{other}`");
            Err(Unreadable::new("response_format.type", problem))
        }
    }
}
