use proptest::prelude::*;
use serde_json::{Value, json};

use super::{echo, envelope};
use crate::canonical::{
    Assembler, Choice, Delta, Dialect, Event, Failure, FailureClass, Logprobs, Opening, Part, Provider,
    ReadStream, RedactedThinking, Response, Signature, Start, Stop, StopReason, Text, Thinking, TokenLogprob,
    ToolCall, Unsupported, Usage, WriteStream, play,
};
use crate::openai::translate::responses::{StreamReader, StreamWriter, response};
use crate::sse;

fn events(pieces: &[&[u8]]) -> Vec<Event> {
    let (mut reader, mut events) = (StreamReader::new(), Vec::new());
    for piece in pieces {
        reader.read(piece, &mut events);
    }
    reader.finish(&mut events);
    events
}

fn assembled(events: &[Event]) -> Response {
    let mut assembler = Assembler::new();
    for event in events {
        assembler.push(event).unwrap_or_else(|error| panic!("{error}: {event:?} in {events:#?}"));
    }
    assembler.finish().expect("whole")
}

fn stream(events: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for event in events {
        sse::named_event(event["type"].as_str().unwrap_or_default(), &event.to_string(), &mut bytes);
    }
    bytes
}

fn object(status: &str, output: Value) -> Value {
    json!({"id": "resp_1", "object": "response", "created_at": 7, "status": status, "model": "m", "output": output,
           "error": null, "incomplete_details": null, "usage": null})
}

