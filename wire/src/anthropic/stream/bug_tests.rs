//! Known bugs of other gateways, one test each. Each fails when our guard is taken out.

use serde_json::{Value, json};

use super::StreamReader;
use super::writer_tests::{begin, call, close, data, grow, start, stop, writer, written};
use crate::canonical::{
    Delta, Dialect, Event, Failure, FailureClass, Mint, Opening, Provider, ReadStream, Signature, StopReason,
    Unsupported, Usage, WriteStream,
};

fn of_type<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["type"] == kind).collect()
}

/// The input of the call with `index`, put together as Anthropic's client does.
fn input(events: &[Value], index: u64) -> String {
    let deltas = of_type(events, "content_block_delta");
    let own = deltas.into_iter().filter(|event| event["index"] == index);
    own.filter_map(|event| event["delta"]["partial_json"].as_str()).collect()
}

/// Every delta is for the block that is open, and of its kind.
fn check_blocks(events: &[Value]) {
    let mut open: Option<(Value, String)> = None;
    let mut next = 0;
    for event in events {
        match event["type"].as_str() {
            Some("content_block_start") => {
                assert!(open.is_none(), "two blocks are open: {event}");
                assert_eq!(event["index"], next, "{event}");
                next += 1;
                let kind = event["content_block"]["type"].as_str().expect("a type").to_owned();
                open = Some((event["index"].clone(), kind));
            }
            Some("content_block_delta") => {
                let (index, kind) = open.as_ref().expect("a block is open");
                assert_eq!(event["index"], *index, "{event}");
                let fits: &[&str] = match kind.as_str() {
                    "text" => &["text_delta", "citations_delta"],
                    "thinking" => &["thinking_delta", "signature_delta"],
                    "tool_use" => &["input_json_delta"],
                    other => panic!("a delta in {other}"),
                };
                let delta = event["delta"]["type"].as_str().expect("a type");
                assert!(fits.contains(&delta), "{delta} in {kind}");
            }
            Some("content_block_stop") => {
                let (index, _) = open.take().expect("a block is open");
                assert_eq!(event["index"], index);
            }
            Some("message_delta") => assert!(open.is_none(), "the message ends with an open block"),
            _ => {}
        }
    }
}

/// litellm #25321: the first piece of a tool's input was lost where one block gave way to another.
#[test]
fn litellm_25321_no_piece_of_a_call_is_lost_at_a_switch_of_blocks() {
    let out = written(&[
        start(),
        begin(0, Opening::Text),
        grow(0, Delta::Text("a".into())),
        begin(1, call("1")),
        grow(1, Delta::Arguments("{\"x\"".into())),
        begin(2, call("2")),
        grow(2, Delta::Arguments("{\"y\"".into())),
        close(0),
        grow(1, Delta::Arguments(":1}".into())),
        grow(2, Delta::Arguments(":2}".into())),
        close(1),
        close(2),
        stop(StopReason::ToolUse),
        Event::End,
    ]);
    let events = data(&out);
    check_blocks(&events);
    assert_eq!((input(&events, 1).as_str(), input(&events, 2).as_str()), ("{\"x\":1}", "{\"y\":2}"));
}

/// litellm #13373: "Content block not found", after deltas for a block that the client did not know.
#[test]
fn litellm_13373_every_delta_is_for_an_open_block() {
    let out = written(&[
        start(),
        begin(0, call("1")),
        begin(1, call("2")),
        grow(1, Delta::Arguments("{}".into())),
        grow(0, Delta::Arguments("{}".into())),
        close(1),
        close(0),
        stop(StopReason::ToolUse),
        Event::End,
    ]);
    let events = data(&out);
    check_blocks(&events);
    assert_eq!(
        (input(&events, 0).as_str(), input(&events, 1).as_str()),
        ("{}", "{}"),
        "and none is left out"
    );
}

/// litellm #32357: `message_start` came twice.
#[test]
fn litellm_32357_one_message_start() {
    let usage = Event::Usage(Usage { input_uncached: 3, ..Usage::default() });
    let out = written(&[
        start(),
        usage.clone(),
        start(),
        usage,
        begin(0, Opening::Text),
        start(),
        close(0),
        stop(StopReason::EndTurn),
        Event::End,
    ]);
    assert_eq!(of_type(&data(&out), "message_start").len(), 1);
}

/// The same from an upstream that has the bug: its second start is no second answer.
#[test]
fn litellm_32357_a_second_message_start_is_not_passed_on() {
    let start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"a\",\"type\":\"message\",\"model\":\"m\",\"content\":[],\"usage\":{\"input_tokens\":3}}}\n\n";
    let mut events = Vec::new();
    StreamReader::new(Mint::new("seed")).read(format!("{start}{start}").as_bytes(), &mut events);
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Start(_))).count(), 1);
}

