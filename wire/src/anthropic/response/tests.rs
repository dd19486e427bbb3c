use serde_json::{Value, json};

use super::*;
use crate::anthropic::{parse, usage};
use crate::canonical::{
    Choice, Citation, CitationSource, Dialect, Envelope, Failure, FailureClass, ForeignField, Image,
    Logprobs, MediaSource, Mint, Part, Provider, RedactedThinking, Response, Signature, Stop, StopReason,
    Text, Thinking, ToolCall, Unsupported, Usage, seal,
};

fn envelope() -> Envelope {
    Envelope { id: "msg_1".into(), created: 1, model: "public".into() }
}

fn read(body: &str) -> Result<Response, Failure> {
    to_canonical(parse(body.as_bytes()).expect("parses"), &mut Mint::new("seed"))
}

fn answer(parts: Vec<Part>, reason: StopReason) -> Response {
    Response {
        origin: Dialect::OpenAiChat,
        id: "chatcmpl-1".into(),
        created: Some(1),
        model: "upstream".into(),
        choices: vec![Choice { index: 0, parts, stop: Some(Stop::new(reason)), logprobs: None }],
        usage: Some(Usage { input_uncached: 3, cache_read: 5, output_visible: 7, ..Usage::default() }),
        foreign: Vec::new(),
    }
}

fn written(response: &Response) -> Value {
    let written = from_canonical(response, &envelope(), Unsupported::Refuse).expect("written");
    serde_json::to_value(written.message).expect("writes")
}

#[test]
fn anthropics_answer_comes_back_as_it_was() {
    let body = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "public",
        "content": [
            {"type": "thinking", "thinking": "t", "signature": "EqR+/="},
            {"type": "redacted_thinking", "data": "x+/="},
            {"type": "text", "text": "a", "citations": [
                {"type": "web_search_result_location", "url": "u", "title": "t", "encrypted_index": "E", "cited_text": "c"},
            ]},
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": 1}},
        ],
        "stop_reason": "tool_use", "stop_sequence": null,
        "usage": {
            "input_tokens": 10, "cache_creation_input_tokens": 34, "cache_read_input_tokens": 200,
            "cache_creation": {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 4},
            "output_tokens": 56, "output_tokens_details": {"thinking_tokens": 6},
            "inference_geo": "us", "service_tier": "standard",
        },
        "container": {"id": "c"},
    });
    let response = read(&body.to_string()).expect("an answer");
    assert_eq!(usage::inference_geo(&response.foreign), Some("us"));
    assert_eq!(response.usage.map(|usage| (usage.input(), usage.cache_write_1h)), Some((244, 4)));
    assert_eq!(written(&response), body);
}

