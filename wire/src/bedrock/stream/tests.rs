use serde_json::json;

use super::StreamReader;
use crate::canonical::{
    Assembler, Event, FailureClass, Mint, Part, Provider, ReadStream, Response, Signature, StopReason, Usage,
};
use crate::eventstream::{event, exception};

fn read(bytes: &[u8]) -> Vec<Event> {
    let mut reader = StreamReader::new(Mint::new("test"));
    let mut events = Vec::new();
    reader.read(bytes, &mut events);
    reader.finish(&mut events);
    events
}

fn whole(bytes: &[u8]) -> Response {
    let mut assembler = Assembler::new();
    for event in read(bytes) {
        assembler.push(&event).unwrap_or_else(|error| panic!("{error}: {event:?}"));
    }
    assembler.finish().expect("whole")
}

fn failed(bytes: &[u8]) -> FailureClass {
    match read(bytes).pop() {
        Some(Event::Error(failure)) => failure.class,
        other => panic!("no failure: {other:?}"),
    }
}

/// As Bedrock sends it: blocks without a start, the counts after the end, padding in every event.
fn stream() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut send = |kind: &str, data: serde_json::Value| event(kind, &data.to_string(), &mut bytes);
    let delta = |index: u32, delta: serde_json::Value| json!({"contentBlockIndex": index, "delta": delta, "p": "abc"});
    send("messageStart", json!({"p": "abcd", "role": "assistant"}));
    send("contentBlockDelta", delta(0, json!({"reasoningContent": {"text": "hm"}})));
    send("contentBlockDelta", delta(0, json!({"reasoningContent": {"signature": "SIG=="}})));
    send("contentBlockStop", json!({"contentBlockIndex": 0}));
    send("contentBlockDelta", delta(1, json!({"reasoningContent": {"redactedContent": "AAAA"}})));
    send("contentBlockStop", json!({"contentBlockIndex": 1}));
    send("contentBlockDelta", delta(2, json!({"text": "a"})));
    send("contentBlockDelta", delta(2, json!({"text": "b"})));
    send("contentBlockDelta", delta(2, json!({"citation": {"location": {"web": {"url": "https://x"}}}})));
    send("contentBlockStop", json!({"contentBlockIndex": 2}));
    let call = |index: u32, id: &str| json!({"contentBlockIndex": index, "start": {"toolUse": {"toolUseId": id, "name": "f"}}});
    send("contentBlockStart", call(3, "t1"));
    send("contentBlockStart", call(4, "t2"));
    send("contentBlockDelta", delta(3, json!({"toolUse": {"input": "{\"a\": "}})));
    send("contentBlockDelta", delta(3, json!({"toolUse": {"input": "1.0}"}})));
    send("contentBlockStop", json!({"contentBlockIndex": 4}));
    send("somethingNew", json!({"x": 1}));
    send("contentBlockStop", json!({"contentBlockIndex": 3}));
    send("messageStop", json!({"stopReason": "tool_use"}));
    send(
        "metadata",
        json!({"usage": {"inputTokens": 3, "outputTokens": 5, "totalTokens": 10, "cacheReadInputTokens": 2},
        "metrics": {"latencyMs": 7}}),
    );
    bytes
}

#[test]
fn an_answer_is_read_with_everything_that_it_holds() {
    let response = whole(&stream());
    let parts = &response.choices[0].parts;
    let Part::Thinking(thinking) = &parts[0] else { panic!("{parts:?}") };
    let signature = Signature { provider: Provider::Bedrock, data: "SIG==".into() };
    assert_eq!((thinking.text.as_str(), &thinking.signature), ("hm", &Some(signature)));
    // It was begun first and came whole later.
    let Part::RedactedThinking(redacted) = &parts[1] else { panic!("{parts:?}") };
    assert_eq!(redacted.data, "AAAA");
    let Part::Text(text) = &parts[2] else { panic!("{parts:?}") };
    assert_eq!((text.text.as_str(), text.citations.len()), ("ab", 1));
    let calls: Vec<_> = parts
        .iter()
        .filter_map(|part| {
            if let Part::ToolCall(call) = part {
                Some((call.id.as_str(), call.arguments.as_str()))
            } else {
                None
            }
        })
        .collect();
    assert_eq!(calls, [("t1", "{\"a\": 1.0}"), ("t2", "{}")]);
    assert_eq!(response.choices[0].stop.as_ref().map(|stop| &stop.reason), Some(&StopReason::ToolUse));
    let expected = Usage { input_uncached: 3, cache_read: 2, output_visible: 5, ..Usage::default() };
    assert_eq!(response.usage, Some(expected));
}

