//! Requests, written for an upstream.

use serde_json::{Value, json};

use super::super::super::chat::ChatCompletionRequest;
use super::super::super::{Extra, StreamOptions};
use super::super::Server;
use super::super::custom;
use super::super::shared::{effort_word, takes_foreign};
use super::messages_out;
use crate::canonical::{
    Dialect, Field, FunctionTool, Inexpressible, Joining, Losses, OutputFormat, Place, Request, Sampling,
    ThinkingRequest, Tool, ToolChoice, Translated, Unsupported,
};

const TARGET: Dialect = Dialect::OpenAiChat;

/// Writes a request.
///
/// # Errors
/// Where `server` has no words for a field and the caller did not say to drop.
pub fn from_canonical(
    request: &Request,
    server: Server,
    policy: Unsupported,
) -> Result<Translated<ChatCompletionRequest>, Inexpressible> {
    let Request {
        origin,
        model,
        system,
        turns: _,
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
        include_usage,
        user,
        metadata,
        foreign,
        remarks,
    } = request;
    let Sampling {
        max_output_tokens,
        temperature,
        top_p,
        top_k,
        seed,
        stop,
        presence_penalty,
        frequency_penalty,
    } = sampling;
    // Its own client has said which messages there are.
    let joining = if *origin == TARGET { Joining::Keep } else { Joining::Answers };
    let mut losses = Losses::new(policy, *origin, TARGET);
    let mut extra = Extra::new();
    let mut put =
        |name: &str, value: Option<Value>| extra.extend(value.map(|value| (name.to_owned(), value)));
    put("tools", tool_list(tools, &mut losses)?);
    put("tool_choice", tool_choice.as_ref().map(choice));
    put("parallel_tool_calls", parallel_tool_calls.map(Value::Bool));
    put("response_format", output_format.as_ref().map(format));
    put("reasoning_effort", thinking.as_ref().and_then(|thinking| effort(thinking, &mut losses)));
    put("verbosity", verbosity.clone().map(Value::String));
    put("user", user.clone().map(Value::String));
    put("metadata", (!metadata.is_empty()).then(|| json!(metadata)));
    match (top_k, server) {
        (Some(top_k), Server::Compatible) => put("top_k", Some(json!(top_k))),
        (Some(_), Server::OpenAi) => {
            losses.lose(Field::TopK.name(*origin), "leave it out, or use `top_p`")?
        }
        (None, _) => {}
    }
    losses.waive_all(remarks);
    extra.extend(losses.foreign(foreign, |origin, name| takes_foreign(TARGET, origin, name))?);
    let message = ChatCompletionRequest {
        model: model.clone(),
        messages: messages_out::write(system, &request.joined(joining), server, &mut losses)?,
        max_tokens: None,
        max_completion_tokens: *max_output_tokens,
        temperature: *temperature,
        top_p: *top_p,
        seed: *seed,
        n: *choices,
        stop: stop.clone(),
        presence_penalty: *presence_penalty,
        frequency_penalty: *frequency_penalty,
        logprobs: logprobs.map(|_| true),
        top_logprobs: logprobs.and_then(|logprobs| logprobs.top),
        stream: stream.then_some(true),
        stream_options: (*stream && *include_usage)
            .then(|| StreamOptions { include_usage: Some(true), ..StreamOptions::default() }),
        extra,
    };
    Ok(Translated { message, dropped: losses.into_dropped() })
}

fn tool_list(tools: &[Tool], losses: &mut Losses) -> Result<Option<Value>, Inexpressible> {
    let mut list = Vec::with_capacity(tools.len());
    for (index, tool) in tools.iter().enumerate() {
        let path = || Place::Tool(index).path(losses.origin());
        match tool {
            Tool::Function(FunctionTool { name, description, parameters, strict, cache }) => {
                let mut function = Extra::new();
                function.insert("name".into(), json!(name));
                function.extend(description.as_ref().map(|text| ("description".to_owned(), json!(text))));
                function.extend(parameters.clone().map(|schema| ("parameters".to_owned(), schema)));
                function.extend(strict.map(|strict| ("strict".to_owned(), json!(strict))));
                list.push(json!({"type": "function", "function": function}));
                if cache.is_some() {
                    losses.waive(format!("{}.cache_control", path()));
                }
            }
            Tool::Custom(tool) => list.push(custom::write_wrapped(tool)),
            Tool::Foreign(tool) if tool.dialect == TARGET => list.push(tool.value.clone()),
            Tool::Foreign(_) => losses.lose(path(), "only functions can be called there")?,
        }
    }
    Ok((!list.is_empty()).then_some(Value::Array(list)))
}

fn choice(choice: &ToolChoice) -> Value {
    let function = |name: &String| json!({"type": "function", "function": {"name": name}});
    match choice {
        ToolChoice::Auto => json!("auto"),
        ToolChoice::None => json!("none"),
        ToolChoice::Required => json!("required"),
        ToolChoice::Function(name) => function(name),
        ToolChoice::Custom(name) => json!({"type": "custom", "custom": {"name": name}}),
        ToolChoice::Allowed { required, names } => json!({
            "type": "allowed_tools",
            "allowed_tools": {
                "mode": if *required { "required" } else { "auto" },
                "tools": names.iter().map(function).collect::<Vec<_>>(),
            },
        }),
    }
}

fn format(format: &OutputFormat) -> Value {
    match format {
        OutputFormat::Text => json!({"type": "text"}),
        OutputFormat::JsonObject => json!({"type": "json_object"}),
        OutputFormat::JsonSchema { name, description, schema, strict } => {
            let mut inner = Extra::new();
            // OpenAI demands a name, and other dialects have none.
            inner.insert("name".into(), json!(name.as_deref().unwrap_or("response")));
            inner.extend(description.as_ref().map(|text| ("description".to_owned(), json!(text))));
            inner.insert("schema".into(), schema.clone());
            inner.extend(strict.map(|strict| ("strict".to_owned(), json!(strict))));
            json!({"type": "json_schema", "json_schema": inner})
        }
    }
}

fn effort(thinking: &ThinkingRequest, losses: &mut Losses) -> Option<Value> {
    // Whether thinking is shown changes no answer, and the server decides.
    if thinking.shown.is_some() {
        losses.waive(Field::ThinkingShown.name(losses.origin()));
    }
    effort_word(thinking).map(|word| json!(word))
}
