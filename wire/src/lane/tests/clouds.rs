//! Vertex AI and Bedrock: other dialects with paths, bodies, framings and errors of a cloud's own; and Converse as a door.

use serde_json::{Value, json};

use super::{
    ARRAY, LIMIT, SSE, StreamBounds, ask, at, failed, framed, lane, question, sent, stamp, streamed,
    streamed_bytes,
};
use crate::canonical::{Failure, FailureClass, Unsupported, Usage};
use crate::edit::splice;
use crate::eventstream::{event, exception};
use crate::lane::{Body, Ended, Operation, Refusal, Speaks, read};

const CLAUDE: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";

fn bedrock_claude() -> Speaks {
    Speaks::bedrock(CLAUDE)
}

/// What goes to an upstream of this model's, as text.
fn asked(
    speaks: &Speaks,
    model: &str,
    operation: Operation,
    body: &str,
    headers: &[(&str, &str)],
) -> (String, String) {
    let door = at(operation);
    let inbound = read(&door, body.as_bytes()).expect("reads").with_headers(headers.iter().copied());
    let outbound = inbound.outbound(speaks, model, Unsupported::Refuse, &[]).expect("a way");
    let bytes = match outbound.body {
        Body::Edited(edits) => splice(body, &edits),
        Body::Written(bytes) => bytes,
    };
    (outbound.path, String::from_utf8(bytes).expect("UTF-8"))
}

#[test]
fn claudes_requests_pass_but_for_what_the_cloud_has_elsewhere() {
    let body = r#"{"odd":[1.50], "model":"ns/m","stream":true, "max_tokens":9,"messages":[{"role":"user","content":"q"}]}"#;
    let headers = [("anthropic-beta", "context-1m-2025-08-07"), ("anthropic-version", "2023-06-01")];
    let (path, written) = asked(&bedrock_claude(), CLAUDE, Operation::Messages, body, &headers);
    assert_eq!(path, "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke-with-response-stream");
    assert_eq!(
        written,
        r#"{"anthropic_version":"bedrock-2023-05-31","anthropic_beta":["context-1m-2025-08-07"],"odd":[1.50], "max_tokens":9,"messages":[{"role":"user","content":"q"}]}"#
    );
    let vertex = Speaks::vertex("claude-sonnet-4-5@20250929");
    let (path, written) = asked(&vertex, "claude-sonnet-4-5@20250929", Operation::Messages, body, &headers);
    assert_eq!(path, "/publishers/anthropic/models/claude-sonnet-4-5@20250929:streamRawPredict");
    assert_eq!(
        written,
        r#"{"anthropic_version":"vertex-2023-10-16","odd":[1.50], "stream":true, "max_tokens":9,"messages":[{"role":"user","content":"q"}]}"#
    );
    // Translated ones have the same shape.
    let chat = question(Operation::ChatCompletions, true).to_string();
    for (speaks, version) in [(bedrock_claude(), "bedrock-2023-05-31"), (vertex, "vertex-2023-10-16")] {
        let (_, written) = asked(&speaks, CLAUDE, Operation::ChatCompletions, &chat, &[]);
        let written: Value = serde_json::from_str(&written).expect("JSON");
        assert_eq!(written["anthropic_version"], version);
        assert!(written["model"].is_null() && written["max_tokens"].is_u64());
        assert_eq!(written["stream"], if version.starts_with("vertex") { json!(true) } else { Value::Null });
    }
}

