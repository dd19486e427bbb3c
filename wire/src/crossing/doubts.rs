//! What is left out without being refused, and what is refused, whichever dialects meet.

use serde_json::json;

use super::door::{
    DOORS, assembled, envelope, read_request, read_stream, read_whole, write_request, write_stream,
    write_whole,
};
use crate::canonical::{
    Amount, Choice, Citation, CitationSource, Dialect, Effort, Extra, FailureClass, ForeignField, Part,
    Provider, RedactedThinking, Request, Response, Role, Signature, Stop, StopReason, Text, Thinking,
    ThinkingRequest, ToolCall, ToolResult, Turn, Unsupported, Usage, WriteStream, play,
};
use crate::gemini::Framing;
use crate::openai::translate::completions;

fn signed(provider: Provider) -> Option<Signature> {
    Some(Signature { provider, data: format!("SIG+{}=", provider.as_str()) })
}

fn field(parent: &str, name: &str) -> ForeignField {
    ForeignField { parent: parent.into(), name: name.into(), value: json!({"some": "thing"}) }
}

fn call(signature: Option<Signature>) -> Part {
    Part::ToolCall(ToolCall {
        id: "c1".into(),
        name: "f".into(),
        arguments: "{}".into(),
        signature,
        cache: None,
    })
}

fn answer(origin: Dialect, parts: Vec<Part>) -> Response {
    let mut choice = Choice { index: 0, parts, stop: None, logprobs: None };
    choice.stop = Some(Stop::new(StopReason::EndTurn.with_calls(choice.calls_tools())));
    Response {
        origin,
        id: envelope().id,
        created: None,
        model: "m".into(),
        choices: vec![choice],
        usage: Some(Usage { input_uncached: 3, output_visible: 2, ..Usage::default() }),
        foreign: Vec::new(),
    }
}

