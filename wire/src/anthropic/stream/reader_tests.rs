use proptest::prelude::*;
use serde_json::{Value, json};

use super::StreamReader;
use crate::anthropic::{parse, response, usage};
use crate::canonical::{
    Assembler, Delta, Dialect, Event, FailureClass, Mint, Opening, Part, ReadStream, Response, Stop,
    StopReason,
};
use crate::sse::named_event;

fn frame(data: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    named_event(data["type"].as_str().expect("a type"), &data.to_string(), &mut out);
    out
}

fn stream(events: &[Value]) -> Vec<u8> {
    events.iter().flat_map(frame).collect()
}

fn read_pieces<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Event> {
    let mut reader = StreamReader::new(Mint::new("seed"));
    let mut events = Vec::new();
    pieces.for_each(|piece| reader.read(piece, &mut events));
    reader.finish(&mut events);
    events
}

fn read(bytes: &[u8]) -> Vec<Event> {
    read_pieces(std::iter::once(bytes))
}

fn assemble(events: &[Event]) -> Response {
    let mut assembler = Assembler::new();
    for event in events {
        assembler.push(event).expect("within the grammar");
    }
    assembler.finish().expect("whole")
}

fn start() -> Value {
    json!({"type": "message_start", "message": {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
        "stop_reason": null, "stop_sequence": null,
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 1, "inference_geo": "us"},
    }})
}

fn begin(index: u32, block: Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn grow(index: u32, delta: Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn close(index: u32) -> Value {
    json!({"type": "content_block_stop", "index": index})
}

fn end(reason: &str) -> [Value; 2] {
    let delta = json!({"stop_reason": reason, "stop_sequence": null});
    [
        json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 20}}),
        json!({"type": "message_stop"}),
    ]
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn say(text: &str) -> Value {
    json!({"type": "text_delta", "text": text})
}

fn call(id: &str, input: Value) -> Value {
    json!({"type": "tool_use", "id": id, "name": "f", "input": input})
}

fn argue(part: &str) -> Value {
    json!({"type": "input_json_delta", "partial_json": part})
}

/// A stream with everything in it.
fn full() -> Vec<Value> {
    let mut events = vec![
        start(),
        json!({"type": "ping"}),
        begin(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
        grow(0, json!({"type": "thinking_delta", "thinking": "hm"})),
        grow(0, json!({"type": "signature_delta", "signature": "EqR+/="})),
        close(0),
        begin(1, json!({"type": "redacted_thinking", "data": "x+/="})),
        close(1),
        begin(2, json!({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}})),
        grow(2, argue("{\"q\"")),
        grow(2, argue(":1}")),
        close(2),
        begin(3, text("")),
        grow(3, say("hé")),
        grow(
            3,
            json!({"type": "citations_delta", "citation": {
                "type": "web_search_result_location", "url": "u", "title": "t", "encrypted_index": "E", "cited_text": "c",
            }}),
        ),
        grow(3, say("llo")),
        close(3),
        begin(4, call("toolu_1", json!({}))),
        grow(4, argue("")),
        grow(4, argue("{\"a\": 1.0")),
        grow(4, argue("}")),
        close(4),
        begin(5, call("toolu_2", json!({}))),
        close(5),
    ];
    events.extend(end("tool_use"));
    events
}

#[test]
fn a_stream_is_the_answer_it_would_have_been_in_one() {
    let whole = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "EqR+/="},
            {"type": "redacted_thinking", "data": "x+/="},
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"q": 1}},
            {"type": "text", "text": "héllo", "citations": [
                {"type": "web_search_result_location", "url": "u", "title": "t", "encrypted_index": "E", "cited_text": "c"},
            ]},
            call("toolu_1", json!({"a": 1.0})),
            call("toolu_2", json!({})),
        ],
        "stop_reason": "tool_use", "stop_sequence": null,
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 20, "inference_geo": "us"},
    });
    let whole = parse(whole.to_string().as_bytes()).expect("parses");
    let mut whole = response::to_canonical(whole, &mut Mint::new("seed")).expect("an answer");
    for part in &mut whole.choices[0].parts {
        if let Part::ToolCall(call) = part
            && call.id == "toolu_1"
        {
            // A stream keeps the bytes of the fragments.
            call.arguments = "{\"a\": 1.0}".into();
        }
    }
    assert_eq!(assemble(&read(&stream(&full()))), whole);
    assert_eq!(usage::inference_geo(&whole.foreign), Some("us"));
}