#[test]
fn tokens_are_counted_at_each_cloud_in_its_way() {
    let count = question(Operation::CountMessageTokens, false).to_string();
    let (path, written) =
        asked(&Speaks::vertex("claude-x@1"), "claude-x@1", Operation::CountMessageTokens, &count, &[]);
    assert_eq!(path, "/publishers/anthropic/models/count-tokens:rawPredict");
    let written: Value = serde_json::from_str(&written).expect("JSON");
    assert_eq!(
        (&written["model"], &written["anthropic_version"]),
        (&json!("claude-x@1"), &json!("vertex-2023-10-16"))
    );
    let (path, written) = asked(&bedrock_claude(), CLAUDE, Operation::CountMessageTokens, &count, &[]);
    assert_eq!(path, "/model/anthropic.claude-sonnet-4-5-20250929-v1%3A0/count-tokens");
    let written: Value = serde_json::from_str(&written).expect("JSON");
    let inner = written.pointer("/input/invokeModel/body").and_then(Value::as_str).expect("a body");
    let inner = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, inner).expect("base64");
    let inner: Value = serde_json::from_slice(&inner).expect("JSON");
    assert_eq!(
        (&inner["anthropic_version"], &inner["max_tokens"], &inner["model"]),
        (&json!("bedrock-2023-05-31"), &json!(1), &Value::Null)
    );
    let gemini = Speaks::vertex("gemini-2.5-pro");
    let wrapped =
        json!({"generateContentRequest": {"model": "models/ns/m", "contents": [{"parts": [{"text": "q"}]}]}});
    let (path, written) = asked(&gemini, "gemini-2.5-pro", Operation::CountTokens, &wrapped.to_string(), &[]);
    assert_eq!(path, "/publishers/google/models/gemini-2.5-pro:countTokens");
    let written: Value = serde_json::from_str(&written).expect("JSON");
    assert!(written["generateContentRequest"].is_null() && written["contents"].is_array(), "{written}");
}

/// agentgateway, pydantic-ai #5081: Vertex AI refuses the ids that the Gemini API's clients send with calls.
#[test]
fn vertex_gets_no_ids_of_calls() {
    let gemini = Speaks::vertex("gemini-2.5-pro");
    let loop_of = |id: Value| {
        let mut body = json!({"contents": [
            {"role": "user", "parts": [{"text": "q"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"x": 1.50}}, "thoughtSignature": "U0lH"}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "1"}}}]},
        ], "safetySettings": [{"category": "X", "threshold": "OFF"}]});
        if !id.is_null() {
            body["contents"][1]["parts"][0]["functionCall"]["id"] = id.clone();
            body["contents"][2]["parts"][0]["functionResponse"]["id"] = id;
        }
        body.to_string()
    };
    for operation in [Operation::GenerateContent, SSE, ARRAY] {
        let plain = loop_of(Value::Null);
        let (_, written) = asked(&gemini, "gemini-2.5-pro", operation, &plain, &[]);
        assert_eq!(written, plain, "what has none passes as it came");
        let (path, written) = asked(&gemini, "gemini-2.5-pro", operation, &loop_of(json!("call_1")), &[]);
        assert!(path.starts_with("/publishers/google/models/gemini-2.5-pro:"), "{path}");
        let written: Value = serde_json::from_str(&written).expect("JSON");
        assert!(!written.to_string().contains("call_1"), "{written}");
        assert_eq!(written["contents"][1]["parts"][0]["thoughtSignature"], "U0lH");
        assert_eq!(written["safetySettings"][0]["threshold"], "OFF");
    }
    let chat = json!({"model": "ns/m", "messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "1"},
    ]});
    let (_, written) = asked(&gemini, "gemini-2.5-pro", Operation::ChatCompletions, &chat.to_string(), &[]);
    assert!(!written.contains("call_1"), "{written}");
}

#[test]
fn texts_are_embedded_at_vertex_in_each_models_way() {
    let texts = question(Operation::Embeddings, false).to_string();
    let newer = Speaks::vertex("gemini-embedding-001");
    let (path, written) = asked(&newer, "gemini-embedding-001", Operation::Embeddings, &texts, &[]);
    assert_eq!(path, "/publishers/google/models/gemini-embedding-001:batchEmbedContents");
    assert_eq!(
        serde_json::from_str::<Value>(&written).expect("JSON"),
        json!({"requests": [{"content": {"parts": [{"text": "a"}]}}, {"content": {"parts": [{"text": "b"}]}}]})
    );
    let own = question(Operation::BatchEmbedContents, false).to_string();
    let (_, written) = asked(&newer, "gemini-embedding-001", Operation::BatchEmbedContents, &own, &[]);
    assert!(!written.contains("models/"), "the path names the model: {written}");
    let older = Speaks::vertex("text-embedding-005");
    for operation in [Operation::Embeddings, Operation::BatchEmbedContents] {
        let body = question(operation, false);
        let outbound = ask(operation, &body, &older).expect("a way");
        assert_eq!(outbound.path, "/publishers/google/models/up:predict");
        assert_eq!(sent(&body, &outbound), json!({"instances": [{"content": "a"}, {"content": "b"}]}));
        let answer = json!({"predictions": [
            {"embeddings": {"values": [1.0], "statistics": {"token_count": 1}}},
            {"embeddings": {"values": [2.0], "statistics": {"token_count": 2}}}]});
        let whole = outbound.lane.whole(&stamp(), 200, answer.to_string().as_bytes()).expect("vectors");
        assert_eq!(whole.usage.map(|usage| usage.input()), Some(3));
        assert!(String::from_utf8_lossy(&whole.body.expect("written")).contains("2.0"));
    }
    let refused = ask(Operation::Embeddings, &question(Operation::Embeddings, false), &bedrock_claude());
    let refused = refused.expect_err("no embedder");
    assert!(refused.message.contains("Amazon Bedrock"), "{}", refused.message);
}

