//! Requests. This file reads them; `request_out` writes them.

use serde_json::Value;

use super::super::super::responses::{Input, ResponsesRequest};
use super::super::super::{Extra, StreamOptions};
use super::super::custom;
use super::super::shared::read_effort;
use super::super::view::{read, take};
use super::items_in::{InputItem, input_item};
pub use super::request_out::from_canonical;
use crate::canonical::{
    Dialect, ForeignPart, FunctionTool, Instruction, InstructionRole, LogprobsRequest, OutputFormat, Part,
    Request, Role, Sampling, Text, ThinkingRequest, ThinkingShown, Tool, ToolChoice, Turn, Unreadable,
    keep_foreign,
};

const ORIGIN: Dialect = Dialect::OpenAiResponses;

/// Fields that go on from what one account keeps, or leave it to go on alone: another key may be of another account.
pub(crate) const STATEFUL: [&str; 4] = ["previous_response_id", "store", "background", "conversation"];

/// What needs a store, or a worker that goes on without the caller, and has no field of its own.
const STORED: [&str; 3] = ["background", "conversation", "prompt"];

/// Reads a request.
///
/// # Errors
/// Where a field makes no sense, or needs a store; the error names it.
pub fn to_canonical(request: ResponsesRequest) -> Result<Request, Unreadable> {
    let ResponsesRequest {
        model,
        input,
        instructions,
        max_output_tokens,
        temperature,
        top_p,
        top_logprobs,
        stream,
        stream_options,
        store,
        previous_response_id,
        include,
        mut extra,
    } = request;
    refuse_stored(store, previous_response_id, &extra)?;
    let mut out = Request::new(ORIGIN, model);
    out.system.extend(
        instructions.map(|text| Instruction { role: InstructionRole::System, texts: vec![Text::new(text)] }),
    );
    turns(input, &mut out)?;
    out.sampling = Sampling { max_output_tokens, temperature, top_p, ..Sampling::default() };
    out.logprobs = included(include, top_logprobs, &mut extra);
    out.stream = stream.unwrap_or(false);
    // A stream of this dialect always ends with its usage.
    out.include_usage = out.stream;
    if let Some(StreamOptions { include_usage: _, mut extra }) = stream_options {
        // Nothing is padded here.
        extra.retain(|name, value| name != "include_obfuscation" || *value == Value::Bool(true));
        keep_foreign("stream_options", extra, &mut out.foreign);
    }
    out.tools = tools(&mut extra, &mut out)?;
    out.tool_choice = tool_choice(&mut extra)?;
    out.parallel_tool_calls = take(&mut extra, "", "parallel_tool_calls")?;
    text_options(&mut extra, &mut out)?;
    reasoning(&mut extra, &mut out)?;
    out.user = take(&mut extra, "", "user")?;
    out.metadata = take(&mut extra, "", "metadata")?.unwrap_or_default();
    // What asks for nothing that is not done anyway.
    extra.retain(|name, value| match name.as_str() {
        "truncation" => value != "disabled",
        name => !STORED.contains(&name),
    });
    keep_foreign("", extra, &mut out.foreign);
    Ok(out)
}

fn refuse_stored(
    store: Option<bool>,
    previous_response_id: Option<String>,
    extra: &Extra,
) -> Result<(), Unreadable> {
    refuse_state("previous_response_id", &previous_response_id.map_or(Value::Null, Value::String))?;
    refuse_state("store", &store.map_or(Value::Null, Value::Bool))?;
    STORED.iter().try_for_each(|name| refuse_state(name, extra.get(*name).unwrap_or(&Value::Null)))
}

/// Refuses what needs a store, unless `value` asks for nothing.
///
/// # Errors
/// Names the field.
pub(crate) fn refuse_state(name: &str, value: &Value) -> Result<(), Unreadable> {
    if value.is_null() || *value == Value::Bool(false) {
        return Ok(());
    }
    let problem = match name {
        "previous_response_id" => {
            "names a stored answer, and nothing is stored here: send the whole conversation as `input`"
        }
        "store" => "nothing is stored here: say false",
        _ => "needs a store, and nothing is stored here: leave it out",
    };
    Err(Unreadable::new(name, problem))
}