#[test]
fn the_start_tells_what_was_read() {
    let events = read(&stream(&full()));
    assert!(matches!(&events[0], Event::Start(_)));
    let Event::Usage(usage) = &events[1] else { panic!("{:?}", events[1]) };
    assert_eq!((usage.input_uncached, usage.cache_read, usage.output()), (10, 5, 1));
}

#[test]
fn the_last_counts_win() {
    let [mut delta, stop] = end("end_turn");
    delta["usage"] = json!({"input_tokens": 11, "cache_read_input_tokens": 5, "output_tokens": 20});
    let response = assemble(&read(&stream(&[start(), delta.clone(), delta, stop])));
    let usage = response.usage.expect("counted");
    assert_eq!((usage.input(), usage.output()), (16, 20), "neither lost nor added up");
}

#[test]
fn reasons_to_end_are_told() {
    for (word, reason) in [
        ("end_turn", StopReason::EndTurn),
        ("max_tokens", StopReason::MaxTokens),
        ("pause_turn", StopReason::Pause),
        ("refusal", StopReason::Refusal),
        ("model_context_window_exceeded", StopReason::ContextFull),
    ] {
        let [delta, stop] = end(word);
        let response = assemble(&read(&stream(&[start(), delta, stop])));
        assert_eq!(response.choices[0].stop, Some(Stop::new(reason)));
    }
    let [mut delta, stop] = end("stop_sequence");
    delta["delta"]["stop_sequence"] = "x".into();
    let response = assemble(&read(&stream(&[start(), delta, stop])));
    let expected = Stop { reason: StopReason::StopSequence, sequence: Some("x".into()), foreign: Vec::new() };
    assert_eq!(response.choices[0].stop, Some(expected));
}

#[test]
fn unnamed_and_unknown_events_are_skipped() {
    let mut bytes = frame(&start());
    bytes.extend_from_slice(b": comment\n\ndata: {\"type\":\"message_stop\"}\n\n");
    bytes.extend_from_slice(b"event: novelty\ndata: not json\n\nevent: ping\n\n");
    bytes.extend(stream(&[
        begin(0, text("")),
        grow(0, json!({"type": "novel_delta", "x": 1})),
        grow(0, say("a")),
        close(0),
    ]));
    bytes.extend(stream(&end("end_turn")));
    assert_eq!(assemble(&read(&bytes)).choices[0].parts, [Part::text("a")]);
}

#[test]
fn blocks_are_numbered_anew_whatever_their_index() {
    let mut events = vec![start()];
    for index in [1, 4, 2] {
        events.extend([begin(index, text("")), grow(index, say("a")), close(index)]);
    }
    events.extend(end("end_turn"));
    assert_eq!(assemble(&read(&stream(&events))).choices[0].parts.len(), 3);
}

