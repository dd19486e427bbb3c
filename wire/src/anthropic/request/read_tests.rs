use serde_json::{Value, json};

use super::*;
use crate::anthropic::parse;
use crate::canonical::{
    Amount, CacheMark, CacheTtl, Dialect, Effort, FunctionTool, MediaSource, OutputFormat, Part, Provider,
    RedactedThinking, Request, Role, Signature, Thinking, ThinkingRequest, ThinkingShown, ToolCall,
    ToolChoice as Choice, Unreadable, seal,
};

fn request(fields: Value) -> MessagesRequest {
    let mut body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "a"}]});
    for (name, value) in fields.as_object().expect("an object") {
        body[name] = value.clone();
    }
    parse(body.to_string().as_bytes()).expect("parses")
}

fn read(fields: Value) -> Request {
    to_canonical(request(fields)).expect("reads")
}

fn unreadable(fields: Value) -> Unreadable {
    to_canonical(request(fields)).expect_err("must be refused")
}

fn parts(role: &str, content: Value) -> Vec<Part> {
    let request = read(json!({"messages": [{"role": role, "content": content}]}));
    request.turns.into_iter().next().expect("a turn").parts
}

#[test]
fn every_field_has_its_place() {
    let request = read(json!({
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "metadata": {"user_id": "u"},
        "stop_sequences": ["x"],
        "stream": true,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}, "strict": true}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
        "inference_geo": "us",
        "service_tier": "auto",
    }));
    assert_eq!(request.origin, Dialect::Anthropic);
    let text = &request.system[0].texts[0];
    assert_eq!((text.text.as_str(), text.cache), ("s", Some(CacheMark { ttl: CacheTtl::OneHour })));
    assert_eq!(request.turns[0].parts, [Part::text("a")]);
    assert_eq!(request.sampling.max_output_tokens, Some(9));
    assert_eq!((request.sampling.temperature, request.sampling.top_p), (Some(0.5), Some(0.9)));
    assert_eq!(
        (request.sampling.top_k, request.sampling.stop.as_slice()),
        (Some(5), ["x".to_owned()].as_slice())
    );
    assert_eq!(request.user.as_deref(), Some("u"));
    assert!(request.stream && request.include_usage);
    assert_eq!(
        request.tools,
        [crate::canonical::Tool::Function(FunctionTool {
            name: "f".into(),
            description: Some("d".into()),
            parameters: Some(json!({"type": "object"})),
            strict: Some(true),
            cache: None,
        })]
    );
    assert_eq!((request.tool_choice, request.parallel_tool_calls), (Some(Choice::Required), Some(false)));
    let foreign: Vec<String> = request.foreign.iter().map(|field| field.path()).collect();
    assert_eq!(foreign, ["inference_geo", "service_tier"]);
}

#[test]
fn what_nobody_else_knows_is_kept_by_its_path() {
    let request = read(json!({
        "container": null,
        "messages": [
            {"role": "user", "content": [
                {"type": "image", "source": {"type": "url", "url": "u"}, "transformations": {"oversized_image": "error"}},
            ], "effort": "low"},
        ],
        "tools": [{"name": "f", "input_schema": {}, "defer_loading": true}],
        "output_config": {"task_budget": 1},
        "metadata": {"x": 1},
    }));
    let paths: Vec<String> = request.foreign.iter().map(|field| field.path()).collect();
    assert_eq!(
        paths,
        [
            "messages[0].effort",
            "messages[0].content[0].transformations",
            "tools[0].defer_loading",
            "output_config.task_budget",
            "metadata.x",
        ]
    );
}