/// Each item is a turn, so that errors name it; [`Request::joined`] puts the model's together for other dialects.
fn turns(input: Input, out: &mut Request) -> Result<(), Unreadable> {
    let items = match input {
        Input::Text(text) => {
            let parts = vec![Part::text(text)];
            out.turns.push(Turn { role: Role::User, parts, name: None, place: 0 });
            return Ok(());
        }
        Input::Items(items) => items,
    };
    for (place, value) in (0u32..).zip(items) {
        let path = format!("input[{place}]");
        let before = out.foreign.len();
        let item = input_item(value, &path, &mut out.foreign)?;
        if matches!(&item, InputItem::Model(_) | InputItem::Said { role: Role::Assistant, parts: _ }) {
            out.remarks.extend(out.foreign.split_off(before));
        }
        let (role, parts) = match item {
            InputItem::Said { role, parts } => (role, parts),
            InputItem::Model(parts) if attach_signature(&parts, &mut out.turns) => continue,
            InputItem::Model(parts) => (Role::Assistant, parts),
        };
        let instructs = match role {
            Role::System => Some(InstructionRole::System),
            Role::Developer => Some(InstructionRole::Developer),
            Role::User | Role::Assistant => None,
        };
        match instructs {
            Some(role) if out.turns.is_empty() => {
                let texts = texts(parts, &path)?;
                out.system.push(Instruction { role, texts });
            }
            Some(_) | None => out.turns.push(Turn { role, parts, name: None, place }),
        }
    }
    Ok(())
}

/// A text's signature comes in an item after the text's. Where there is no text before it, it stays by itself.
fn attach_signature(parts: &[Part], turns: &mut [Turn]) -> bool {
    let [Part::Text(Text { text, signature: Some(signature), .. })] = parts else { return false };
    let before = turns.last_mut().filter(|turn| turn.role == Role::Assistant && text.is_empty());
    match before.and_then(|turn| turn.parts.last_mut()) {
        Some(Part::Text(text)) => {
            text.signature = Some(signature.clone());
            true
        }
        _ => false,
    }
}

fn texts(parts: Vec<Part>, path: &str) -> Result<Vec<Text>, Unreadable> {
    let text = |(index, part)| match part {
        Part::Text(text) => Ok(text),
        other => {
            let problem = format!("is a part of type {}; instructions are text", Part::kind(&other));
            Err(Unreadable::new(format!("{path}.content[{index}]"), problem))
        }
    };
    parts.into_iter().enumerate().map(text).collect()
}

/// Reads `include`. What carries encrypted reasoning is always sent; log probabilities are asked for here.
fn included(include: Option<Vec<String>>, top: Option<u32>, extra: &mut Extra) -> Option<LogprobsRequest> {
    let mut include = include.unwrap_or_default();
    let asked = include.iter().any(|what| what == "message.output_text.logprobs");
    include.retain(|what| what != "message.output_text.logprobs" && what != "reasoning.encrypted_content");
    if !include.is_empty() {
        extra.insert("include".into(), include.into());
    }
    let top = top.filter(|top| *top > 0);
    (asked || top.is_some()).then_some(LogprobsRequest { top })
}

fn tools(extra: &mut Extra, out: &mut Request) -> Result<Vec<Tool>, Unreadable> {
    let given: Vec<Value> = take(extra, "", "tools")?.unwrap_or_default();
    let mut tools = Vec::with_capacity(given.len());
    for (index, value) in given.into_iter().enumerate() {
        let path = format!("tools[{index}]");
        let mut tool: Extra = read(value.clone(), &path)?;
        let kind: String = take(&mut tool, &path, "type")?.unwrap_or_default();
        let custom = (kind == "custom").then(|| custom::read_flat(tool.clone())).flatten();
        if let Some(custom) = custom {
            tools.push(Tool::Custom(custom));
            continue;
        }
        if kind != "function" {
            tools.push(Tool::Foreign(ForeignPart { dialect: ORIGIN, kind, value }));
            continue;
        }
        let name = take(&mut tool, &path, "name")?;
        let name = name.ok_or_else(|| Unreadable::new(format!("{path}.name"), "must name the function"))?;
        tools.push(Tool::Function(FunctionTool {
            name,
            description: take(&mut tool, &path, "description")?,
            parameters: take(&mut tool, &path, "parameters")?,
            strict: take(&mut tool, &path, "strict")?,
            cache: None,
        }));
        keep_foreign(&path, tool, &mut out.foreign);
    }
    Ok(tools)
}

