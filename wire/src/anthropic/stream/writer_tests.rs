use serde_json::{Value, json};

use super::{StreamReader, StreamWriter};
use crate::canonical::{
    Assembler, Citation, CitationSource, Delta, Dialect, Envelope, Event, Failure, FailureClass,
    ForeignField, Image, MediaSource, Mint, Opening, Part, Provider, ReadStream, RedactedThinking, Response,
    Signature, Start, Stop, StopReason, Text, Thinking, ToolCall, Unsupported, Usage, WriteStream, play,
    seal,
};
use crate::sse::Decoder;

pub(super) fn start() -> Event {
    Event::Start(Start {
        origin: Dialect::OpenAiChat,
        id: "chatcmpl-1".into(),
        created: Some(1),
        model: "upstream".into(),
        foreign: Vec::new(),
    })
}

pub(super) fn begin(block: u32, opening: Opening) -> Event {
    Event::BlockStart { choice: 0, block, opening }
}

pub(super) fn grow(block: u32, delta: Delta) -> Event {
    Event::BlockDelta { choice: 0, block, delta }
}

pub(super) fn close(block: u32) -> Event {
    Event::BlockStop { choice: 0, block }
}

pub(super) fn stop(reason: StopReason) -> Event {
    Event::Stop { choice: 0, stop: Stop::new(reason) }
}

pub(super) fn call(id: &str) -> Opening {
    Opening::ToolCall { id: id.into(), name: "f".into(), signature: None }
}

pub(super) fn writer(policy: Unsupported) -> StreamWriter {
    let envelope = Envelope { id: "msg_1".into(), created: 1, model: "public".into() };
    StreamWriter::new(envelope, policy, 42)
}

pub(super) fn written(events: &[Event]) -> Vec<u8> {
    let (mut writer, mut out) = (writer(Unsupported::Refuse), Vec::new());
    for event in events {
        writer.write(event, &mut out).expect("written");
    }
    out
}

/// The events' data; each must be named by its type.
pub(super) fn data(bytes: &[u8]) -> Vec<Value> {
    let mut decoder = Decoder::new(1 << 20);
    decoder.push(bytes);
    let mut events = Vec::new();
    while let Some(frame) = decoder.next_frame().expect("small") {
        let value: Value = serde_json::from_slice(&frame.data().expect("data")).expect("JSON");
        assert_eq!(frame.name(), value["type"].as_str());
        events.push(value);
    }
    assert_eq!(decoder.finish(), None, "ends with a blank line");
    events
}

fn reread(bytes: &[u8]) -> Response {
    let mut events = Vec::new();
    let mut reader = StreamReader::new(Mint::new("seed"));
    reader.read(bytes, &mut events);
    reader.finish(&mut events);
    let mut assembler = Assembler::new();
    events.iter().for_each(|event| assembler.push(event).expect("within the grammar"));
    assembler.finish().expect("whole")
}

