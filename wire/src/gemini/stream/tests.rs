use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::path::Framing;
use super::super::proto_json::parse;
use super::super::response;
use super::*;
use crate::canonical::{
    Assembler, Delta, Dialect, Envelope, Event, Failure, FailureClass, Mint, Opening, Part, Provider,
    ReadStream, Response, Signature, Start, Stop, StopReason, Unsupported, Usage, WriteStream, play,
};

fn pieces() -> Vec<Value> {
    let piece = |parts: Value, index: u32| {
        json!({"candidates": [{"content": {"role": "model", "parts": parts}, "index": index}],
        "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3}, "modelVersion": "g", "responseId": "r"})
    };
    let mut last = piece(json!([{"text": "", "thoughtSignature": "CiQB+/w="}]), 0);
    last["candidates"][0]["finishReason"] = "STOP".into();
    last["candidates"][0]["groundingMetadata"] = json!({
        "groundingChunks": [{"web": {"uri": "https://a"}}],
        "groundingSupports": [{"segment": {"endIndex": 3}, "groundingChunkIndices": [0]}]
    });
    last["usageMetadata"] = json!({"promptTokenCount": 3, "candidatesTokenCount": 5, "thoughtsTokenCount": 2, "totalTokenCount": 10});
    let mut other = piece(json!([{"text": "second"}]), 1);
    other["candidates"][0]["finishReason"] = "MAX_TOKENS".into();
    vec![
        piece(json!([{"text": "h", "thought": true}]), 0),
        piece(json!([{"text": "m", "thought": true}]), 0),
        piece(
            json!([{"functionCall": {"id": "c1", "name": "f", "args": {"x": "}{\"\\"}}, "thoughtSignature": "AAEC/+8="}, {"functionCall": {"id": "c2", "name": "g", "args": {}}}]),
            0,
        ),
        other,
        piece(json!([{"text": "n"}]), 0),
        piece(json!([{"text": "é"}]), 0),
        last,
    ]
}

/// The same answer in one piece.
fn whole() -> Value {
    json!({
        "candidates": [
            {"index": 0, "finishReason": "STOP", "content": {"role": "model", "parts": [
                {"text": "hm", "thought": true},
                {"functionCall": {"id": "c1", "name": "f", "args": {"x": "}{\"\\"}}, "thoughtSignature": "AAEC/+8="},
                {"functionCall": {"id": "c2", "name": "g", "args": {}}},
                {"text": "né"},
                {"text": "", "thoughtSignature": "CiQB+/w="}
            ]}},
            {"index": 1, "finishReason": "MAX_TOKENS", "content": {"role": "model", "parts": [{"text": "second"}]}}
        ],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 5, "thoughtsTokenCount": 2, "totalTokenCount": 10},
        "modelVersion": "g",
        "responseId": "r"
    })
}

fn sse(pieces: &[Value]) -> Vec<u8> {
    pieces.iter().flat_map(|piece| format!("data: {piece}\r\n\r\n").into_bytes()).collect()
}

fn array(pieces: &[Value]) -> Vec<u8> {
    let texts: Vec<String> = pieces.iter().map(|piece| piece.to_string()).collect();
    format!("[{}\n]\n", texts.join("\n,\r\n")).into_bytes()
}

fn events(chunks: &[&[u8]]) -> Vec<Event> {
    let mut reader = StreamReader::new(Mint::new("s"));
    let mut events = Vec::new();
    for chunk in chunks {
        reader.read(chunk, &mut events);
    }
    reader.finish(&mut events);
    events
}

fn assembled(events: &[Event]) -> Response {
    let mut assembler = Assembler::new();
    for event in events {
        assembler.push(event).expect("within the grammar");
    }
    assembler.finish().expect("whole")
}

fn without_citations(mut response: Response) -> Response {
    for part in response.choices.iter_mut().flat_map(|choice| &mut choice.parts) {
        if let Part::Text(text) = part {
            text.citations.clear();
        }
    }
    response
}

#[test]
fn a_stream_comes_to_the_same_as_the_whole_answer() {
    let unstreamed =
        response::to_canonical(parse(whole().to_string().as_bytes()).expect("parses"), &mut Mint::new("s"));
    let unstreamed = unstreamed.expect("reads");
    assert_eq!(unstreamed.choices[0].stop, Some(Stop::new(StopReason::ToolUse)));
    for bytes in [sse(&pieces()), array(&pieces())] {
        assert_eq!(without_citations(assembled(&events(&[&bytes]))), unstreamed);
    }
}

proptest! {
    #[test]
    fn any_cut_gives_the_same_answer(cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..24)) {
        for bytes in [sse(&pieces()), array(&pieces())] {
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let chunks: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(events(&chunks), events(&[&bytes]));
        }
    }
}