#[test]
fn an_error_is_read_as_the_cloud_says_it() {
    let said = |speaks: &Speaks, operation, status, kind, body: &str| {
        let refusal = Refusal { status, kind, retry_after_seconds: None, body: body.as_bytes() };
        lane(operation, false, speaks).failure(&refusal)
    };
    let thrown = r#"{"message":"Too many tokens, please wait before trying again."}"#;
    for operation in [Operation::Messages, Operation::ChatCompletions, Operation::Converse] {
        let failure = said(&bedrock_claude(), operation, 429, Some("ThrottlingException"), thrown);
        assert_eq!(failure.class, FailureClass::RateLimited);
        let failure = said(&bedrock_claude(), operation, 424, Some("ModelErrorException"), thrown);
        assert_eq!(failure.class, FailureClass::Upstream);
    }
    let vertex = Speaks::vertex("claude-x@1");
    let google = r#"[{"error":{"code":429,"message":"slow","status":"RESOURCE_EXHAUSTED"}}]"#;
    assert_eq!(said(&vertex, Operation::Messages, 429, None, google).class, FailureClass::RateLimited);
    let own =
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9"}}"#;
    assert_eq!(said(&vertex, Operation::Messages, 400, None, own).class, FailureClass::ContextTooLong);
}

/// What Anthropic's API would have sent.
fn messages() -> String {
    let events = [
        json!({"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "model": "up",
            "content": [], "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 6, "output_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a€"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
            "usage": {"output_tokens": 2}}),
        json!({"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 6}}),
    ];
    events
        .iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().expect("a type")))
        .collect()
}

#[test]
fn claudes_stream_comes_out_of_bedrocks_messages_however_it_is_cut() {
    let lane = lane(Operation::Messages, true, &bedrock_claude());
    assert_eq!(lane.upstream_media_type(), "application/vnd.amazon.eventstream");
    assert_eq!(lane.client_media_type(), Some("text/event-stream"));
    let bytes = framed(&lane, messages().into_bytes());
    let whole = streamed(lane.clone(), &[&bytes]);
    assert_eq!(whole.0, messages().replace("\"up\"", "\"ns/m\""));
    let used = Usage { input_uncached: 6, output_visible: 2, ..Usage::default() };
    assert_eq!((&whole.1.ended, whole.1.usage), (&Some(Ended::Whole), Some(used)));
    for at in 0..bytes.len() {
        let (first, second) = bytes.split_at(at);
        assert_eq!(streamed(lane.clone(), &[first, second]), whole, "at {at}");
        let (out, observed) = streamed(lane.clone(), &[first]);
        assert_eq!(failed(&observed).class, FailureClass::TruncatedStream, "at {at}");
        assert!(whole.0.starts_with(&out), "at {at}");
    }
}