#[test]
fn a_stream_of_ours_is_anthropics_event_by_event() {
    let usage = |input_uncached, output_visible| {
        Event::Usage(Usage { input_uncached, output_visible, ..Usage::default() })
    };
    let out = written(&[
        start(),
        usage(10, 1),
        begin(0, Opening::Thinking { id: None }),
        grow(0, Delta::Thinking("hm".into())),
        grow(0, Delta::Signature(Signature { provider: Provider::Anthropic, data: "EqR+/=".into() })),
        close(0),
        Event::Ping,
        begin(1, Opening::Text),
        grow(1, Delta::Text("a".into())),
        close(1),
        begin(2, call("toolu_1")),
        grow(2, Delta::Arguments("{}".into())),
        close(2),
        stop(StopReason::ToolUse),
        usage(10, 20),
        Event::End,
    ]);
    let block = |index: u32, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
    let delta =
        |index: u32, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    let close = |index: u32| json!({"type": "content_block_stop", "index": index});
    let zero = json!({"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0});
    let counts = |output: u64| {
        json!({
            "input_tokens": 10, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
            "output_tokens": output,
        })
    };
    let mut first = counts(1);
    first["cache_creation"] = zero;
    assert_eq!(
        data(&out),
        [
            json!({"type": "message_start", "message": {
                "id": "msg_1", "type": "message", "role": "assistant", "model": "public", "content": [],
                "stop_reason": null, "stop_sequence": null, "usage": first,
            }}),
            block(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
            delta(0, json!({"type": "thinking_delta", "thinking": "hm"})),
            delta(0, json!({"type": "signature_delta", "signature": "EqR+/="})),
            close(0),
            json!({"type": "ping"}),
            block(1, json!({"type": "text", "text": ""})),
            delta(1, json!({"type": "text_delta", "text": "a"})),
            close(1),
            block(2, json!({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}})),
            delta(2, json!({"type": "input_json_delta", "partial_json": "{}"})),
            close(2),
            json!({
                "type": "message_delta",
                "delta": {"stop_reason": "tool_use", "stop_sequence": null},
                "usage": counts(20),
            }),
            json!({"type": "message_stop"}),
        ]
    );
}

#[test]
fn a_written_stream_reads_as_the_same_answer() {
    let foreign = json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": 1}});
    let index = json!({"encrypted_index": "E"}).as_object().cloned().expect("an object");
    let response = Response {
        origin: Dialect::Anthropic,
        id: "msg_1".into(),
        created: None,
        model: "public".into(),
        choices: vec![crate::canonical::Choice {
            index: 0,
            parts: vec![
                Part::Thinking(Thinking {
                    text: String::new(),
                    signature: Some(Signature { provider: Provider::Anthropic, data: "EqR+/=".into() }),
                    id: None,
                }),
                Part::RedactedThinking(RedactedThinking {
                    provider: Provider::Anthropic,
                    data: "x+/=".into(),
                }),
                Part::Foreign(crate::canonical::ForeignPart {
                    dialect: Dialect::Anthropic,
                    kind: "server_tool_use".into(),
                    value: foreign,
                }),
                Part::Text(Text {
                    citations: vec![Citation {
                        span: None,
                        source: CitationSource::Web { url: "u".into(), title: Some("t".into()) },
                        cited_text: Some("c".into()),
                        foreign: Some((Dialect::Anthropic, index)),
                    }],
                    ..Text::new("a\r\n\ndata: b")
                }),
                Part::ToolCall(ToolCall {
                    id: "toolu_1".into(),
                    name: "f".into(),
                    arguments: "{\"a\": 1.0}".into(),
                    ..ToolCall::default()
                }),
            ],
            stop: Some(Stop {
                reason: StopReason::StopSequence,
                sequence: Some("x".into()),
                foreign: Vec::new(),
            }),
            logprobs: None,
        }],
        usage: Some(Usage { input_uncached: 3, cache_read: 5, output_visible: 7, ..Usage::default() }),
        foreign: vec![ForeignField {
            parent: "usage".into(),
            name: "inference_geo".into(),
            value: "us".into(),
        }],
    };
    assert_eq!(reread(&written(&play(&response))), response);
}

#[test]
fn what_is_sealed_goes_into_the_block_that_opens() {
    let gemini = Signature { provider: Provider::Gemini, data: "c2ln".into() };
    let out = written(&[
        start(),
        begin(0, Opening::Thinking { id: None }),
        grow(0, Delta::Signature(gemini.clone())),
        close(0),
        begin(
            1,
            Opening::ToolCall { id: "call_1".into(), name: "f".into(), signature: Some(gemini.clone()) },
        ),
        close(1),
        stop(StopReason::ToolUse),
        Event::End,
    ]);
    let events = data(&out);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let signature = text(&events[2]["delta"]["signature"]);
    assert_eq!(seal::open_signature(Provider::Anthropic, &signature), gemini);
    let id = text(&events[4]["content_block"]["id"]);
    assert_eq!(seal::open_call_id(&id), ("call_1".into(), Some(gemini)));
}

/// Gemini 3 signs with an empty text, which Anthropic refuses from a client that sends it back.
#[test]
fn a_text_that_says_nothing_is_no_block() {
    let signature = Signature { provider: Provider::Gemini, data: "c2ln".into() };
    let (mut writer, mut out) = (writer(Unsupported::Refuse), Vec::new());
    for event in [
        start(),
        begin(0, Opening::Text),
        grow(0, Delta::Text("a".into())),
        close(0),
        begin(1, Opening::Text),
        grow(1, Delta::Signature(signature)),
        close(1),
        begin(2, call("c")),
        close(2),
        stop(StopReason::ToolUse),
        Event::End,
    ] {
        writer.write(&event, &mut out).expect("written");
    }
    let starts: Vec<Value> =
        data(&out).into_iter().filter(|event| event["type"] == "content_block_start").collect();
    let kinds: Vec<(&Value, &Value)> =
        starts.iter().map(|event| (&event["index"], &event["content_block"]["type"])).collect();
    assert_eq!(kinds, [(&json!(0), &json!("text")), (&json!(1), &json!("tool_use"))]);
    assert_eq!(writer.dropped(), ["content[1].signature"]);
}

/// A failure before the start can still be told as an error of its own, without half a message.
#[test]
fn an_error_is_the_last_event() {
    let failure = Event::Error(Failure::new(FailureClass::Overloaded, "m"));
    let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "m"}});
    assert_eq!(data(&written(&[start(), failure.clone()])), std::slice::from_ref(&error));
    let late = written(&[
        start(),
        begin(0, Opening::Text),
        grow(0, Delta::Text("a".into())),
        failure,
        close(0),
        stop(StopReason::EndTurn),
        Event::End,
    ]);
    let events = data(&late);
    assert_eq!(events.last(), Some(&error));
    assert_eq!(events.len(), 4, "a start, a block with a word and the error: {events:?}");
}

#[test]
fn a_part_that_cant_be_said_is_refused_or_leaves_no_gap() {
    let image = Part::Image(Image { source: MediaSource::Url("u".into()), detail: None, cache: None });
    let events = [
        start(),
        begin(0, Opening::Whole(Box::new(image))),
        close(0),
        begin(1, Opening::Refusal),
        grow(1, Delta::Refusal("no".into())),
        close(1),
        stop(StopReason::EndTurn),
        Event::End,
    ];
    let (mut strict, mut out) = (writer(Unsupported::Refuse), Vec::new());
    let error = events.iter().find_map(|event| strict.write(event, &mut out).err()).expect("refused");
    assert_eq!(error.field, "content[0]");
    let (mut lenient, mut out) = (writer(Unsupported::Drop), Vec::new());
    events.iter().for_each(|event| lenient.write(event, &mut out).expect("dropped"));
    assert_eq!(lenient.dropped(), ["content[0]"]);
    let events = data(&out);
    assert_eq!(events[1]["index"], 0, "numbered without gaps");
    assert_eq!(events[2]["delta"], json!({"type": "text_delta", "text": "no"}));
    assert_eq!(events[4]["delta"]["stop_reason"], "refusal");
}