/// litellm #32357: thinking came inside a text block.
#[test]
fn litellm_32357_thinking_has_a_block_of_its_own() {
    let signature = Signature { provider: Provider::Gemini, data: "c2ln".into() };
    let out = written(&[
        start(),
        begin(0, Opening::Text),
        grow(0, Delta::Text("a".into())),
        begin(1, Opening::Thinking { id: None }),
        grow(1, Delta::Thinking("hm".into())),
        // Gemini signs text too, and a text block has no place for it.
        grow(0, Delta::Signature(signature.clone())),
        close(0),
        grow(1, Delta::Signature(signature)),
        close(1),
        stop(StopReason::EndTurn),
        Event::End,
    ]);
    let events = data(&out);
    check_blocks(&events);
    let deltas = of_type(&events, "content_block_delta");
    let kinds: Vec<&str> = deltas.iter().filter_map(|event| event["delta"]["type"].as_str()).collect();
    assert_eq!(kinds, ["text_delta", "thinking_delta", "signature_delta"]);
}

/// vercel/ai #17326: clients bill by the input tokens of `message_start`, which was always 0.
#[test]
fn vercel_17326_the_start_says_what_was_read() {
    let first_counts =
        |events: &[Event]| data(&written(events))[0]["message"]["usage"]["input_tokens"].clone();
    let usage = Event::Usage(Usage { input_uncached: 7, ..Usage::default() });
    assert_eq!(first_counts(&[start(), usage.clone(), begin(0, Opening::Text)]), 7);
    assert_eq!(first_counts(&[start(), begin(0, Opening::Text)]), 42, "the caller's estimate");
    let out =
        written(&[start(), begin(0, Opening::Text), close(0), stop(StopReason::EndTurn), usage, Event::End]);
    let events = data(&out);
    assert_eq!(of_type(&events, "message_delta")[0]["usage"]["input_tokens"], 7, "the truth at the end");
}

/// litellm #3490, #3553, #9657: usage that comes after the reason to end was lost.
#[test]
fn litellm_3490_usage_after_the_stop_is_told() {
    let out = written(&[
        start(),
        stop(StopReason::EndTurn),
        Event::Usage(Usage { input_uncached: 1, output_visible: 9, ..Usage::default() }),
        Event::End,
    ]);
    assert_eq!(of_type(&data(&out), "message_delta")[0]["usage"]["output_tokens"], 9);
}

/// ClickHouse/nerve #393: a stream without `message_stop` is cut off, though its reason to end came.
#[test]
fn nerve_393_a_stream_without_message_stop_is_truncated() {
    let mut events = Vec::new();
    let mut reader = StreamReader::new(Mint::new("seed"));
    let start = json!({"type": "message_start", "message": {"id": "a", "type": "message", "model": "m", "content": []}});
    let end =
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}});
    for event in [start, end] {
        let frame = format!("event: {}\ndata: {event}\n\n", event["type"].as_str().expect("a type"));
        reader.read(frame.as_bytes(), &mut events);
    }
    reader.finish(&mut events);
    assert_eq!(events.last(), Some(&Event::Error(Failure::truncated(Dialect::Anthropic))));
    assert!(!events.iter().any(|event| matches!(event, Event::Stop { .. } | Event::End)));
}

/// litellm #24004, #29808: an error after a 200 was a success in the books, and was never retried.
#[test]
fn litellm_24004_an_error_in_a_stream_is_a_failure() {
    let body =
        r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}"#;
    let mut events = Vec::new();
    let mut reader = StreamReader::new(Mint::new("seed"));
    reader.read(format!("event: error\ndata: {body}\n\n").as_bytes(), &mut events);
    reader.finish(&mut events);
    let [Event::Error(failure)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((failure.class, failure.status), (FailureClass::Overloaded, Some(200)));
    assert_eq!(failure.request_id.as_deref(), Some("req_1"));
    assert!(failure.class.may_pass());
}

/// Envoy PR #1486, vercel/ai #12218: an answer that calls tools ended with the wrong reason.
#[test]
fn envoy_1486_calls_end_with_tool_use() {
    let out = written(&[start(), begin(0, call("1")), close(0), stop(StopReason::EndTurn), Event::End]);
    assert_eq!(of_type(&data(&out), "message_delta")[0]["delta"]["stop_reason"], "tool_use");
}

/// An answer that nobody asked for is no second message in one stream, and no reason to withhold the first.
#[test]
fn a_second_choice_is_left_out_whole() {
    let second = Event::BlockStart { choice: 1, block: 0, opening: Opening::Text };
    let more = Event::BlockDelta { choice: 1, block: 0, delta: Delta::Text("x".into()) };
    let (mut writer, mut out) = (writer(Unsupported::Refuse), Vec::new());
    for event in [start(), begin(0, Opening::Text), second, more, grow(0, Delta::Text("a".into()))] {
        writer.write(&event, &mut out).expect("written");
    }
    assert_eq!(writer.dropped(), ["choices[1]"]);
    let events = data(&out);
    assert_eq!(of_type(&events, "content_block_delta").len(), 1);
    check_blocks(&events);
}
