//! Streams that pass as they came.

use proptest::prelude::*;

use super::{ARRAY, LIMIT, SSE, StreamBounds, failed, lane, native, question, stamp, streamed};
use crate::canonical::{Dialect, Failure, FailureClass, ReadStream, Usage};
use crate::lane::tests::ask;
use crate::lane::{Ended, Operation, keep_alive};
use crate::{anthropic, gemini, openai};

const CHAT: &str = concat!(
    ": hello\n\n",
    r#"data: {"id":"c","model":"up","choices":[{"index":0,"delta":{"role":"assistant","content":""}}],"usage":null}"#,
    "\n\n",
    r#"data: {"id":"c", "model" : "up","choices":[{"index":0,"delta":{"content":"a\u20ac"}}],"odd":[1.50]}"#,
    "\r\n\r\n",
    "data: {\"id\":\"c\",\ndata: \"model\":\"up\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"€\"}}]}\n\n",
    r#"data: {"id":"c","model":"up","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
    "\n\n",
    r#"data: {"id":"c","model":"up","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12,"prompt_tokens_details":{"cached_tokens":4}}}"#,
    "\n\ndata: [DONE]\n\n",
);

/// Its client did not ask for the usage.
const COMPLETIONS: &str = concat!(
    r#"data: {"id":"c","model":"up","choices":[{"index":0,"text":"a€"}]}"#,
    "\n\n",
    r#"data: {"id":"c","model":"up","choices":[{"index":0,"text":"€","finish_reason":"stop"}]}"#,
    "\n\n",
    r#"data: {"id":"c","model":"up","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12,"prompt_tokens_details":{"cached_tokens":4}}}"#,
    "\n\ndata: [DONE]\n\n",
);

const RESPONSES: &str = concat!(
    "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"r\",\"model\":\"up\",\"output\":[],\"usage\":null}}\n\n",
    "event: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"output_index\":0,\"item\":{\"type\":\"message\",\"id\":\"i\",\"content\":[],\"role\":\"assistant\"}}\n\n",
    "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"output_index\":0,\"content_index\":0,\"delta\":\"a€\"}\n\n",
    "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"output_index\":0,\"content_index\":0,\"delta\":\"€\"}\n\n",
    "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"status\":\"completed\", \"model\": \"up\",\"output\":[],\"usage\":{\"input_tokens\":10,\"input_tokens_details\":{\"cached_tokens\":4},\"output_tokens\":2,\"total_tokens\":12}}}\n\n",
);

const MESSAGES: &str = concat!(
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"up\",\"content\":[],\"usage\":{\"input_tokens\":6,\"cache_read_input_tokens\":4,\"output_tokens\":1}}}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    "event: ping\ndata: {\"type\": \"ping\"}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a€\"}}\n\n",
    "event: content_block_delta\r\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"€\"}}\r\n\r\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":2}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
);

const GEMINI: [&str; 3] = [
    r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"a€"}]}}],"modelVersion":"up"}"#,
    r#"{"candidates": [{"content":{"role":"model","parts":[{"text":"}€"}]}}],"odd":[1.50], "modelVersion" : "up"}"#,
    r#"{"candidates":[{"content":{"role":"model","parts":[{"text":""}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":10,"cachedContentTokenCount":4,"candidatesTokenCount":2,"totalTokenCount":12},"modelVersion":"up"}"#,
];

/// A stream of each dialect, which all say the same.
fn all() -> [(Operation, String); 6] {
    let events = GEMINI.map(|piece| format!("data: {piece}\r\n\r\n")).concat();
    [
        (Operation::ChatCompletions, CHAT.to_owned()),
        (Operation::Completions, COMPLETIONS.to_owned()),
        (Operation::Responses, RESPONSES.to_owned()),
        (Operation::Messages, MESSAGES.to_owned()),
        (SSE, events),
        (ARRAY, format!("[{}\n]", GEMINI.join(",\r\n"))),
    ]
}