#[test]
fn single_bytes_give_the_same_answer() {
    for bytes in [sse(&pieces()), array(&pieces())] {
        assert_eq!(events(&bytes.chunks(1).collect::<Vec<_>>()), events(&[&bytes]));
    }
}

#[test]
fn usage_comes_early_and_the_last_one_counts() {
    let events = events(&[&sse(&pieces())]);
    assert!(matches!(events[0], Event::Start(_)));
    assert_eq!(events[1], Event::Usage(Usage { input_uncached: 3, ..Usage::default() }));
    let usage = assembled(&events).usage.expect("usage");
    assert_eq!((usage.input(), usage.output_visible, usage.reasoning, usage.total()), (3, 5, 2, 10));
}

#[test]
fn a_citation_in_a_stream_finds_its_text() {
    let response = assembled(&events(&[&sse(&pieces())]));
    let [.., Part::Text(text), Part::Text(signed)] = response.choices[0].parts.as_slice() else {
        panic!("two texts")
    };
    assert_eq!((text.text.as_str(), signed.text.as_str()), ("né", ""));
    let span = text.citations[0].span.expect("a stretch");
    assert_eq!((span.start, span.end), (0, 2));
}

fn failure(bytes: &[u8]) -> Failure {
    match events(&[bytes]).pop() {
        Some(Event::Error(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_error_within_a_stream_is_plain_json() {
    let mut bytes = sse(&pieces()[..2]);
    bytes.extend_from_slice(b"{\n  \"error\": {\n    \"code\": 503,\n    \"message\": \"busy { \\\" }\",\n    \"status\": \"UNAVAILABLE\"\n  }\n}\n");
    let read = failure(&bytes);
    assert_eq!(
        (read.class, read.message.as_str(), read.status),
        (FailureClass::Overloaded, "busy { \" }", Some(503))
    );
    let element = json!({"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED",
        "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "9s"}]}});
    let read = failure(&array(&[pieces()[0].clone(), element.clone()]));
    assert_eq!((read.class, read.retry_after_seconds), (FailureClass::RateLimited, Some(9)));
    assert_eq!(failure(element.to_string().as_bytes()).class, FailureClass::RateLimited);
}

/// litellm #29808: a stream that breaks off is no answer.
#[test]
fn a_stream_without_its_end_is_truncated() {
    let bytes = sse(&pieces()[..2]);
    assert_eq!(failure(&bytes).class, FailureClass::TruncatedStream);
    let bytes = sse(&pieces());
    assert_eq!(failure(&bytes[..bytes.len() - 9]).class, FailureClass::TruncatedStream);
    let bytes = array(&pieces());
    assert_eq!(failure(&bytes[..bytes.len() / 2]).class, FailureClass::TruncatedStream);
    assert_eq!(failure(b"").class, FailureClass::TruncatedStream);
    assert_eq!(failure(b"data: {\"candidates\": 7}\n\n").class, FailureClass::Upstream);
    // The last blank line may be missing.
    let bytes = sse(&pieces());
    assert!(matches!(events(&[&bytes[..bytes.len() - 4]]).last(), Some(Event::End)));
}

#[test]
fn a_malformed_call_ends_a_stream_in_an_error() {
    let mut given = pieces();
    given[2]["candidates"][0]["finishReason"] = "MALFORMED_FUNCTION_CALL".into();
    let events = events(&[&sse(&given)]);
    let errors = events.iter().filter(|event| matches!(event, Event::Error(_) | Event::End)).count();
    assert_eq!(errors, 1);
    assert!(matches!(events.last(), Some(Event::Error(_))));
}

#[test]
fn a_blocked_prompt_is_filtered_in_a_stream_too() {
    let response = assembled(&events(&[&sse(&[json!({"promptFeedback": {"blockReason": "SAFETY"}})])]));
    assert_eq!(response.choices[0].stop, Some(Stop::new(StopReason::ContentFilter)));
}

#[test]
fn the_last_of_several_stops_counts() {
    let piece = |text: &str| json!({"candidates": [{"content": {"parts": [{"text": text}]}, "finishReason": "STOP"}]});
    let response = assembled(&events(&[&sse(&[piece("a"), piece("b")])]));
    assert_eq!(response.choices[0].parts, [Part::text("ab")]);
}

fn written(events: &[Event], framing: Framing) -> Vec<u8> {
    let envelope = Envelope { id: "r".into(), created: 1, model: "g".into() };
    let mut writer = StreamWriter::new(envelope, Unsupported::Refuse, framing);
    let mut out = Vec::new();
    for event in events {
        writer.write(event, &mut out).expect("expressible");
    }
    out
}

#[test]
fn what_is_written_is_read_back() {
    let mut given = assembled(&events(&[&sse(&pieces())]));
    // Only Vertex says when.
    given.created = None;
    for framing in [Framing::Sse, Framing::Array] {
        let out = written(&play(&given), framing);
        if framing == Framing::Array {
            assert!(serde_json::from_slice::<Vec<Value>>(&out).is_ok(), "{}", String::from_utf8_lossy(&out));
        }
        assert_eq!(without_citations(assembled(&events(&[&out]))), without_citations(given.clone()));
    }
}

fn start(origin: Dialect) -> Event {
    Event::Start(Start { origin, id: "i".into(), created: None, model: "m".into(), foreign: Vec::new() })
}

fn call(block: u32, id: &str) -> Event {
    let opening = Opening::ToolCall { id: id.into(), name: "f".into(), signature: None };
    Event::BlockStart { choice: 0, block, opening }
}

fn arguments(block: u32, text: &str) -> Event {
    Event::BlockDelta { choice: 0, block, delta: Delta::Arguments(text.into()) }
}

fn close(block: u32) -> Event {
    Event::BlockStop { choice: 0, block }
}

/// litellm #25321: fragments of two calls at once; here each call comes whole, with every byte.
#[test]
fn tool_deltas_lost_at_block_switch() {
    let given = [
        start(Dialect::OpenAiChat),
        call(0, "a"),
        call(1, "b"),
        arguments(1, "{\"y\": "),
        arguments(0, "{\"x\": 1.0"),
        arguments(1, "2}"),
        arguments(0, "}"),
        close(1),
        close(0),
        Event::Stop { choice: 0, stop: Stop::new(StopReason::ToolUse) },
        Event::End,
    ];
    let text = String::from_utf8(written(&given, Framing::Sse)).expect("UTF-8");
    let first = text.find(r#"{"id":"a","name":"f","args":{"x": 1.0}}"#).expect("the first call");
    let second = text.find(r#"{"id":"b","name":"f","args":{"y": 2}}"#).expect("the second call");
    assert!(first < second, "{text}");
}

/// Google's JavaScript client reads one line of data only.
#[test]
fn an_event_is_one_line() {
    let given = [
        start(Dialect::OpenAiChat),
        call(0, "a"),
        arguments(0, "{\n  \"x\":\r\n 1.0}"),
        close(0),
        Event::Stop { choice: 0, stop: Stop::new(StopReason::ToolUse) },
        Event::End,
    ];
    let text = String::from_utf8(written(&given, Framing::Sse)).expect("UTF-8");
    assert!(text.contains(r#""args":{   "x":   1.0}"#), "{text}");
    assert!(text.lines().all(|line| line.is_empty() || line.starts_with("data: {")), "{text}");
}

#[test]
fn text_flows_and_the_last_piece_has_reason_and_usage() {
    let delta = |text: &str| Event::BlockDelta { choice: 0, block: 0, delta: Delta::Text(text.into()) };
    let given = [
        start(Dialect::OpenAiChat),
        Event::BlockStart { choice: 0, block: 0, opening: Opening::Text },
        delta("a"),
        delta("b"),
        close(0),
        Event::Stop { choice: 0, stop: Stop::new(StopReason::MaxTokens) },
        Event::Usage(Usage { input_uncached: 2, output_visible: 1, ..Usage::default() }),
        Event::End,
    ];
    let out: Vec<Value> = serde_json::from_slice(&written(&given, Framing::Array)).expect("an array");
    assert_eq!(out.len(), 3);
    assert_eq!(out[0]["candidates"][0]["content"]["parts"][0]["text"], "a");
    assert_eq!(out[0]["candidates"][0].get("finishReason"), None);
    assert_eq!(out[2]["candidates"][0]["finishReason"], "MAX_TOKENS");
    assert_eq!(out[2]["usageMetadata"]["totalTokenCount"], 3);
}

/// Google's Python client takes a comment for a broken error, so keep-alives are blank lines.
#[test]
fn a_ping_is_no_comment() {
    for framing in [Framing::Sse, Framing::Array] {
        let given = [Event::Ping, start(Dialect::OpenAiChat), Event::Ping, Event::End, Event::Ping];
        let text = String::from_utf8(written(&given, framing)).expect("UTF-8");
        assert!(
            text.lines()
                .all(|line| line.is_empty() || line.starts_with("data: {") || framing == Framing::Array)
        );
        assert!(framing == Framing::Sse || serde_json::from_str::<Vec<Value>>(&text).is_ok(), "{text}");
    }
}

#[test]
fn an_error_is_told_in_each_framing_and_ends_it() {
    let mut broken = Failure::new(FailureClass::Overloaded, "busy");
    broken.retry_after_seconds = Some(600);
    let given = [start(Dialect::Anthropic), Event::Error(broken), Event::End];
    let text = String::from_utf8(written(&given, Framing::Sse)).expect("UTF-8");
    assert!(text.starts_with(r#"{"error":{"code":503,"#), "{text}");
    assert!(text.contains(r#""retryDelay":"60s""#), "{text}");
    let out: Vec<Value> = serde_json::from_slice(&written(&given, Framing::Array)).expect("an array");
    assert_eq!(out[0]["error"]["status"], "UNAVAILABLE");
    assert_eq!(failure(text.as_bytes()).class, FailureClass::Overloaded);
}

#[test]
fn a_signature_of_another_provider_is_sealed_and_comes_back() {
    let signature = Signature { provider: Provider::Anthropic, data: "EqRk+/=".into() };
    let delta = |delta| Event::BlockDelta { choice: 0, block: 0, delta };
    let given = [
        start(Dialect::Anthropic),
        Event::BlockStart { choice: 0, block: 0, opening: Opening::Thinking { id: None } },
        delta(Delta::Thinking("h".into())),
        delta(Delta::Thinking("m".into())),
        delta(Delta::Signature(signature.clone())),
        close(0),
        Event::Stop { choice: 0, stop: Stop::new(StopReason::EndTurn) },
        Event::End,
    ];
    let response = assembled(&events(&[&written(&given, Framing::Sse)]));
    let Part::Thinking(thinking) = &response.choices[0].parts[0] else { panic!("thinking") };
    assert_eq!((thinking.text.as_str(), thinking.signature.as_ref()), ("hm", Some(&signature)));
}

/// What google-genai's types read beside the words: it comes back, streamed and whole.
#[test]
fn what_googles_clients_read_beside_the_words_comes_back() {
    let last = json!({
        "promptFeedback": {"blockReason": "OTHER", "safetyRatings": [{"category": "X", "probability": "LOW"}]},
        "modelStatus": {"modelStage": "STABLE"}, "createTime": "2026-03-05T12:00:00.123456Z", "responseId": "r",
        "candidates": [{
            "content": {"role": "model", "parts": [{"text": "a"}]}, "index": 0,
            "finishReason": "STOP", "finishMessage": "done", "tokenCount": 1,
            "safetyRatings": [{"category": "Y", "probability": "LOW"}],
            "urlContextMetadata": {"urlMetadata": []},
        }],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1, "trafficType": "ON_DEMAND",
            "serviceTier": "standard", "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 0}]},
    });
    let events = events(&[&sse(std::slice::from_ref(&last))]);
    let answer = assembled(&events);
    assert_eq!(answer.created, Some(1_772_712_000));
    let envelope = Envelope { id: "r".into(), created: 1_772_712_000, model: "g".into() };
    let whole =
        super::super::response::from_canonical(&answer, &envelope, Unsupported::Refuse).expect("written");
    assert_eq!(whole.dropped, Vec::<String>::new());
    let out = String::from_utf8(written(&events, Framing::Array)).expect("UTF-8");
    let pieces: Vec<Value> = serde_json::from_str(&out).expect("JSON");
    let at = |path: &str| pieces.iter().filter_map(|piece| piece.pointer(path)).next_back().cloned();
    let body = serde_json::to_value(whole.message).expect("writes");
    for path in [
        "/promptFeedback",
        "/modelStatus",
        "/responseId",
        "/candidates/0/finishReason",
        "/candidates/0/finishMessage",
        "/candidates/0/tokenCount",
        "/candidates/0/safetyRatings",
        "/candidates/0/urlContextMetadata",
        "/usageMetadata/trafficType",
        "/usageMetadata/serviceTier",
        "/usageMetadata/cacheTokensDetails",
    ] {
        assert_eq!(body.pointer(path), last.pointer(path), "{path}: {body}");
        assert_eq!(at(path).as_ref(), last.pointer(path), "{path}: {out}");
    }
    assert_eq!((body.get("createTime"), at("/createTime")), (None, None), "only Vertex has it");
    assert_eq!(pieces.iter().filter(|piece| piece.get("promptFeedback").is_some()).count(), 1, "{out}");
}