#[test]
fn a_paid_answer_is_never_refused_over_metadata() {
    for origin in DOORS {
        let provider = origin.provider();
        let strange = Citation {
            span: None,
            source: CitationSource::Foreign { kind: "nobody_knows".into() },
            cited_text: None,
            foreign: Some((origin, Extra::new())),
        };
        let cited = Text { citations: vec![strange], ..Text::new("a") };
        let mut response = answer(
            origin,
            vec![
                Part::Text(Text { signature: signed(provider), ..cited }),
                Part::Text(Text { signature: signed(provider), ..Text::default() }),
                call(signed(provider)),
            ],
        );
        response.foreign = vec![field("", "remark"), field("usage", "inner"), field("choices[0]", "why")];
        if let Some(stop) = &mut response.choices[0].stop {
            stop.foreign = vec![field("", "stop_details"), field("candidates[0]", "safetyRatings")];
        }
        for door in DOORS {
            let whole = write_whole(door, &response);
            let (body, dropped) = whole.unwrap_or_else(|error| panic!("{origin} to {door}: {error}"));
            assert!(door == Dialect::Gemini || !body.contains(r#""text":"""#), "{door}: {body}");
            let streamed = write_stream(door, Framing::Sse, &play(&response));
            let (bytes, of_stream) = streamed.unwrap_or_else(|error| panic!("{origin} to {door}: {error}"));
            assert!(assembled(&read_stream(door, &[&bytes])).choices[0].calls_tools());
            if origin != door {
                for dropped in [&dropped, &of_stream] {
                    let has = |name: &str| dropped.iter().any(|path| path == name);
                    assert!(has("remark") && has("stop_details"), "{origin} to {door}: {dropped:?}");
                }
            }
        }
    }
}

/// The older completions hold nothing but text.
#[test]
fn a_completion_is_not_refused_over_metadata_either() {
    let signed = Text { signature: signed(Provider::Gemini), ..Text::new("a") };
    let mut response = answer(Dialect::Gemini, vec![Part::Text(signed)]);
    response.foreign = vec![field("", "remark")];
    if let Some(stop) = &mut response.choices[0].stop {
        stop.foreign = vec![field("candidates[0]", "safetyRatings")];
    }
    let expected = ["remark", "candidates[0].content.parts[0].signature", "candidates[0].safetyRatings"];
    let whole = completions::response::from_canonical(&response, &envelope(), Unsupported::Refuse);
    assert_eq!(whole.expect("written").dropped, expected);
    let mut writer = completions::StreamWriter::new(envelope(), true, Unsupported::Refuse);
    for event in play(&response) {
        writer.write(&event, &mut Vec::new()).expect("written");
    }
    assert_eq!(writer.dropped(), expected);
}

/// Another provider began the conversation: it goes on, and what was asked stays as it was.
#[test]
fn a_conversation_goes_on_at_another_provider() {
    let turn = |role, place, parts| Turn { role, parts, name: None, place };
    for origin in DOORS {
        for provider in Provider::ALL {
            let mut request = Request::new(origin, "gemini-2.5-pro");
            request.sampling.max_output_tokens = Some(30_000);
            request.thinking =
                Some(ThinkingRequest { amount: Some(Amount::Effort(Effort::High)), shown: None });
            request.turns = vec![turn(Role::User, 0, vec![Part::text("q")])];
            let asked: Vec<_> = DOORS.map(|door| thinking_of(door, &request)).into();
            let text = Text { signature: signed(provider), ..Text::new("a") };
            request.turns.push(turn(
                Role::Assistant,
                1,
                vec![
                    Part::Thinking(Thinking { text: "hm".into(), signature: signed(provider), id: None }),
                    Part::RedactedThinking(RedactedThinking { provider, data: "SECRET".into() }),
                    Part::Text(text),
                    call(signed(provider)),
                ],
            ));
            let result =
                ToolResult { call_id: "c1".into(), parts: vec![Part::text("1")], ..Default::default() };
            request.turns.push(turn(Role::User, 2, vec![Part::ToolResult(result)]));
            for (door, asked) in DOORS.into_iter().zip(asked) {
                let written = write_request(door, &request, Unsupported::Refuse);
                let (body, dropped) = written.unwrap_or_else(|error| panic!("{origin} to {door}: {error}"));
                assert_eq!(thinking_of(door, &request), asked);
                if door.provider() != provider {
                    assert!(dropped.len() >= 4, "what is left out is reported: {dropped:?}");
                    let body = body.to_string();
                    assert!(!body.contains("SIG+") && !body.contains("SECRET"), "{door}: {body}");
                }
            }
        }
    }
}

/// What an upstream of `door` is asked to think.
fn thinking_of(door: Dialect, request: &Request) -> serde_json::Value {
    let (body, _) = write_request(door, request, Unsupported::Refuse).expect("expressible");
    let at = |path: &str| body.pointer(path).cloned().unwrap_or_default();
    let asked = match door {
        Dialect::OpenAiChat | Dialect::OpenAiCompletions => at("/reasoning_effort"),
        Dialect::OpenAiResponses => at("/reasoning"),
        Dialect::Anthropic => json!([at("/thinking"), at("/output_config/effort")]),
        Dialect::Gemini => at("/generationConfig/thinkingConfig"),
        Dialect::Converse => at("/outputConfig/effort"),
    };
    assert!(!asked.is_null(), "{door}: {body}");
    asked
}

#[test]
fn broken_arguments_in_an_answer_are_the_upstreams_failure() {
    let body = json!({
        "id": "x", "object": "chat.completion", "created": 7, "model": "m",
        "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
            "role": "assistant", "content": null,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":"}}],
        }}],
    });
    let response = read_whole(Dialect::OpenAiChat, &body.to_string()).expect("an answer");
    for door in [Dialect::Anthropic, Dialect::Gemini, Dialect::Converse] {
        let failure = write_whole(door, &response).expect_err("no object").to_failure();
        assert_eq!((failure.class, failure.param), (FailureClass::Upstream, None), "{door}");
    }
    // Where arguments are text, the client gets them as the model wrote them.
    for door in [Dialect::OpenAiChat, Dialect::OpenAiResponses] {
        assert!(write_whole(door, &response).expect("text").0.contains(r#"{\"a\":"#), "{door}");
    }
}

#[test]
fn efforts_come_to_no_more_than_was_asked() {
    let from_anthropic = |effort: &str| {
        let body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "q"}],
            "thinking": {"type": "adaptive"}, "output_config": {"effort": effort}});
        read_request(Dialect::Anthropic, &body)
    };
    let effort = |door, request: &Request| thinking_of(door, request);
    for word in ["low", "medium", "high", "xhigh", "max"] {
        let request = from_anthropic(word);
        assert_eq!(effort(Dialect::Anthropic, &request)[1], word, "comes back");
    }
    let body =
        json!({"model": "m", "messages": [{"role": "user", "content": "q"}], "reasoning_effort": "xhigh"});
    let openai = read_request(Dialect::OpenAiChat, &body);
    assert_eq!(effort(Dialect::Anthropic, &openai)[1], "xhigh", "and not `max`");
    assert_eq!(effort(Dialect::OpenAiChat, &from_anthropic("max")), "xhigh", "OpenAI has no more");
}