/// A stream as OpenAI sends it: reasoning in two paragraphs, a text, and two calls.
fn openais() -> (Vec<Value>, Value) {
    let message = json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [
        {"type": "output_text", "text": "Hello", "annotations": [
            {"type": "url_citation", "start_index": 0, "end_index": 2, "url": "u", "title": "t"}],
         "logprobs": [{"token": "Hello", "logprob": -0.5, "bytes": null, "top_logprobs": []}]}]});
    let reasoning = json!({"type": "reasoning", "id": "rs_1", "encrypted_content": "gAAA", "summary": [
        {"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "bc"}]});
    let call = |id: &str, arguments: &str| {
        json!({"type": "function_call", "id": "fc", "call_id": id, "name": "f", "arguments": arguments,
               "status": "completed"})
    };
    let mut whole =
        object("completed", json!([reasoning, message, call("c1", "{\"x\":1}"), call("c2", "{}")]));
    whole["usage"] = json!({"input_tokens": 3, "output_tokens": 2, "total_tokens": 5});
    let started = |index: u32, mut item: Value| {
        for (name, value) in [("content", json!([])), ("summary", json!([])), ("arguments", json!(""))] {
            if item.get(name).is_some() {
                item[name] = value;
            }
        }
        item.as_object_mut().expect("an item").remove("encrypted_content");
        json!({"type": "response.output_item.added", "output_index": index, "item": item})
    };
    let done = |index: u32, item: &Value| json!({"type": "response.output_item.done", "output_index": index, "item": item});
    let summary = |part: u32, delta: &str| {
        json!({"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": part,
               "delta": delta})
    };
    let text = |delta: &str| {
        json!({"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": delta,
               "logprobs": []})
    };
    let arguments = |index: u32, delta: &str| json!({"type": "response.function_call_arguments.delta", "output_index": index, "delta": delta});
    let output = whole["output"].clone();
    let events = vec![
        json!({"type": "response.created", "response": object("in_progress", json!([]))}),
        json!({"type": "response.in_progress", "response": object("in_progress", json!([]))}),
        started(0, output[0].clone()),
        json!({"type": "response.reasoning_summary_part.added", "output_index": 0, "summary_index": 0}),
        summary(0, "a"),
        summary(1, "b"),
        summary(1, "c"),
        done(0, &output[0]),
        started(1, output[1].clone()),
        json!({"type": "response.content_part.added", "output_index": 1, "content_index": 0,
               "part": {"type": "output_text", "text": "", "annotations": []}}),
        text("Hel"),
        text("lo"),
        json!({"type": "response.output_text.annotation.added", "output_index": 1, "content_index": 0,
               "annotation": output[1]["content"][0]["annotations"][0]}),
        json!({"type": "response.output_text.done", "output_index": 1, "content_index": 0, "text": "Hello"}),
        json!({"type": "response.content_part.done", "output_index": 1, "content_index": 0,
               "part": output[1]["content"][0]}),
        done(1, &output[1]),
        started(2, output[2].clone()),
        arguments(2, "{\"x\""),
        arguments(2, ":1}"),
        json!({"type": "response.function_call_arguments.done", "output_index": 2, "arguments": "{\"x\":1}"}),
        done(2, &output[2]),
        started(3, output[3].clone()),
        json!({"type": "response.function_call_arguments.done", "output_index": 3, "arguments": "{}"}),
        done(3, &output[3]),
        json!({"type": "response.completed", "response": whole}),
    ];
    (events, whole)
}

#[test]
fn a_stream_is_the_unstreamed_answer() {
    let (given, whole) = openais();
    let mut whole = response::read(whole.to_string().as_bytes()).expect("an answer");
    // The id comes with the item's start, before there is anything to say.
    if let Some(Part::Thinking(thinking)) = whole.choices[0].parts.first_mut() {
        assert_eq!(thinking.id.as_deref(), Some("rs_1"));
    }
    assert_eq!(assembled(&events(&[&stream(&given)])), whole);
}

/// Servers that stream no pieces say each part when it is whole.
#[test]
fn parts_that_come_whole_are_read_once() {
    let (given, whole) = openais();
    let skipped = [
        "response.output_text.delta",
        "response.function_call_arguments.delta",
        "response.reasoning_summary_text.delta",
        "response.content_part.added",
    ];
    let pieceless: Vec<Value> =
        given.into_iter().filter(|event| !skipped.iter().any(|kind| event["type"] == *kind)).collect();
    let mut response = assembled(&events(&[&stream(&pieceless)]));
    let mut whole = response::read(whole.to_string().as_bytes()).expect("an answer");
    // Its citation came before the text here.
    for response in [&mut response, &mut whole] {
        assert_eq!(response.choices[0].parts.len(), 4);
    }
    assert_eq!(response, whole);
}

fn class(bytes: &[u8]) -> FailureClass {
    match events(&[bytes]).pop() {
        Some(Event::Error(failure)) => failure.class,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stream_never_ends_silently() {
    let (given, _) = openais();
    let (_, cut) = given.split_last().expect("events");
    assert_eq!(class(b""), FailureClass::TruncatedStream);
    assert_eq!(class(&stream(cut)), FailureClass::TruncatedStream);
    let started = &given[..2];
    let with = |last: Value| stream(&[started, &[last]].concat());
    let error = json!({"type": "error", "code": "server_is_overloaded", "message": "m", "param": null});
    assert_eq!(class(&with(error)), FailureClass::Overloaded);
    let nested =
        json!({"type": "error", "error": {"type": "t", "code": "rate_limit_exceeded", "message": "m"}});
    assert_eq!(class(&with(nested)), FailureClass::RateLimited);
    let mut failed = object("failed", json!([]));
    failed["error"] = json!({"code": "rate_limit_exceeded", "message": "m"});
    assert_eq!(
        class(&with(json!({"type": "response.failed", "response": failed}))),
        FailureClass::RateLimited
    );
    let stray = json!({"type": "response.function_call_arguments.delta", "output_index": 0, "delta": "{"});
    assert_eq!(class(&with(stray)), FailureClass::Upstream);
    assert_eq!(class(&[stream(started).as_slice(), b"data: {oops\n\n"].concat()), FailureClass::Upstream);
    let finished = stream(&given);
    let marked = [finished.as_slice(), b"data: [DONE]\n\n"].concat();
    assert_eq!(events(&[&marked]).pop(), Some(Event::End), "whatever comes after the last event is nothing");
}

#[test]
fn unknown_events_are_passed_over() {
    let (mut given, whole) = openais();
    given.insert(3, json!({"type": "response.hologram.spinning", "output_index": 0, "delta": "x"}));
    given.insert(4, json!({"type": "keepalive"}));
    let whole = response::read(whole.to_string().as_bytes()).expect("an answer");
    assert_eq!(assembled(&events(&[&stream(&given)])), whole);
}

fn write(events: &[Event]) -> Vec<u8> {
    let mut writer = StreamWriter::new(envelope(), echo(), Unsupported::Refuse);
    let mut out = Vec::new();
    events.iter().for_each(|event| writer.write(event, &mut out).expect("expressible"));
    out
}

/// Name and data of each event.
fn frames(bytes: &[u8]) -> Vec<(String, Value)> {
    let mut decoder = sse::Decoder::new(1 << 20);
    decoder.push(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = decoder.next_frame().expect("frames") {
        let data = serde_json::from_slice(&frame.data().expect("data")).expect("JSON");
        frames.push((frame.name().expect("a name").to_owned(), data));
    }
    frames
}

fn answer(parts: Vec<Part>) -> Response {
    let mut choice = Choice { index: 0, parts, stop: None, logprobs: None };
    choice.stop = Some(Stop::new(StopReason::EndTurn.with_calls(choice.calls_tools())));
    Response {
        origin: Dialect::Anthropic,
        id: "resp_1".into(),
        created: Some(7),
        model: "m".into(),
        choices: vec![choice],
        usage: Some(Usage { input_uncached: 3, output_visible: 2, ..Usage::default() }),
        foreign: Vec::new(),
    }
}

#[test]
fn the_order_of_events_is_openais() {
    let call = ToolCall { id: "c1".into(), name: "f".into(), arguments: "{}".into(), ..ToolCall::default() };
    let thinking = Thinking { text: "hm".into(), ..Thinking::default() };
    let parts =
        vec![Part::Thinking(thinking), Part::text("hi"), Part::Refusal("no".into()), Part::ToolCall(call)];
    let frames = frames(&write(&play(&answer(parts))));
    let names: Vec<&str> = frames.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.reasoning_summary_part.added",
            "response.reasoning_summary_text.delta",
            "response.reasoning_summary_text.done",
            "response.reasoning_summary_part.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.content_part.added",
            "response.refusal.delta",
            "response.refusal.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    for (number, (name, data)) in frames.iter().enumerate() {
        assert_eq!(data["type"], name.as_str());
        assert_eq!(data["sequence_number"], json!(number));
    }
    let indexes: Vec<&Value> = frames.iter().filter_map(|(_, data)| data.get("output_index")).collect();
    assert_eq!(indexes.first(), Some(&&json!(0)));
    assert_eq!(indexes.last(), Some(&&json!(2)));
}

/// In an answer that was not streamed they come after the parts, and a refusal has none.
#[test]
fn late_log_probabilities_stand_at_the_last_text() {
    let token =
        TokenLogprob { token: "a".into(), logprob: -0.5, bytes: None, id: None, alternatives: vec![] };
    let call = ToolCall { id: "c1".into(), name: "f".into(), ..ToolCall::default() };
    for after in [vec![], vec![Part::Refusal("no".into())], vec![Part::ToolCall(call)]] {
        let mut response = answer([vec![Part::text("a"), Part::text("b")], after].concat());
        response.choices[0].logprobs = Some(Logprobs { content: vec![token.clone()], refusal: vec![] });
        let (_, last) = frames(&write(&play(&response))).pop().expect("events");
        let texts = &last["response"]["output"][0]["content"];
        let count = |index: usize| texts[index]["logprobs"].as_array().map(Vec::len);
        assert_eq!((count(0), count(1)), (Some(0), Some(1)));
    }
}

#[test]
fn a_failure_is_said_in_the_answers_place_once_it_has_begun() {
    let failure = Failure::new(FailureClass::RateLimited, "slow down");
    let before = frames(&write(&[Event::Error(failure.clone())]));
    assert_eq!(before[0].0, "error");
    assert_eq!(before[0].1["message"], "slow down");
    let start = Event::Start(Start {
        origin: Dialect::Anthropic,
        id: String::new(),
        created: None,
        model: String::new(),
        foreign: Vec::new(),
    });
    let (name, data) = frames(&write(&[start, Event::Error(failure)])).pop().expect("events");
    assert_eq!(name, "response.failed");
    assert_eq!(data["response"]["status"], "failed");
    assert_eq!(data["response"]["error"], json!({"code": "rate_limit_exceeded", "message": "slow down"}));
}

/// OpenAI's list is closed, and its clients' types are as strict.
#[test]
fn an_answer_that_fails_does_so_with_a_code_of_openais() {
    const CODES: [&str; 4] =
        ["server_error", "rate_limit_exceeded", "invalid_prompt", "data_residency_mismatch"];
    for class in FailureClass::ALL {
        let mut failure = Failure::new(class, "m");
        failure.code = Some("a word of ours".to_owned());
        let start = play(&answer(vec![])).remove(0);
        let (name, data) = frames(&write(&[start, Event::Error(failure)])).pop().expect("events");
        let code = data["response"]["error"]["code"].as_str().expect("a code");
        assert!(name == "response.failed" && CODES.contains(&code), "{class:?}: {name} {code}");
    }
}

#[test]
fn interleaved_calls_come_one_after_the_other() {
    let opening = |id: &str| Opening::ToolCall { id: id.into(), name: "f".into(), signature: None };
    let begin = |block, id| Event::BlockStart { choice: 0, block, opening: opening(id) };
    let more =
        |block, text: &str| Event::BlockDelta { choice: 0, block, delta: Delta::Arguments(text.into()) };
    let close = |block| Event::BlockStop { choice: 0, block };
    let mut events = vec![play(&answer(vec![])).remove(0)];
    events.extend([
        begin(0, "a"),
        begin(1, "b"),
        more(1, "{\"b\""),
        more(0, "{}"),
        more(1, ":1}"),
        close(0),
        close(1),
    ]);
    events.extend([Event::Stop { choice: 0, stop: Stop::new(StopReason::ToolUse) }, Event::End]);
    let (_, last) = frames(&write(&events)).pop().expect("events");
    let output = &last["response"]["output"];
    assert_eq!((&output[0]["arguments"], &output[1]["arguments"]), (&json!("{}"), &json!("{\"b\":1}")));
}

fn signature() -> impl Strategy<Value = Option<Signature>> {
    let provider = proptest::sample::select(Provider::ALL.to_vec());
    proptest::option::of(
        (provider, "[a-zA-Z0-9+/=]{1,12}").prop_map(|(provider, data)| Signature { provider, data }),
    )
}

fn any_part() -> impl Strategy<Value = Part> {
    let text = "[a-z €😀\\n]{1,10}";
    prop_oneof![
        text.prop_map(Part::text),
        (text, signature()).prop_map(|(text, signature)| Part::Thinking(Thinking {
            text,
            signature,
            id: None
        })),
        signature().prop_filter_map("signed", |signature| {
            signature.map(|signature| {
                Part::Thinking(Thinking { signature: Some(signature), ..Thinking::default() })
            })
        }),
        text.prop_map(Part::Refusal),
        "[a-z=]{1,8}".prop_map(|data| {
            Part::RedactedThinking(RedactedThinking { provider: Provider::Anthropic, data })
        }),
        signature().prop_filter_map("another's", |signature| {
            let signature = signature.filter(|signature| signature.provider != Provider::OpenAi)?;
            Some(Part::Text(Text { signature: Some(signature), ..Text::default() }))
        }),
        ("[a-z0-9]{1,6}", prop_oneof![Just("{}"), Just("{\"a\": [1.0, \"}\"]}")], signature()).prop_map(
            |(id, arguments, signature)| {
                Part::ToolCall(ToolCall {
                    id,
                    name: "f".into(),
                    arguments: arguments.into(),
                    signature,
                    cache: None,
                })
            }
        ),
    ]
}

/// Ids of reasoning items are given where there was none.
fn without_ids(mut response: Response) -> Response {
    response.origin = Dialect::OpenAiResponses;
    for part in response.choices.iter_mut().flat_map(|choice| &mut choice.parts) {
        if let Part::Thinking(thinking) = part {
            thinking.id = None;
        }
    }
    response
}

fn any_response() -> impl Strategy<Value = Response> {
    (proptest::collection::vec(any_part(), 0..7), any::<bool>(), any::<bool>()).prop_map(
        |(parts, full, probable)| {
            let speaks = parts.iter().any(|part| matches!(part, Part::Text(text) if !text.text.is_empty()));
            let mut response = answer(parts);
            let choice = &mut response.choices[0];
            if full {
                choice.stop = Some(Stop::new(StopReason::MaxTokens));
            }
            let token = TokenLogprob {
                token: "a".into(),
                logprob: -0.5,
                bytes: None,
                id: None,
                alternatives: vec![],
            };
            choice.logprobs =
                (probable && speaks).then(|| Logprobs { content: vec![token], refusal: vec![] });
            response
        },
    )
}

proptest! {
    /// What is written as a stream, cut anywhere and read, is the same answer; and so is what is written whole.
    #[test]
    fn a_stream_assembles_to_the_answer(response in any_response(), cut in 1usize..64) {
        let bytes = write(&play(&response));
        let pieces: Vec<&[u8]> = bytes.chunks(cut).collect();
        let streamed = without_ids(assembled(&events(&pieces)));
        prop_assert_eq!(&streamed, &without_ids(response.clone()));
        let whole = response::from_canonical(&response, &envelope(), echo(), Unsupported::Refuse).expect("expressible");
        let body = json!(whole.message).to_string();
        prop_assert_eq!(without_ids(response::read(body.as_bytes()).expect("an answer")), streamed);
    }

    /// OpenAI's own events in any order, and others among them: whatever comes, the events are a stream by the
    /// grammar, and the last one ends it.
    #[test]
    fn any_stream_is_within_the_grammar(order in proptest::collection::vec(any::<prop::sample::Index>(), 0..40)) {
        let (mut known, _) = openais();
        let item = json!({"type": "web_search_call", "id": "ws_1"});
        known.push(json!({"type": "response.output_item.done", "output_index": 1, "item": item}));
        known.push(json!({"type": "response.refusal.delta", "output_index": 1, "content_index": 1, "delta": "no"}));
        known.push(json!({"type": "response.reasoning_text.delta", "output_index": 0, "delta": "r"}));
        known.push(json!({"type": "response.output_text.delta"}));
        let chosen: Vec<Value> = order.iter().map(|index| index.get(&known).clone()).collect();
        let given = events(&[&stream(&chosen)]);
        let mut assembler = Assembler::new();
        for event in &given {
            prop_assert!(assembler.push(event).is_ok(), "{:?} in {:#?}", event, given);
        }
        prop_assert!(matches!(given.last(), Some(Event::End | Event::Error(_))));
    }

    #[test]
    fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let given = events(&[b"data: ", &bytes, b"\n\n"]);
        prop_assert!(matches!(given.last(), Some(Event::Error(_))));
    }

    /// The last event holds the answer that would have been sent unstreamed, byte for byte.
    #[test]
    fn the_last_event_holds_the_unstreamed_answer(response in any_response()) {
        let (_, last) = frames(&write(&play(&response))).pop().expect("events");
        let whole = response::from_canonical(&response, &envelope(), echo(), Unsupported::Refuse).expect("expressible");
        prop_assert_eq!(last["response"].to_string(), json!(whole.message).to_string());
    }
}

/// Events of hosted tools have fields of their own making, and servers number their errors.
#[test]
fn a_field_of_another_type_breaks_no_stream() {
    let (mut all, _) = openais();
    all.insert(
        1,
        json!({"type": "response.mcp_call.progress", "output_index": 0, "delta": {"a": 1}, "code": [1]}),
    );
    assert!(matches!(events(&[&stream(&all)]).last(), Some(Event::End)));
    let numbered = json!({"type": "error", "code": 429, "message": "m", "param": null});
    let failed = events(&[&stream(&[numbered])]);
    let Some(Event::Error(failure)) = failed.last() else { panic!("{failed:?}") };
    assert_eq!((failure.class, failure.message.as_str()), (FailureClass::RateLimited, "m"));
}
