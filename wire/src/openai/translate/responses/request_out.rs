//! Requests, written for an upstream. Nothing is ever stored there: `store` is always false.

use serde_json::{Value, json};

use super::super::super::Extra;
use super::super::super::responses::{Input, ResponsesRequest};
use super::super::custom;
use super::super::shared::{effort_word, takes_foreign};
use super::items_out;
use crate::canonical::{
    Amount, Dialect, Field, FunctionTool, Inexpressible, Losses, OutputFormat, Place, Request,
    ThinkingRequest, ThinkingShown, Tool, ToolChoice, Translated, Unsupported,
};

const TARGET: Dialect = Dialect::OpenAiResponses;

/// Writes a request.
///
/// # Errors
/// Where Responses has no words for a field and the caller did not say to drop.
pub fn from_canonical(
    request: &Request,
    policy: Unsupported,
) -> Result<Translated<ResponsesRequest>, Inexpressible> {
    let Request {
        origin,
        model,
        system,
        turns,
        tools,
        tool_choice,
        parallel_tool_calls,
        sampling,
        choices,
        logprobs,
        output_format,
        thinking,
        verbosity,
        stream,
        include_usage: _,
        user,
        metadata,
        foreign,
        remarks,
    } = request;
    let mut losses = Losses::new(policy, *origin, TARGET);
    items_out::lose_sampling(sampling, &mut losses)?;
    if choices.is_some_and(|choices| choices > 1) {
        losses.lose(Field::Choices.name(*origin), "ask once for each answer, or use chat completions")?;
    }
    let mut extra = Extra::new();
    let mut put =
        |name: &str, value: Option<Value>| extra.extend(value.map(|value| (name.to_owned(), value)));
    put("tools", tool_list(tools, &mut losses)?);
    put("tool_choice", tool_choice.as_ref().map(choice));
    put("parallel_tool_calls", parallel_tool_calls.map(Value::Bool));
    put("text", text(output_format.as_ref(), verbosity.as_deref()));
    put("reasoning", thinking.as_ref().and_then(|thinking| reasoning(thinking, *origin)));
    put("user", user.clone().map(Value::String));
    put("metadata", (!metadata.is_empty()).then(|| json!(metadata)));
    losses.waive_all(remarks);
    extra.extend(losses.foreign(foreign, |origin, name| takes_foreign(TARGET, origin, name))?);
    let mut include: Vec<String> = extra
        .shift_remove("include")
        .and_then(|include| serde_json::from_value(include).ok())
        .unwrap_or_default();
    // Models that do not reason refuse to be asked for it.
    if thinking.is_some_and(thinks) || items_out::holds_own_thinking(turns) {
        include.push("reasoning.encrypted_content".to_owned());
    }
    if logprobs.is_some() {
        include.push("message.output_text.logprobs".to_owned());
    }
    let message = ResponsesRequest {
        model: model.clone(),
        input: Input::Items(items_out::write(system, turns, &request.custom_calls(), &mut losses)?),
        instructions: None,
        max_output_tokens: sampling.max_output_tokens,
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        top_logprobs: logprobs.and_then(|logprobs| logprobs.top),
        stream: stream.then_some(true),
        stream_options: None,
        store: Some(false),
        previous_response_id: None,
        include: (!include.is_empty()).then_some(include),
        extra,
    };
    Ok(Translated { message, dropped: losses.into_dropped() })
}

fn thinks(thinking: ThinkingRequest) -> bool {
    thinking.amount != Some(Amount::Off)
}

fn tool_list(tools: &[Tool], losses: &mut Losses) -> Result<Option<Value>, Inexpressible> {
    let mut list = Vec::with_capacity(tools.len());
    for (index, tool) in tools.iter().enumerate() {
        let path = || Place::Tool(index).path(losses.origin());
        match tool {
            Tool::Function(FunctionTool { name, description, parameters, strict, cache }) => {
                let mut function = Extra::new();
                function.insert("type".into(), json!("function"));
                function.insert("name".into(), json!(name));
                function.extend(description.as_ref().map(|text| ("description".to_owned(), json!(text))));
                function.insert("parameters".into(), parameters.clone().unwrap_or(Value::Null));
                // Absent means strict here, and lenient everywhere else.
                let strict = strict.or((losses.origin() != TARGET).then_some(false));
                function.extend(strict.map(|strict| ("strict".to_owned(), json!(strict))));
                list.push(Value::Object(function));
                if cache.is_some() {
                    losses.waive(format!("{}.cache_control", path()));
                }
            }
            Tool::Custom(tool) => list.push(custom::write_flat(tool)),
            Tool::Foreign(tool) if tool.dialect == TARGET => list.push(tool.value.clone()),
            Tool::Foreign(_) => losses.lose(path(), "only functions can be called there")?,
        }
    }
    Ok((!list.is_empty()).then_some(Value::Array(list)))
}

fn choice(choice: &ToolChoice) -> Value {
    let function = |name: &String| json!({"type": "function", "name": name});
    match choice {
        ToolChoice::Auto => json!("auto"),
        ToolChoice::None => json!("none"),
        ToolChoice::Required => json!("required"),
        ToolChoice::Function(name) => function(name),
        ToolChoice::Custom(name) => json!({"type": "custom", "name": name}),
        ToolChoice::Allowed { required, names } => json!({
            "type": "allowed_tools",
            "mode": if *required { "required" } else { "auto" },
            "tools": names.iter().map(function).collect::<Vec<_>>(),
        }),
    }
}

fn text(format: Option<&OutputFormat>, verbosity: Option<&str>) -> Option<Value> {
    let mut text = Extra::new();
    text.extend(format.map(|format| ("format".to_owned(), self::format(format))));
    text.extend(verbosity.map(|verbosity| ("verbosity".to_owned(), json!(verbosity))));
    (!text.is_empty()).then_some(Value::Object(text))
}

fn format(format: &OutputFormat) -> Value {
    match format {
        OutputFormat::Text => json!({"type": "text"}),
        OutputFormat::JsonObject => json!({"type": "json_object"}),
        OutputFormat::JsonSchema { name, description, schema, strict } => {
            let mut inner = Extra::new();
            inner.insert("type".into(), json!("json_schema"));
            // OpenAI demands a name, and other dialects have none.
            inner.insert("name".into(), json!(name.as_deref().unwrap_or("response")));
            inner.extend(description.as_ref().map(|text| ("description".to_owned(), json!(text))));
            inner.insert("schema".into(), schema.clone());
            inner.extend(strict.map(|strict| ("strict".to_owned(), json!(strict))));
            Value::Object(inner)
        }
    }
}

fn reasoning(thinking: &ThinkingRequest, origin: Dialect) -> Option<Value> {
    let mut reasoning = Extra::new();
    reasoning.extend(effort_word(thinking).map(|word| ("effort".to_owned(), json!(word))));
    let summary = match thinking.shown_to(origin) {
        // It is hidden where nobody asks for a summary.
        None | Some(ThinkingShown::Hidden) => None,
        Some(ThinkingShown::Shown) => Some("auto"),
        Some(ThinkingShown::Concise) => Some("concise"),
        Some(ThinkingShown::Detailed) => Some("detailed"),
    };
    reasoning.extend(summary.map(|word| ("summary".to_owned(), json!(word))));
    (!reasoning.is_empty()).then_some(Value::Object(reasoning))
}