#[test]
fn a_hint_is_waived_and_a_wish_is_refused_by_name() {
    let tool = json!({"name": "f", "input_schema": {"type": "object"},
        "eager_input_streaming": true, "defer_loading": true, "cache_control": {"type": "ephemeral"}});
    let mut body = json!({"model": "gemini-2.5-pro", "max_tokens": 9,
        "messages": [{"role": "user", "content": "q"}], "tools": [tool]});
    let request = read_request(Dialect::Anthropic, &body);
    for door in [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::Gemini, Dialect::Converse] {
        let (_, mut dropped) = write_request(door, &request, Unsupported::Refuse).expect("hints only");
        dropped.sort();
        let expected = ["tools[0].cache_control", "tools[0].defer_loading", "tools[0].eager_input_streaming"];
        assert_eq!(dropped, expected, "{door}");
    }
    body["mcp_servers"] = json!([{"type": "url", "url": "https://x"}]);
    let request = read_request(Dialect::Anthropic, &body);
    for door in [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::Gemini, Dialect::Converse] {
        let error = write_request(door, &request, Unsupported::Refuse).expect_err("a wish");
        assert_eq!(error.field, "mcp_servers");
        let (_, dropped) = write_request(door, &request, Unsupported::Drop).expect("dropped");
        assert!(dropped.contains(&"mcp_servers".to_owned()));
    }
}

/// A stream's end keeps what nobody translates: its own clients get it, others do without.
#[test]
fn the_end_of_a_stream_keeps_what_nobody_translates() {
    let details = json!({"type": "refusal", "category": "x"});
    let body = json!({"id": "m1", "type": "message", "role": "assistant", "model": "m",
        "content": [{"type": "text", "text": "a"}], "stop_reason": "refusal", "stop_sequence": null,
        "stop_details": details, "container": {"id": "c"}, "usage": {"input_tokens": 1, "output_tokens": 1}});
    let response = read_whole(Dialect::Anthropic, &body.to_string()).expect("an answer");
    let (bytes, dropped) = write_stream(Dialect::Anthropic, Framing::Sse, &play(&response)).expect("written");
    assert_eq!(dropped, Vec::<String>::new());
    let streamed = assembled(&read_stream(Dialect::Anthropic, &[&bytes]));
    assert_eq!(streamed.choices[0].stop, response.choices[0].stop);
    let (again, _) = write_whole(Dialect::Anthropic, &streamed).expect("written");
    let again: serde_json::Value = serde_json::from_str(&again).expect("JSON");
    assert_eq!((&again["stop_details"], &again["container"]["id"]), (&details, &json!("c")));

    let ratings = json!([{"category": "X", "probability": "LOW"}]);
    let piece =
        json!({"candidates": [{"content": {"role": "model", "parts": [{"text": "a"}]}}], "responseId": "r"});
    let last = json!({"candidates": [{"finishReason": "STOP", "safetyRatings": ratings}], "responseId": "r"});
    let bytes = format!("data: {piece}\n\ndata: {last}\n\n").into_bytes();
    let events = read_stream(Dialect::Gemini, &[&bytes]);
    let (bytes, dropped) = write_stream(Dialect::Gemini, Framing::Sse, &events).expect("written");
    assert_eq!(dropped, Vec::<String>::new());
    assert!(String::from_utf8(bytes).expect("UTF-8").contains(&ratings.to_string()));
    let (_, dropped) = write_stream(Dialect::OpenAiChat, Framing::Sse, &events).expect("written");
    assert_eq!(dropped, ["candidates[0].safetyRatings"]);
}

