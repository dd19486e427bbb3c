//! Custom tools, which take free text: OpenAI's two endpoints have them, and nobody else.

use serde_json::{Value, json};

use super::door::{
    DOORS, assembled, read_request, read_stream, read_whole, write_request, write_stream, write_whole,
};
use crate::canonical::{CustomCall, Dialect, Event, FailureClass, Part, StopReason, Unsupported, play};
use crate::gemini::Framing;
use crate::sse;

const OPENAIS: [Dialect; 2] = [Dialect::OpenAiChat, Dialect::OpenAiResponses];
const OTHERS: [Dialect; 3] = [Dialect::Anthropic, Dialect::Gemini, Dialect::Converse];

/// A loop in which the model called a custom tool and a function.
fn chat() -> Value {
    json!({
        "model": "gemini-2.5-pro", "max_completion_tokens": 900,
        "tools": [
            {"type": "custom", "custom": {"name": "patch", "description": "Applies a patch.", "format":
                {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /.+/"}}}},
            {"type": "custom", "custom": {"name": "note", "format": {"type": "text"}}},
            {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}},
        ],
        "tool_choice": {"type": "custom", "custom": {"name": "patch"}},
        "messages": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "c1", "type": "custom", "custom": {"name": "patch", "input": "*** Begin\n+\"x\"\n"}},
                {"id": "c2", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            ]},
            {"role": "tool", "tool_call_id": "c1", "content": "ok"},
            {"role": "tool", "tool_call_id": "c2", "content": "1"},
        ],
    })
}

fn responses() -> Value {
    json!({
        "model": "gemini-2.5-pro", "max_output_tokens": 900,
        "tools": [
            {"type": "custom", "name": "patch", "description": "Applies a patch.", "format":
                {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}},
            {"type": "custom", "name": "note", "format": {"type": "text"}},
            {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": false},
        ],
        "tool_choice": {"type": "custom", "name": "patch"},
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "q"}]},
            {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": "*** Begin\n+\"x\"\n"},
            {"type": "function_call", "call_id": "c2", "name": "f", "arguments": "{}"},
            {"type": "custom_tool_call_output", "call_id": "c1", "output": "ok"},
            {"type": "function_call_output", "call_id": "c2", "output": "1"},
        ],
    })
}

#[test]
fn a_loop_with_a_custom_tool_goes_between_openais_endpoints() {
    for (origin, body) in [(Dialect::OpenAiChat, chat()), (Dialect::OpenAiResponses, responses())] {
        let request = read_request(origin, &body);
        let (body, dropped) =
            write_request(Dialect::OpenAiChat, &request, Unsupported::Refuse).expect("taken");
        assert_eq!((&body["tools"][0], &body["tools"][1]), (&chat()["tools"][0], &chat()["tools"][1]));
        assert_eq!(body["tool_choice"], chat()["tool_choice"]);
        let tail = |body: &Value| body["messages"].as_array().expect("messages")[1..].to_vec();
        assert_eq!(tail(&body), tail(&chat()), "from {origin}");
        assert_eq!(dropped, Vec::<String>::new());
        let (body, dropped) =
            write_request(Dialect::OpenAiResponses, &request, Unsupported::Refuse).expect("taken");
        for name in ["tools", "tool_choice", "input"] {
            assert_eq!(body[name], responses()[name], "from {origin}");
        }
        assert_eq!(dropped, Vec::<String>::new());
    }
}

/// Where it is dropped, its choice, its call and the call's result go with it: a result without its call is refused.
#[test]
fn a_custom_tool_is_refused_by_name_or_dropped_whole() {
    let tools = [(Dialect::OpenAiChat, chat()), (Dialect::OpenAiResponses, responses())];
    for (origin, mut body) in tools {
        let request = read_request(origin, &body);
        for door in OTHERS {
            let (written, dropped) = write_request(door, &request, Unsupported::Drop).expect("dropped");
            let text = written.to_string();
            assert!(!text.contains("patch") && !text.contains("c1"), "{origin} to {door}: {text}");
            assert!(text.contains("c2"), "the other call stays: {text}");
            assert!(dropped.iter().any(|path| path == "tool_choice"), "{dropped:?}");
            assert!(
                dropped.iter().any(|path| path.contains("tools") && path.ends_with("[0]")),
                "{dropped:?}"
            );
        }
        for (name, field) in [("tools", "tools[0]"), ("tool_choice", "tool_choice")] {
            let mut other = body.clone();
            other[if origin == Dialect::OpenAiChat { "messages" } else { "input" }] =
                json!([{"role": "user", "content": "q"}]);
            if name == "tools" {
                other["tool_choice"] = Value::Null;
            } else {
                other["tools"] = json!([other["tools"][2]]);
            }
            for door in OTHERS {
                let request = read_request(origin, &other);
                let error = write_request(door, &request, Unsupported::Refuse).expect_err("refused");
                assert_eq!(error.field, field, "{origin} to {door}");
                assert_eq!(error.to_failure().class, FailureClass::BadRequest);
            }
        }
        body["tools"] = Value::Null;
        body["tool_choice"] = Value::Null;
        let request = read_request(origin, &body);
        for door in OTHERS {
            let error = write_request(door, &request, Unsupported::Refuse).expect_err("refused");
            let expected = if origin == Dialect::OpenAiChat { "messages[1]" } else { "input[1]" };
            assert_eq!(error.field, expected, "{origin} to {door}");
        }
    }
}