/// litellm #24004: an error with a status of success was logged as one.
#[test]
fn a_200_with_an_error_inside_is_a_failure() {
    let failure =
        read(r#"{"type":"error","error":{"type":"overloaded_error","message":"m"},"request_id":"req_1"}"#)
            .expect_err("no answer");
    assert_eq!((failure.class, failure.status), (FailureClass::Overloaded, Some(200)));
    assert_eq!(failure.request_id.as_deref(), Some("req_1"));
    for body in ["{}", r#"{"type":"message"}"#, r#"{"type":"page","content":[]}"#] {
        assert_eq!(read(body).expect_err(body).class, FailureClass::Upstream);
    }
}

#[test]
fn a_call_without_an_id_gets_one() {
    let response = read(
        r#"{"type":"message","content":[{"type":"tool_use","name":"f","input":{}},{"type":"tool_use","id":"","name":"f","input":{}}],"stop_reason":"end_turn"}"#,
    )
    .expect("an answer");
    let ids: Vec<&str> = response.choices[0]
        .parts
        .iter()
        .map(|part| match part {
            Part::ToolCall(call) => call.id.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(ids[0].starts_with("call_") && ids[1].starts_with("call_") && ids[0] != ids[1]);
    assert_eq!(response.choices[0].stop, Some(Stop::new(StopReason::ToolUse)));
}

#[test]
fn an_answer_of_others_is_anthropics() {
    let call = ToolCall {
        id: "call_1".into(),
        name: "f".into(),
        arguments: r#"{"x":1}"#.into(),
        ..ToolCall::default()
    };
    let web = Citation {
        span: None,
        source: CitationSource::Web { url: "u".into(), title: None },
        cited_text: None,
        foreign: None,
    };
    let parts = vec![
        Part::Thinking(Thinking { text: "t".into(), signature: None, id: None }),
        Part::Text(Text { citations: vec![web], ..Text::new("a") }),
        Part::ToolCall(call),
    ];
    assert_eq!(
        written(&answer(parts, StopReason::EndTurn)),
        json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "public",
            "content": [
                {"type": "thinking", "thinking": "t", "signature": ""},
                {"type": "text", "text": "a", "citations": [
                    {"type": "web_search_result_location", "url": "u", "title": null, "encrypted_index": "", "cited_text": ""},
                ]},
                {"type": "tool_use", "id": "call_1", "name": "f", "input": {"x": 1}},
            ],
            "stop_reason": "tool_use", "stop_sequence": null,
            "usage": {
                "input_tokens": 3, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 5,
                "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
                "output_tokens": 7,
            },
        })
    );
}

/// bifrost #1437, #2210: a client must be able to bring Gemini's signatures back.
#[test]
fn signatures_of_others_are_sealed_for_the_way_back() {
    let gemini = Signature { provider: Provider::Gemini, data: "c2ln".into() };
    let call = ToolCall {
        id: "call_1".into(),
        name: "f".into(),
        signature: Some(gemini.clone()),
        ..ToolCall::default()
    };
    let parts = vec![
        Part::Thinking(Thinking { text: "t".into(), signature: Some(gemini.clone()), id: None }),
        Part::RedactedThinking(RedactedThinking { provider: Provider::OpenAi, data: "enc".into() }),
        Part::ToolCall(call),
    ];
    let content = written(&answer(parts, StopReason::ToolUse))["content"].clone();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    assert_eq!(seal::open_signature(Provider::Anthropic, &text(&content[0]["signature"])), gemini);
    let opened = seal::open_signature(Provider::Anthropic, &text(&content[1]["data"]));
    assert_eq!(opened, Signature { provider: Provider::OpenAi, data: "enc".into() });
    assert_eq!(seal::open_call_id(&text(&content[2]["id"])), ("call_1".into(), Some(gemini)));
}

#[test]
fn a_refusal_is_told_in_words_and_in_the_reason() {
    let body = written(&answer(vec![Part::Refusal("no".into())], StopReason::EndTurn));
    assert_eq!(body["content"], json!([{"type": "text", "text": "no"}]));
    assert_eq!(body["stop_reason"], "refusal");
    assert_eq!(written(&answer(Vec::new(), StopReason::ContentFilter))["stop_reason"], "refusal");
}

#[test]
fn what_an_answer_cant_hold_is_refused_or_dropped_and_what_nobody_asked_for_is_waived() {
    let image = Part::Image(Image { source: MediaSource::Url("u".into()), detail: None, cache: None });
    let mut response = answer(vec![Part::text("a"), image], StopReason::EndTurn);
    response.choices[0].logprobs = Some(Logprobs::default());
    response.foreign =
        vec![ForeignField { parent: String::new(), name: "system_fingerprint".into(), value: "x".into() }];
    let error = from_canonical(&response, &envelope(), Unsupported::Refuse).expect_err("refused");
    assert_eq!(error.field, "content[1]");
    let written = from_canonical(&response, &envelope(), Unsupported::Drop).expect("dropped");
    assert_eq!(written.dropped, ["logprobs", "content[1]", "system_fingerprint"]);
    response.choices[0].parts.truncate(1);
    let written = from_canonical(&response, &envelope(), Unsupported::Refuse).expect("written");
    assert_eq!(written.dropped, ["logprobs", "system_fingerprint"]);
    let second = Choice { index: 1, ..Choice::default() };
    response.choices.push(second);
    let written = from_canonical(&response, &envelope(), Unsupported::Refuse).expect("written");
    assert_eq!(written.dropped, ["logprobs", "choices[1]", "system_fingerprint"]);
}

#[test]
fn broken_arguments_are_never_made_up() {
    let call =
        ToolCall { id: "1".into(), name: "f".into(), arguments: "{\"a\":".into(), ..ToolCall::default() };
    let response = answer(vec![Part::ToolCall(call)], StopReason::ToolUse);
    for policy in [Unsupported::Refuse, Unsupported::Drop] {
        assert_eq!(from_canonical(&response, &envelope(), policy).expect_err("refused").field, "content[0]");
    }
}