#[test]
fn what_makes_no_sense_is_named() {
    for (fields, field) in [
        (json!({"max_tokens": null}), "max_tokens"),
        (json!({"messages": [{"role": "tool", "content": "a"}]}), "messages[0].role"),
        (json!({"system": [{"type": "image", "text": ""}]}), "system[0].type"),
        (json!({"tools": [{"input_schema": {}}]}), "tools[0].name"),
        (json!({"tools": [{"name": "f"}]}), "tools[0].input_schema"),
        (json!({"tool_choice": {"type": "tool"}}), "tool_choice.name"),
        (json!({"tool_choice": {"type": "required"}}), "tool_choice.type"),
        (json!({"thinking": {"type": "enabled"}}), "thinking.budget_tokens"),
        (json!({"thinking": {"type": "adaptive", "display": "all"}}), "thinking.display"),
        (json!({"output_config": {"effort": "huge"}}), "output_config.effort"),
        (json!({"output_config": {"format": {"type": "json_object"}}}), "output_config.format.type"),
        (json!({"output_format": {"type": "json_schema"}}), "output_format.schema"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "base64"}}]}]}),
            "messages[0].content[0].source.media_type",
        ),
        (
            json!({"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": "x"}]}]}),
            "messages[0].content[0].input",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": ""}]}]}),
            "messages[0].content[0].tool_use_id",
        ),
        (
            json!({"messages": [{"role": "system", "content": [{"type": "thinking", "thinking": ""}]}]}),
            "messages[0].content[0].type",
        ),
    ] {
        assert_eq!(unreadable(fields.clone()).field, field, "{fields}");
    }
}

/// anomalyco/opencode #3077, openai-agents-python PR #4155: signatures lost or changed between turns.
#[test]
fn thinking_is_read_byte_for_byte_and_in_its_place() {
    let own = |data: &str| Signature { provider: Provider::Anthropic, data: data.into() };
    let parts = parts(
        "assistant",
        json!([
            {"type": "thinking", "thinking": "", "signature": "EqR+/="},
            {"type": "redacted_thinking", "data": "x+/="},
            {"type": "thinking", "thinking": "open", "signature": ""},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}},
        ]),
    );
    assert_eq!(
        parts[..3],
        [
            Part::Thinking(Thinking { text: String::new(), signature: Some(own("EqR+/=")), id: None }),
            Part::RedactedThinking(RedactedThinking { provider: Provider::Anthropic, data: "x+/=".into() }),
            Part::Thinking(Thinking { text: "open".into(), signature: None, id: None }),
        ]
    );
    assert!(matches!(&parts[3], Part::ToolCall(_)));
}

/// bifrost #1437, #2210: Gemini's signatures must come back from a client that speaks Anthropic.
#[test]
fn what_was_sealed_for_a_client_is_opened() {
    let gemini = Signature { provider: Provider::Gemini, data: "c2ln".into() };
    let id = seal::seal_call_id("call_1", Some(&gemini));
    let thinking = seal::seal_signature(&gemini, Provider::Anthropic);
    let request = read(json!({"messages": [
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "t", "signature": thinking},
            {"type": "redacted_thinking", "data": thinking},
            {"type": "tool_use", "id": id, "name": "f", "input": {}},
        ]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "x"}]},
    ]}));
    let [Part::Thinking(thinking), Part::RedactedThinking(redacted), Part::ToolCall(call)] =
        request.turns[0].parts.as_slice()
    else {
        panic!("{:?}", request.turns[0].parts);
    };
    assert_eq!(thinking.signature.as_ref(), Some(&gemini));
    assert_eq!((redacted.provider, redacted.data.as_str()), (Provider::Gemini, "c2ln"));
    assert_eq!((call.id.as_str(), call.signature.as_ref()), ("call_1", Some(&gemini)));
    let [Part::ToolResult(result)] = request.turns[1].parts.as_slice() else {
        panic!("{:?}", request.turns[1].parts);
    };
    assert_eq!(result.call_id, "call_1");
}

#[test]
fn a_calls_input_keeps_its_bytes() {
    let body = r#"{"model":"m","max_tokens":9,"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{"b": 1.0,  "a":12345678901234567890123},"caller":{"type":"direct"}}]}]}"#;
    let request = to_canonical(parse(body.as_bytes()).expect("parses")).expect("reads");
    assert_eq!(
        request.turns[0].parts,
        [Part::ToolCall(ToolCall {
            id: "a".into(),
            name: "f".into(),
            arguments: r#"{"b": 1.0,  "a":12345678901234567890123}"#.into(),
            ..ToolCall::default()
        })]
    );
    assert!(request.foreign.is_empty(), "the model itself is the caller where nothing is said");
}