fn chat_stream() -> Vec<u8> {
    let piece = |call: Value| json!({"id": "i", "created": 7, "model": "m", "choices": [{"index": 0, "delta": {"tool_calls": [call]}}]});
    let end = json!({"id": "i", "created": 7, "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]});
    let mut bytes = Vec::new();
    for chunk in [
        piece(json!({"index": 0, "id": "c1", "type": "custom", "custom": {"name": "patch", "input": ""}})),
        piece(json!({"index": 0, "custom": {"input": "12"}})),
        piece(
            json!({"index": 1, "id": "c2", "type": "function", "function": {"name": "f", "arguments": "{"}}),
        ),
        piece(json!({"index": 0, "custom": {"input": " 34"}})),
        piece(json!({"index": 1, "function": {"arguments": "}"}})),
        end,
    ] {
        sse::event(&chunk.to_string(), &mut bytes);
    }
    sse::event(sse::DONE, &mut bytes);
    bytes
}

fn responses_stream() -> Vec<u8> {
    let custom = |input: &str| json!({"type": "custom_tool_call", "id": "ctc_1", "call_id": "c1", "name": "patch", "input": input});
    let call = |arguments: &str| json!({"type": "function_call", "id": "fc_1", "call_id": "c2", "name": "f", "arguments": arguments});
    let response = |status: &str| json!({"id": "i", "object": "response", "created_at": 7, "status": status, "model": "m", "output": []});
    let mut bytes = Vec::new();
    for (kind, mut data) in [
        ("response.created", json!({"response": response("in_progress")})),
        ("response.output_item.added", json!({"output_index": 0, "item": custom("")})),
        (
            "response.custom_tool_call_input.delta",
            json!({"output_index": 0, "item_id": "ctc_1", "delta": "12"}),
        ),
        (
            "response.custom_tool_call_input.delta",
            json!({"output_index": 0, "item_id": "ctc_1", "delta": " 34"}),
        ),
        (
            "response.custom_tool_call_input.done",
            json!({"output_index": 0, "item_id": "ctc_1", "input": "12 34"}),
        ),
        ("response.output_item.done", json!({"output_index": 0, "item": custom("12 34")})),
        ("response.output_item.done", json!({"output_index": 1, "item": call("{}")})),
        ("response.completed", json!({"response": response("completed")})),
    ] {
        data["type"] = json!(kind);
        sse::named_event(kind, &data.to_string(), &mut bytes);
    }
    bytes
}

/// What either stream says: free text of digits, which must not be taken for whole JSON.
fn check(parts: &[Part]) {
    let call = CustomCall { id: "c1".into(), name: "patch".into(), input: "12 34".into() };
    assert_eq!(parts[0], Part::CustomCall(call));
    let Part::ToolCall(call) = &parts[1] else { panic!("a call: {parts:?}") };
    assert_eq!((call.id.as_str(), call.arguments.as_str()), ("c2", "{}"));
}

#[test]
fn a_custom_call_is_streamed_between_openais_endpoints() {
    for (origin, bytes) in
        [(Dialect::OpenAiChat, chat_stream()), (Dialect::OpenAiResponses, responses_stream())]
    {
        let events = read_stream(origin, &[&bytes]);
        let answer = assembled(&events);
        check(&answer.choices[0].parts);
        assert_eq!(answer.choices[0].stop.as_ref().map(|stop| &stop.reason), Some(&StopReason::ToolUse));
        for door in OPENAIS {
            let (streamed, dropped) = write_stream(door, Framing::Sse, &events).expect("written");
            assert_eq!(dropped, Vec::<String>::new());
            let again = assembled(&read_stream(door, &[&streamed]));
            check(&again.choices[0].parts);
            assert_eq!(again.choices[0].stop, answer.choices[0].stop, "{origin} to {door}");
            let (whole, _) = write_whole(door, &answer).expect("written");
            check(&read_whole(door, &whole).expect("an answer").choices[0].parts);
        }
    }
}

/// The input arrives as it is written, and not when the call is whole.
#[test]
fn free_text_flows() {
    let events = read_stream(Dialect::OpenAiResponses, &[&responses_stream()]);
    let (bytes, _) = write_stream(Dialect::OpenAiChat, Framing::Sse, &events).expect("written");
    let text = String::from_utf8(bytes).expect("UTF-8");
    assert!(
        text.contains(r#"{"custom":{"input":"12"},"index":0}"#)
            || text.contains(r#"{"index":0,"custom":{"input":"12"}}"#),
        "{text}"
    );
    assert!(text.contains(r#""finish_reason":"tool_calls""#), "{text}");
    let events = read_stream(Dialect::OpenAiChat, &[&chat_stream()]);
    let (bytes, _) = write_stream(Dialect::OpenAiResponses, Framing::Sse, &events).expect("written");
    let text = String::from_utf8(bytes).expect("UTF-8");
    for said in ["custom_tool_call_input.delta", r#""delta":"12""#, r#""delta":" 34""#, r#""input":"12 34""#]
    {
        assert!(text.contains(said), "{said}: {text}");
    }
}

/// Only an upstream that was not asked calls one at a client who has none.
#[test]
fn a_custom_call_that_no_client_can_make_is_the_upstreams_failure() {
    let answer = assembled(&read_stream(Dialect::OpenAiChat, &[&chat_stream()]));
    for door in DOORS.into_iter().filter(|door| OTHERS.contains(door)) {
        let whole = write_whole(door, &answer).expect_err("no such call").to_failure();
        let streamed =
            write_stream(door, Framing::Sse, &play(&answer)).expect_err("no such call").to_failure();
        for failure in [whole, streamed] {
            assert_eq!((failure.class, failure.param), (FailureClass::Upstream, None), "{door}");
        }
        let broken: Vec<Event> = play(&answer);
        assert!(matches!(broken.last(), Some(Event::End)));
    }
}