#[test]
fn damage_and_exceptions_end_a_stream_after_what_came_before() {
    for door in [Operation::Messages, Operation::ChatCompletions, Operation::ConverseStream] {
        for (speaks, wraps) in
            [(bedrock_claude(), door != Operation::ConverseStream), (Speaks::bedrock("meta.llama3"), false)]
        {
            let lane = lane(door, true, &speaks);
            let begun = if wraps {
                let text = messages();
                let text = text.split_inclusive("\n\n").take(3).collect::<String>();
                framed(&lane, text.into_bytes())
            } else {
                let mut bytes = Vec::new();
                event("messageStart", r#"{"role":"assistant"}"#, &mut bytes);
                event("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"a"}}"#, &mut bytes);
                bytes
            };
            let (before, observed) = streamed_bytes(lane.clone(), &[&begun]);
            assert!(observed.meaningful, "{door}");
            let mut thrown = begun.clone();
            exception("throttlingException", r#"{"message":"secret"}"#, &mut thrown);
            let mut damaged = begun.clone();
            event("contentBlockStop", r#"{"contentBlockIndex":0}"#, &mut damaged);
            let last = damaged.len() - 1;
            damaged[last] ^= 0x10;
            for (bytes, class) in [(thrown, FailureClass::RateLimited), (damaged, FailureClass::Upstream)] {
                let (out, observed) = streamed_bytes(lane.clone(), &[&bytes]);
                assert_eq!(failed(&observed).class, class, "{door}");
                assert_eq!(out, before, "{door}: nothing of the failure is written");
            }
            let mut first = Vec::new();
            exception("serviceUnavailableException", r#"{"message":"m"}"#, &mut first);
            let (out, observed) = streamed_bytes(lane.clone(), &[&first]);
            assert_eq!((out.as_slice(), observed.meaningful), (&b""[..], false), "{door}");
            assert_eq!(failed(&observed).class, FailureClass::Overloaded);
            let mut stream = lane.stream(&stamp(), StreamBounds { event_bytes: 64, ..LIMIT });
            let mut large = Vec::new();
            event("chunk", &" ".repeat(1 << 20), &mut large);
            let observed = stream.push(&large, &mut Vec::new());
            assert!(failed(&observed).message.contains("larger than"), "{door}: {observed:?}");
        }
    }
}

/// A stream of Converse's, as Bedrock sends it.
fn converse() -> Vec<u8> {
    let mut bytes = Vec::new();
    event("messageStart", r#"{"p":"abc","role":"assistant"}"#, &mut bytes);
    event("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"a€"},"p":"ab"}"#, &mut bytes);
    event("contentBlockStop", r#"{"contentBlockIndex":0}"#, &mut bytes);
    event("messageStop", r#"{"stopReason":"end_turn"}"#, &mut bytes);
    event(
        "metadata",
        r#"{"usage":{"inputTokens":6,"outputTokens":2,"totalTokens":8},"metrics":{"latencyMs":7}}"#,
        &mut bytes,
    );
    bytes
}

#[test]
fn converse_passes_through_its_own_door_byte_for_byte() {
    for speaks in [Speaks::bedrock("meta.llama3"), bedrock_claude()] {
        let body = r#"{"messages":[{"role":"user","content":[{"text":"q"}]}], "odd":1.50}"#;
        let (path, written) = asked(&speaks, "x.y-v1:0", Operation::ConverseStream, body, &[]);
        assert_eq!((path.as_str(), written.as_str()), ("/model/x.y-v1%3A0/converse-stream", body));
        let lane = lane(Operation::ConverseStream, true, &speaks);
        assert_eq!(lane.client_media_type(), None);
        let bytes = converse();
        let whole = streamed_bytes(lane.clone(), &[&bytes]);
        assert_eq!(whole.0, bytes);
        let used = Usage { input_uncached: 6, output_visible: 2, ..Usage::default() };
        assert_eq!((&whole.1.ended, whole.1.usage, whole.1.pieces), (&Some(Ended::Whole), Some(used), 1));
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(streamed_bytes(lane.clone(), &single), whole);
        for at in 0..bytes.len() {
            let (out, observed) = streamed_bytes(lane.clone(), &[&bytes[..at]]);
            assert!(bytes.starts_with(&out));
            // The counts come last, and an answer is whole without them.
            if observed.ended == Some(Ended::Whole) {
                assert_eq!(observed.usage, None, "at {at}");
                continue;
            }
            assert_eq!(failed(&observed).class, FailureClass::TruncatedStream, "at {at}");
        }
        let mut stream = lane.stream(&stamp(), LIMIT);
        let mut out = Vec::new();
        stream.fail(&Failure::new(FailureClass::Overloaded, "our words"), &mut out);
        let text = String::from_utf8_lossy(&out);
        assert!(text.contains("serviceUnavailableException") && text.contains("our words"), "{text}");
    }
}