#[test]
fn a_cut_at_every_byte_is_truncated_and_never_whole() {
    let bytes = stream();
    let expected = whole(&bytes);
    let mut reader = StreamReader::new(Mint::new("test"));
    let mut events = Vec::new();
    bytes.chunks(1).for_each(|byte| reader.read(byte, &mut events));
    reader.finish(&mut events);
    assert_eq!(events, read(&bytes));
    // The counts come last: an answer is whole without them.
    let mut metadata = Vec::new();
    event(
        "metadata",
        r#"{"usage":{"inputTokens":3,"outputTokens":5,"totalTokens":10,"cacheReadInputTokens":2},"metrics":{"latencyMs":7}}"#,
        &mut metadata,
    );
    let without = bytes.len() - metadata.len();
    for at in 0..bytes.len() {
        if at == without {
            assert_eq!(whole(&bytes[..at]), Response { usage: None, ..expected.clone() });
            continue;
        }
        assert_eq!(failed(&bytes[..at]), FailureClass::TruncatedStream, "at {at}");
    }
}

#[test]
fn an_exception_is_its_class_wherever_it_comes() {
    for (kind, class) in [
        ("throttlingException", FailureClass::RateLimited),
        ("modelStreamErrorException", FailureClass::Upstream),
        ("validationException", FailureClass::BadRequest),
        ("serviceUnavailableException", FailureClass::Overloaded),
        ("internalServerException", FailureClass::Upstream),
    ] {
        let mut bytes = Vec::new();
        exception(kind, r#"{"message":"no"}"#, &mut bytes);
        assert_eq!(failed(&bytes), class, "{kind}");
        let mut later = stream();
        let end = later.len() - 200;
        later.truncate(end);
        let mut begun = Vec::new();
        event("messageStart", r#"{"role":"assistant"}"#, &mut begun);
        begun.extend(&bytes);
        assert_eq!(failed(&begun), class, "{kind}");
    }
}

#[test]
fn what_makes_no_sense_is_the_upstreams_failure() {
    let started = |rest: &[(&str, &str)]| {
        let mut bytes = Vec::new();
        event("messageStart", r#"{"role":"assistant"}"#, &mut bytes);
        for (kind, data) in rest {
            event(kind, data, &mut bytes);
        }
        bytes
    };
    for bytes in [
        started(&[("contentBlockDelta", "{\"half\":")]),
        started(&[("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"toolUse":{"input":"{}"}}}"#)]),
        started(&[
            ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"a"}}"#),
            ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"a"}}}"#),
        ]),
        started(&[(
            "contentBlockStart",
            r#"{"contentBlockIndex":0,"start":{"toolUse":{"toolUseId":"t","name":""}}}"#,
        )]),
        started(&[("messageStop", r#"{"stopReason":"malformed_tool_use"}"#)]),
        b"event: message_start\ndata: {}\n\n".to_vec(),
    ] {
        assert_eq!(failed(&bytes), FailureClass::Upstream);
    }
    let mut headless = Vec::new();
    event("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"a"}}"#, &mut headless);
    assert_eq!(failed(&headless), FailureClass::Upstream);
    // Nothing comes after the end.
    let mut more = stream();
    event("messageStart", "{}", &mut more);
    assert_eq!(read(&more), read(&stream()));
}