#[test]
fn results_hold_text_images_and_failure() {
    let parts = parts(
        "user",
        json!([
            {"type": "tool_result", "tool_use_id": "a", "is_error": true, "content": [
                {"type": "text", "text": "x"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
            ]},
            {"type": "tool_result", "tool_use_id": "b"},
        ]),
    );
    let [Part::ToolResult(first), Part::ToolResult(second)] = parts.as_slice() else { panic!("{parts:?}") };
    assert_eq!((first.call_id.as_str(), first.is_error, first.parts.len()), ("a", Some(true), 2));
    let Part::Image(image) = &first.parts[1] else { panic!("{:?}", first.parts) };
    assert_eq!(image.source, MediaSource::Inline { media_type: "image/png".into(), data: "AA==".into() });
    assert_eq!((second.is_error, second.parts.as_slice()), (None, [].as_slice()));
}

#[test]
fn thinking_is_asked_for_in_three_ways() {
    for (fields, amount, shown) in [
        (json!({"thinking": {"type": "disabled"}}), Amount::Off, None),
        (json!({"thinking": {"type": "enabled", "budget_tokens": 2048}}), Amount::Budget(2048), None),
        (
            json!({"thinking": {"type": "adaptive", "display": "omitted"}}),
            Amount::Dynamic,
            Some(ThinkingShown::Hidden),
        ),
        (
            json!({"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "max"}}),
            Amount::Effort(Effort::Max),
            Some(ThinkingShown::Shown),
        ),
        (json!({"output_config": {"effort": "low"}}), Amount::Effort(Effort::Low), None),
    ] {
        let request = read(fields.clone());
        assert_eq!(request.thinking, Some(ThinkingRequest { amount: Some(amount), shown }), "{fields}");
        assert!(request.foreign.is_empty());
    }
    let both = read(json!({"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}}));
    assert_eq!(both.foreign[0].path(), "output_config.effort");
    let newer = read(json!({"thinking": {"type": "between_tools"}}));
    assert_eq!(newer.foreign[0].path(), "thinking.type");
}

#[test]
fn the_answers_form_is_read_from_both_places() {
    let format = json!({"type": "json_schema", "schema": {"b": 1, "a": 2}});
    for fields in [json!({"output_config": {"format": format}}), json!({"output_format": format})] {
        let Some(OutputFormat::JsonSchema { name: None, description: None, schema, strict: Some(true) }) =
            read(fields).output_format
        else {
            panic!("a schema");
        };
        assert_eq!(schema.to_string(), r#"{"b":1,"a":2}"#);
    }
    let both = json!({"output_config": {"format": format}, "output_format": format});
    assert_eq!(unreadable(both).field, "output_format");
}

/// Claude Code sends instructions in the midst of a conversation.
#[test]
fn instructions_keep_their_place() {
    let request = read(json!({"messages": [
        {"role": "system", "content": "first"},
        {"role": "user", "content": "a"},
        {"role": "system", "content": [{"type": "text", "text": "then"}]},
    ]}));
    assert_eq!(request.system[0].texts[0].text, "first");
    let roles: Vec<(Role, u32)> = request.turns.iter().map(|turn| (turn.role, turn.place)).collect();
    assert_eq!(roles, [(Role::User, 1), (Role::System, 2)]);
}

#[test]
fn a_mark_on_the_whole_prompt_is_one_on_its_last_block() {
    let request = read(json!({"cache_control": {"type": "ephemeral"}, "messages": [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    ]}));
    let marks: Vec<Option<CacheMark>> = request.turns[0]
        .parts
        .iter()
        .map(|part| match part {
            Part::Text(text) => text.cache,
            _ => None,
        })
        .collect();
    assert_eq!(marks, [None, Some(CacheMark::default())]);
    assert!(request.foreign.is_empty());
}

#[test]
fn hosted_tools_and_their_blocks_stay_whole() {
    let tool = json!({"type": "web_search_20250305", "name": "web_search", "max_uses": 2});
    let block =
        json!({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"q": "x"}});
    let request = read(json!({
        "tools": [tool],
        "messages": [{"role": "assistant", "content": [block]}],
    }));
    let [crate::canonical::Tool::Foreign(kept)] = request.tools.as_slice() else {
        panic!("{:?}", request.tools)
    };
    assert_eq!((kept.kind.as_str(), &kept.value), ("web_search_20250305", &tool));
    let [Part::Foreign(kept)] = request.turns[0].parts.as_slice() else { panic!("{:?}", request.turns) };
    assert_eq!((kept.kind.as_str(), &kept.value), ("server_tool_use", &block));
}