/// Reads `tool_choice`; one that only OpenAI has stays in `extra`.
fn tool_choice(extra: &mut Extra) -> Result<Option<ToolChoice>, Unreadable> {
    let Some(value) = extra.get("tool_choice") else { return Ok(None) };
    let word = |name: &str| value.get(name).and_then(Value::as_str);
    let choice = match (value.as_str(), word("type")) {
        (Some("auto"), _) => ToolChoice::Auto,
        (Some("none"), _) => ToolChoice::None,
        (Some("required"), _) => ToolChoice::Required,
        (Some(other), _) => {
            let problem = format!("must be auto, none, required or an object, got `{other}`");
            return Err(Unreadable::new("tool_choice", problem));
        }
        (None, Some("function")) => {
            let name = word("name");
            let name = name.ok_or_else(|| Unreadable::new("tool_choice.name", "must name the function"))?;
            ToolChoice::Function(name.to_owned())
        }
        (None, Some("custom")) => {
            let name = word("name");
            let name =
                name.ok_or_else(|| Unreadable::new("tool_choice.name", "must name the custom tool"))?;
            ToolChoice::Custom(name.to_owned())
        }
        (None, Some("allowed_tools")) => match allowed(value) {
            Some(choice) => choice,
            None => return Ok(None),
        },
        (None, _) => return Ok(None),
    };
    extra.shift_remove("tool_choice");
    Ok(Some(choice))
}

/// `None` where one of the tools is no function.
fn allowed(value: &Value) -> Option<ToolChoice> {
    let required = value.get("mode").and_then(Value::as_str) == Some("required");
    let name = |tool: &Value| {
        let function = tool.get("type").and_then(Value::as_str) == Some("function");
        tool.get("name").and_then(Value::as_str).filter(|_| function).map(str::to_owned)
    };
    let names = value.get("tools")?.as_array()?.iter().map(name).collect::<Option<_>>()?;
    Some(ToolChoice::Allowed { required, names })
}

fn text_options(extra: &mut Extra, out: &mut Request) -> Result<(), Unreadable> {
    let Some(mut text) = take::<Extra>(extra, "", "text")? else { return Ok(()) };
    out.verbosity = take(&mut text, "text", "verbosity")?;
    if let Some(mut format) = take::<Extra>(&mut text, "text", "format")? {
        let path = "text.format";
        let kind: String = take(&mut format, path, "type")?.unwrap_or_default();
        out.output_format = Some(match kind.as_str() {
            "text" => OutputFormat::Text,
            "json_object" => OutputFormat::JsonObject,
            "json_schema" => OutputFormat::JsonSchema {
                name: take(&mut format, path, "name")?,
                description: take(&mut format, path, "description")?,
                schema: take(&mut format, path, "schema")?
                    .ok_or_else(|| Unreadable::new("text.format.schema", "must hold the schema"))?,
                strict: take(&mut format, path, "strict")?,
            },
            other => {
                let problem = format!("must be text, json_object or json_schema, got `{other}`");
                return Err(Unreadable::new("text.format.type", problem));
            }
        });
        keep_foreign(path, format, &mut out.foreign);
    }
    keep_foreign("text", text, &mut out.foreign);
    Ok(())
}

fn reasoning(extra: &mut Extra, out: &mut Request) -> Result<(), Unreadable> {
    let Some(mut reasoning) = take::<Extra>(extra, "", "reasoning")? else { return Ok(()) };
    let effort: Option<String> = take(&mut reasoning, "reasoning", "effort")?;
    let amount = effort.map(|word| read_effort(&word, "reasoning.effort")).transpose()?;
    let summary: Option<String> = take(&mut reasoning, "reasoning", "summary")?;
    let shown = match summary.as_deref() {
        None => None,
        Some("auto") => Some(ThinkingShown::Shown),
        Some("concise") => Some(ThinkingShown::Concise),
        Some("detailed") => Some(ThinkingShown::Detailed),
        Some(other) => {
            let problem = format!("must be auto, concise or detailed, got `{other}`");
            return Err(Unreadable::new("reasoning.summary", problem));
        }
    };
    out.thinking = (amount.is_some() || shown.is_some()).then_some(ThinkingRequest { amount, shown });
    keep_foreign("reasoning", reasoning, &mut out.foreign);
    Ok(())
}