fn expected(operation: Operation, stream: &str) -> String {
    let usage = stream.find(r#"data: {"id":"c","model":"up","choices":[],"#);
    let stream = match (operation, usage) {
        // It did not ask for the usage; the chat did.
        (Operation::Completions, Some(at)) => {
            let end = stream[at..].find("\n\n").expect("its end") + at + 2;
            format!("{}{}", &stream[..at], &stream[end..])
        }
        _ => stream.to_owned(),
    };
    stream.replace("\"up\"", "\"ns/m\"")
}

fn used() -> Usage {
    Usage { input_uncached: 6, cache_read: 4, output_visible: 2, ..Usage::default() }
}

#[test]
fn events_pass_byte_for_byte_but_for_the_models_name() {
    for (operation, stream) in all() {
        let (out, observed) = streamed(lane(operation, true, &native(operation)), &[stream.as_bytes()]);
        assert_eq!(out, expected(operation, &stream), "{operation}");
        assert_eq!(observed.ended, Some(Ended::Whole), "{operation}");
        assert_eq!((observed.usage, observed.pieces), (Some(used()), 2), "{operation}");
        assert!(observed.meaningful);
    }
}

/// It is known before the first word, so that nothing of an answer from elsewhere has to go out.
#[test]
fn where_a_stream_is_made_is_observed_before_it_means_anything() {
    let said = MESSAGES.replace("\"output_tokens\":1}", "\"output_tokens\":1,\"inference_geo\":\"us\"}");
    let late = said.replace("\"output_tokens\":2}", "\"output_tokens\":2,\"inference_geo\":\"eu\"}");
    let opening = said.find("event: content_block_start").expect("an opening");
    for door in [Operation::Messages, Operation::ChatCompletions] {
        let mut stream = lane(door, true, &native(Operation::Messages)).stream(&stamp(), super::LIMIT);
        let begun = stream.push(&said.as_bytes()[..opening], &mut Vec::new());
        assert_eq!((begun.place.as_deref(), begun.meaningful), (Some("us"), false), "{door}");
    }
    let raw = lane(Operation::Messages, true, &native(Operation::Messages));
    assert_eq!(streamed(raw, &[late.as_bytes()]).1.place.as_deref(), Some("eu"), "the latest counts");
}

#[test]
fn a_cut_at_every_byte_changes_nothing() {
    for (operation, stream) in all() {
        let lane = lane(operation, true, &native(operation));
        let whole = streamed(lane.clone(), &[stream.as_bytes()]);
        let bytes: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
        assert_eq!(streamed(lane.clone(), &bytes), whole, "{operation}, byte by byte");
        for at in 0..=stream.len() {
            let (first, second) = stream.as_bytes().split_at(at);
            assert_eq!(streamed(lane.clone(), &[first, second]), whole, "{operation} at {at}");
        }
    }
}

/// Where it was cut off there is no whole answer, and only whole events were passed on.
#[test]
fn a_stream_that_ends_early_is_truncated() {
    for (operation, stream) in all() {
        let lane = lane(operation, true, &native(operation));
        let all = expected(operation, &stream);
        for at in 0..stream.len() {
            let (out, observed) = streamed(lane.clone(), &[&stream.as_bytes()[..at]]);
            if observed.ended == Some(Ended::Whole) {
                // All that lacks is a line end or a bracket.
                let rest = &stream[at..];
                assert!(rest.trim_matches(['\r', '\n', ']']).is_empty(), "{operation} at {at}: {rest}");
                assert!(out.trim_end() == all.trim_end() || operation == ARRAY, "{operation} at {at}");
                continue;
            }
            assert_eq!(failed(&observed).class, FailureClass::TruncatedStream, "{operation} at {at}");
            assert!(all.starts_with(&out), "{operation} at {at}: {out}");
        }
    }
}

#[test]
fn what_comes_after_the_end_is_ignored() {
    for (operation, stream) in all() {
        if matches!(operation, SSE | ARRAY) {
            continue;
        }
        let lane = lane(operation, true, &native(operation));
        let whole = streamed(lane.clone(), &[stream.as_bytes()]);
        let more = format!("{stream}data: {{\"error\":{{\"message\":\"late\"}}}}\n\n");
        assert_eq!(streamed(lane.clone(), &[more.as_bytes()]), whole, "{operation}");
        assert_eq!(streamed(lane, &[stream.as_bytes(), b"garbage\n\n"]), whole, "{operation}");
    }
}

/// Before the first word another upstream may still be asked, so it must be told from what only announces an answer.
#[test]
fn what_only_announces_an_answer_is_not_meaningful() {
    for (operation, stream) in all() {
        let mut stream_of = lane(operation, true, &native(operation)).stream(&stamp(), LIMIT);
        let mut out = Vec::new();
        let words = ["a\\u20ac", "a€"].iter().filter_map(|word| stream.find(word)).min().expect("its words");
        let mut before = stream.as_bytes()[..words].to_vec();
        let rest = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        before.truncate(rest);
        let observed = stream_of.push(&before, &mut out);
        assert!(!observed.meaningful && observed.pieces == 0, "{operation}");
        assert!(stream_of.push(&stream.as_bytes()[rest..], &mut out).meaningful, "{operation}");
    }
    for (operation, event) in [
        (
            Operation::ChatCompletions,
            r#"data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]}}]}"#,
        ),
        (Operation::ChatCompletions, r#"data: {"choices":[{"delta":{"reasoning_content":"hm"}}]}"#),
        (Operation::ChatCompletions, r#"data: {"choices":[{"delta":{},"finish_reason":"content_filter"}]}"#),
        (
            Operation::Messages,
            "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"f\",\"input\":{}}}",
        ),
        (
            Operation::Messages,
            "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"refusal\"}}",
        ),
        (
            Operation::Responses,
            r#"data: {"type":"response.output_item.added","item":{"type":"function_call","call_id":"a","name":"f"}}"#,
        ),
        (Operation::Responses, r#"data: {"type":"response.reasoning_summary_text.delta","delta":"hm"}"#),
        (Operation::Responses, r#"data: {"type":"response.refusal.delta","delta":"no"}"#),
        (SSE, r#"data: {"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}}]}}]}"#),
        (SSE, r#"data: {"promptFeedback":{"blockReason":"SAFETY"}}"#),
    ] {
        let mut stream = lane(operation, true, &native(operation)).stream(&stamp(), LIMIT);
        let observed = stream.push(format!("{event}\n\n").as_bytes(), &mut Vec::new());
        assert!(observed.meaningful && observed.ended.is_none(), "{event}");
    }
}

#[test]
fn an_event_that_is_too_large_ends_the_stream() {
    for (operation, _) in all() {
        for speaks in super::upstreams() {
            let mut stream =
                lane(operation, true, &speaks).stream(&stamp(), StreamBounds { event_bytes: 64, ..LIMIT });
            let mut out = Vec::new();
            let text = if speaks.takes(ARRAY) && operation == ARRAY { "[{" } else { "data: {" };
            stream.push(text.as_bytes(), &mut out);
            let observed = stream.push(&[b' '; 100], &mut out);
            assert_eq!(failed(&observed).class, FailureClass::Upstream, "{operation}");
            assert!(
                failed(&observed).message.contains("larger than 64"),
                "{operation}: {:?}",
                observed.ended
            );
            assert!(out.is_empty() || out == b"[", "{operation}");
        }
    }
}

#[test]
fn a_blocked_prompt_is_a_whole_answer() {
    for (operation, text) in [
        (SSE, "data: {\"promptFeedback\":{\"blockReason\":\"SAFETY\"}}\n\n"),
        (ARRAY, "[{\"promptFeedback\":{\"blockReason\":\"SAFETY\"}}]"),
    ] {
        let (out, observed) = streamed(lane(operation, true, &native(operation)), &[text.as_bytes()]);
        assert_eq!((out.as_str(), observed.ended), (text, Some(Ended::Whole)));
    }
}

#[test]
fn a_stream_of_the_other_framing_is_refused() {
    let garbage =
        [(ARRAY, "data: {}\n\n", ""), (SSE, "[{\"candidates\":[]}]\n\n", ""), (ARRAY, "[\nx", "[\n")];
    for (operation, text, passed) in garbage {
        let (out, observed) = streamed(lane(operation, true, &native(operation)), &[text.as_bytes()]);
        assert_eq!((out.as_str(), failed(&observed).class), (passed, FailureClass::Upstream));
    }
}

/// How each door's own reader takes what the gateway ends a stream with.
fn failure_read(operation: Operation, bytes: &str) -> Failure {
    let mint = || crate::canonical::Mint::new("test");
    let mut reader: Box<dyn ReadStream> = match operation.dialect() {
        Dialect::OpenAiChat | Dialect::OpenAiCompletions => {
            Box::new(openai::translate::chat::StreamReader::new(mint()))
        }
        Dialect::OpenAiResponses => Box::new(openai::translate::responses::StreamReader::new()),
        Dialect::Anthropic => Box::new(anthropic::StreamReader::new(mint())),
        Dialect::Gemini => Box::new(gemini::StreamReader::new(mint())),
        Dialect::Converse => Box::new(crate::bedrock::StreamReader::new(mint())),
    };
    let mut events = Vec::new();
    reader.read(bytes.as_bytes(), &mut events);
    match events.pop() {
        Some(crate::canonical::Event::Error(failure)) => failure,
        other => panic!("{operation}: {other:?} in {bytes}"),
    }
}

#[test]
fn a_failure_is_told_in_the_doors_own_shape_wherever_the_stream_stands() {
    let mut failure = Failure::new(FailureClass::Overloaded, "our words");
    failure.retry_after_seconds = Some(5);
    for (operation, text) in all() {
        for speaks in super::upstreams() {
            let upstream = ask(operation, &question(operation, true), &speaks).expect("a way").operation;
            let (_, bytes) = all().into_iter().find(|(one, _)| *one == upstream).expect("a stream");
            // Before anything came, and after each of its lines.
            let ends = bytes.match_indices('\n').map(|(at, _)| at + 1);
            for at in std::iter::once(0).chain(ends) {
                let mut stream = lane(operation, true, &speaks).stream(&stamp(), LIMIT);
                let mut out = Vec::new();
                let observed = stream.push(&bytes.as_bytes()[..at], &mut out);
                if observed.ended.is_some() || (upstream == ARRAY && out.ends_with(b"]")) {
                    continue;
                }
                stream.fail(&failure, &mut out);
                let out = String::from_utf8(out).expect("UTF-8");
                let read = failure_read(operation, &out);
                // OpenAI has no word for it once its answer has begun.
                let class =
                    if out.contains("response.failed") { FailureClass::Upstream } else { failure.class };
                assert_eq!((read.class, read.message.as_str()), (class, "our words"), "{out}");
                if operation == ARRAY {
                    let array: Vec<serde_json::Value> = serde_json::from_str(&out).expect("an array");
                    assert!(array.last().is_some_and(|last| last["error"]["code"] == 503), "{out}");
                }
                assert!(text.len() > 1);
            }
        }
    }
}

#[test]
fn what_keeps_a_connection_open_says_nothing() {
    for (operation, text) in all() {
        let mut bytes = Vec::new();
        keep_alive(operation, &mut bytes);
        bytes.extend_from_slice(text.as_bytes());
        let (_, observed) = streamed(lane(operation, true, &native(operation)), &[&bytes]);
        assert_eq!((observed.ended, observed.pieces), (Some(Ended::Whole), 2), "{operation}");
        let mut alone = Vec::new();
        keep_alive(operation, &mut alone);
        assert!(alone.ends_with(b"\n"));
    }
}

proptest! {
    #[test]
    fn no_bytes_break_a_stream(
        noise in proptest::collection::vec(any::<u8>(), 0..40), at in any::<prop::sample::Index>(),
        door in 0..6usize, upstream in 0..4usize,
    ) {
        let (operation, _) = all()[door];
        let speaks = super::upstreams()[upstream];
        let there = speaks.asked(operation, true).expect("a way");
        let (_, text) = all().into_iter().find(|(one, _)| *one == there).expect("a stream");
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes.splice(at..at, noise);
        let lane = lane(operation, true, &speaks);
        let whole = {
            let mut stream = lane.clone().stream(&stamp(), LIMIT);
            let mut out = Vec::new();
            stream.push(&bytes, &mut out);
            (stream.finish(&mut out).ended, out)
        };
        let mut stream = lane.stream(&stamp(), LIMIT);
        let mut out = Vec::new();
        for byte in bytes.chunks(3) {
            stream.push(byte, &mut out);
        }
        prop_assert_eq!((stream.finish(&mut out).ended, out), whole);
    }
}
