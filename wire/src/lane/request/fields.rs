//! The table of fields in `docs/gateway.md`: what each becomes at each upstream, or that it is refused.

use serde_json::{Value, json};

use super::written::conversation;
use crate::canonical::{Field, Request, ThinkingRequest, ThinkingShown, Unsupported};
use crate::gemini::Upstream;
use crate::lane::tests::PROFILE;
use crate::lane::{Operation, Speaks};
use crate::openai;
use crate::openai::translate::chat;

const DOCUMENT: &str = include_str!("../../../../docs/gateway.md");

/// A request of chat completions with these fields beside its one message.
fn asked(more: &Value) -> Request {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "q"}]});
    for (name, value) in more.as_object().expect("an object") {
        body[name] = value.clone();
    }
    chat::request::to_canonical(openai::parse(body.to_string().as_bytes()).expect("parses"))
        .expect("makes sense")
}

fn said(part: &Value) -> Value {
    json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}, part]}]})
}

/// What is asked, in words, its name, and a request that asks it.
fn rows() -> Vec<(&'static str, Option<Field>, Request)> {
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let schema = json!({"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object",
        "properties": {}, "additionalProperties": false}}});
    let mut top_k = asked(&json!({}));
    top_k.sampling.top_k = Some(4);
    let mut shown = asked(&json!({}));
    shown.thinking = Some(ThinkingRequest { amount: None, shown: Some(ThinkingShown::Shown) });
    let field = |words, field, more: Value| (words, Some(field), asked(&more));
    let part = |words, part: Value| (words, None, asked(&said(&part)));
    vec![
        field(
            "instructions",
            Field::System,
            json!({"messages": [{"role": "system", "content": "s"},
            {"role": "user", "content": "q"}]}),
        ),
        field("tools", Field::Tools, json!({"tools": tools})),
        field("which tool", Field::ToolChoice, json!({"tools": tools, "tool_choice": "required"})),
        field(
            "one call at most",
            Field::ParallelToolCalls,
            json!({"tools": tools, "parallel_tool_calls": false}),
        ),
        field("tokens at most", Field::MaxOutputTokens, json!({"max_completion_tokens": 9})),
        field("temperature", Field::Temperature, json!({"temperature": 0.5})),
        field("nucleus sampling", Field::TopP, json!({"top_p": 0.5})),
        ("the k likeliest", Some(Field::TopK), top_k),
        field("seed", Field::Seed, json!({"seed": 1})),
        field("strings that end it", Field::Stop, json!({"stop": ["x"]})),
        field("presence penalty", Field::PresencePenalty, json!({"presence_penalty": 0.5})),
        field("frequency penalty", Field::FrequencyPenalty, json!({"frequency_penalty": 0.5})),
        field("several answers", Field::Choices, json!({"n": 2})),
        field("log probabilities", Field::Logprobs, json!({"logprobs": true, "top_logprobs": 2})),
        field("a JSON schema", Field::OutputFormat, json!({"response_format": schema})),
        field("some JSON", Field::OutputFormat, json!({"response_format": {"type": "json_object"}})),
        field("how much to think", Field::Thinking, json!({"reasoning_effort": "low"})),
        ("thinking shown", Some(Field::ThinkingShown), shown),
        field("verbosity", Field::Verbosity, json!({"verbosity": "low"})),
        field("end user", Field::User, json!({"user": "u"})),
        field("labels", Field::Metadata, json!({"metadata": {"a": "b"}})),
        part(
            "an image, inline",
            json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}),
        ),
        part(
            "an image, by URL",
            json!({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}),
        ),
        part("sound", json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}})),
        part(
            "a PDF, inline",
            json!({"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}}),
        ),
    ]
}

fn columns() -> Vec<(&'static str, Speaks)> {
    vec![
        ("OpenAICompatible", Speaks::openai_compatible()),
        ("OpenAI", Speaks::openai()),
        ("Anthropic", Speaks::anthropic(PROFILE)),
        ("Gemini", Speaks::gemini(Upstream::default())),
        ("Bedrock, not Claude", Speaks::bedrock("meta.llama3")),
    ]
}

#[test]
fn the_documents_table_of_fields_is_what_is_done() {
    let columns = columns();
    let mut table = "| A caller asks |".to_owned();
    table += &columns.iter().map(|(name, _)| format!(" {name} |")).collect::<String>();
    table += &format!("\n|---|{}\n", "---|".repeat(columns.len()));
    for (words, field, request) in rows() {
        table += &format!("| {words} |");
        for (_, speaks) in &columns {
            // As a caller of another dialect is translated.
            let operation = [Operation::Messages, Operation::ChatCompletions];
            let door = operation.into_iter().find(|door| !speaks.takes(*door)).expect("a foreign door");
            let there = speaks.asked(door, false).expect("a way");
            let cell = match conversation(&request, speaks, there, Unsupported::Refuse) {
                // A hint: without it the answer is the same.
                Ok((_, dropped)) if !dropped.is_empty() => "left out".to_owned(),
                Ok(_) => field.map_or("yes".to_owned(), |field| format!("`{}`", field.name(there.dialect()))),
                Err(_) => "refused".to_owned(),
            };
            table += &format!(" {cell} |");
        }
        table += "\n";
    }
    assert!(DOCUMENT.contains(&table), "docs/gateway.md lacks this table:\n{table}");
}