#[test]
fn input_that_comes_with_the_start_is_not_lost() {
    let mut events = vec![start(), begin(0, call("toolu_1", json!({"a": 1}))), close(0)];
    events.extend(end("tool_use"));
    let response = assemble(&read(&stream(&events)));
    let [Part::ToolCall(call)] = response.choices[0].parts.as_slice() else { panic!("{response:?}") };
    assert_eq!(call.arguments, r#"{"a":1}"#);
}

#[test]
fn a_stream_that_makes_no_sense_fails_where_it_stops_making_any() {
    for (events, word) in [
        (vec![begin(0, text(""))], "began with"),
        (vec![start(), begin(0, text("")), begin(0, text(""))], "twice"),
        (vec![start(), grow(0, say("a"))], "not open"),
        (vec![start(), begin(0, text("")), close(0), close(0)], "not open"),
        (vec![start(), begin(0, text("")), grow(0, argue("{"))], "another kind"),
        (vec![start(), json!({"type": "content_block_start", "index": 0})], "can't be read"),
        (
            vec![start(), begin(0, json!({"type": "tool_use", "id": "a", "name": "", "input": {}}))],
            "which tool",
        ),
    ] {
        let mut events = stream(&events);
        events.extend(stream(&end("end_turn")));
        let read = read(&events);
        let Some(Event::Error(failure)) = read.last() else { panic!("{read:?}") };
        assert_eq!(failure.class, FailureClass::Upstream);
        assert!(failure.message.contains(word), "{}", failure.message);
    }
}

#[test]
fn a_last_event_without_its_blank_line_counts() {
    let mut bytes = stream(&full());
    bytes.truncate(bytes.len() - 1);
    assert!(matches!(read(&bytes).last(), Some(Event::End)));
    bytes.truncate(bytes.len() - 2);
    assert!(matches!(read(&bytes).last(), Some(Event::Error(_))));
}

#[test]
fn a_server_that_names_every_event_alike_is_understood() {
    let mut bytes = Vec::new();
    for event in full() {
        named_event("message", &event.to_string(), &mut bytes);
    }
    assert!(matches!(read(&bytes).last(), Some(Event::End)));
}

#[test]
fn nothing_is_read_after_the_end() {
    let mut bytes = stream(&full());
    bytes.extend(stream(&full()));
    let events = read(&bytes);
    assert_eq!(events.iter().filter(|event| matches!(event, Event::End)).count(), 1);
    assert!(matches!(events.last(), Some(Event::End)));
    assert_eq!(assemble(&events).origin, Dialect::Anthropic);
}

#[test]
fn a_call_without_an_id_gets_one() {
    let mut events = vec![start(), begin(0, call("", json!({}))), close(0)];
    events.extend(end("end_turn"));
    let events = read(&stream(&events));
    let ids = events.iter().filter_map(|event| match event {
        Event::BlockStart { opening: Opening::ToolCall { id, .. }, .. } => Some(id.as_str()),
        _ => None,
    });
    assert!(ids.collect::<Vec<_>>()[0].starts_with("call_"));
    assert_eq!(assemble(&events).choices[0].stop, Some(Stop::new(StopReason::ToolUse)));
    let empty = Event::BlockDelta { choice: 0, block: 0, delta: Delta::Arguments("{}".into()) };
    assert!(events.contains(&empty), "a tool without arguments is called with an object");
}

proptest! {
    #[test]
    fn any_cut_gives_the_same_events(cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        let bytes = stream(&full());
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        let pieces = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
        prop_assert_eq!(read_pieces(pieces), read(&bytes));
    }

    #[test]
    fn a_stream_cut_short_never_ends_well(cut in any::<prop::sample::Index>()) {
        let bytes = stream(&full());
        // The last three bytes close an event that is whole without them.
        let events = read(&bytes[..cut.index(bytes.len() - 2)]);
        let cut_off =
            |event: &Event| matches!(event, Event::Error(failure) if failure.class == FailureClass::TruncatedStream);
        prop_assert!(events.last().is_some_and(cut_off));
        let ended = events.iter().any(|event| matches!(event, Event::Stop { .. } | Event::End));
        prop_assert!(!ended);
    }

    /// Strangers' bytes must not bring a reader down, and its events keep to the grammar.
    #[test]
    fn any_order_of_events_keeps_to_the_grammar(order in proptest::collection::vec(0usize..28, 0..40)) {
        let all = full();
        let chosen: Vec<Value> = order.iter().filter_map(|index| all.get(*index).cloned()).collect();
        let mut assembler = Assembler::new();
        for event in read(&stream(&chosen)) {
            prop_assert_eq!(assembler.push(&event), Ok(()));
        }
    }
}