/// Clients send an answer back as they got it, with what its server said beside the words.
#[test]
fn what_a_server_said_of_an_answer_is_not_refused_when_it_comes_back() {
    let bodies = [
        (
            Dialect::OpenAiChat,
            json!({"model": "gemini-2.5-pro", "messages": [
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": "a", "provider_specific": {"x": 1}, "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}, "mark": true}]},
                {"role": "tool", "tool_call_id": "c1", "content": "1"},
            ]}),
            json!({"role": "user", "content": "q", "provider_specific": 1}),
            "messages",
        ),
        (
            Dialect::OpenAiResponses,
            json!({"model": "gemini-2.5-pro", "input": [
                {"role": "user", "content": "q"},
                {"type": "message", "role": "assistant", "created_by": "x", "content": [{"type": "output_text", "text": "a"}]},
                {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}", "namespace": "n"},
                {"type": "function_call_output", "call_id": "c1", "output": "1"},
            ]}),
            json!({"role": "user", "content": "q", "created_by": "x"}),
            "input",
        ),
        (
            Dialect::Anthropic,
            json!({"model": "gemini-2.5-pro", "max_tokens": 9, "messages": [
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": [
                    {"type": "tool_use", "id": "c1", "name": "f", "input": {}, "caller": {"type": "code_execution_20260120"}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "1"}]},
            ]}),
            json!({"role": "user", "content": [{"type": "text", "text": "q", "caller": 1}]}),
            "messages",
        ),
        (
            Dialect::Gemini,
            json!({"contents": [
                {"role": "user", "parts": [{"text": "q"}]},
                {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}, "partMetadata": {"x": 1}}]},
                {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]},
            ]}),
            json!({"role": "user", "parts": [{"text": "q", "partMetadata": {"x": 1}}]}),
            "contents",
        ),
        (
            Dialect::Converse,
            json!({"messages": [
                {"role": "user", "content": [{"text": "q"}]},
                {"role": "assistant", "content": [{"toolUse": {"toolUseId": "c1", "name": "f", "input": {}, "mark": 1}}]},
                {"role": "user", "content": [{"toolResult": {"toolUseId": "c1", "content": [{"text": "1"}]}}]},
            ]}),
            json!({"role": "user", "content": [{"toolResult": {"toolUseId": "c1", "mark": 1, "content": []}}]}),
            "messages",
        ),
    ];
    for (origin, body, wish, list) in bodies {
        let request = read_request(origin, &body);
        assert!(!request.remarks.is_empty() && request.foreign.is_empty(), "{origin}");
        for door in DOORS {
            let (body, dropped) = write_request(door, &request, Unsupported::Refuse)
                .unwrap_or_else(|error| panic!("{origin} to {door}: {error}"));
            if origin == door && door == Dialect::Gemini {
                assert_eq!(body["contents"][1]["parts"][0]["partMetadata"], json!({"x": 1}), "given back");
            } else {
                assert_eq!(dropped.len(), request.remarks.len(), "{origin} to {door}: {dropped:?}");
            }
        }
        // The same in the caller's own words is a wish.
        let mut wished = body.clone();
        wished[list] = json!([wish]);
        let request = read_request(origin, &wished);
        for door in DOORS.into_iter().filter(|door| *door != origin) {
            assert!(write_request(door, &request, Unsupported::Refuse).is_err(), "{origin} to {door}");
        }
    }
}
