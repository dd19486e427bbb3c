use serde_json::{Value, json};

use super::{assembled, envelope, events, mint};
use crate::canonical::{
    Choice, Citation, CitationSource, Delta, Dialect, Event, Failure, FailureClass, Opening, Part, Provider,
    Response, Signature, Span, Stop, StopReason, Text, Thinking, ToolCall, Unsupported, Usage, WriteStream,
    play,
};
use crate::openai::responses::ResponsesRequest;
use crate::openai::translate::chat::{StreamWriter, response};
use crate::openai::translate::responses;
use crate::sse;

pub(super) fn stream(chunks: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::new();
    chunks.iter().for_each(|chunk| sse::event(&chunk.to_string(), &mut bytes));
    bytes
}

pub(super) fn done(chunks: &[Value]) -> Vec<u8> {
    let mut bytes = stream(chunks);
    sse::event(sse::DONE, &mut bytes);
    bytes
}

pub(super) fn chunk(delta: Value, finish: Option<&str>) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 7, "model": "m", "obfuscation": "xx",
        "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}], "usage": null,
    })
}

pub(super) fn calls(pieces: Value) -> Value {
    chunk(json!({"tool_calls": pieces}), None)
}

pub(super) fn piece(index: Option<u32>, id: Option<&str>, name: Option<&str>, arguments: &str) -> Value {
    let mut piece = json!({"function": {"arguments": arguments}});
    for (key, value) in [("index", json!(index)), ("id", json!(id))] {
        if !value.is_null() {
            piece[key] = value;
        }
    }
    if let Some(name) = name {
        piece["function"]["name"] = json!(name);
    }
    piece
}

fn parts(bytes: &[u8]) -> Vec<Part> {
    assembled(&events(&[bytes])).choices.remove(0).parts
}

fn call(id: &str, arguments: &str) -> Part {
    Part::ToolCall(ToolCall {
        id: id.into(),
        name: "f".into(),
        arguments: arguments.into(),
        ..ToolCall::default()
    })
}

#[test]
fn a_plain_stream_is_the_unstreamed_answer() {
    let mut bytes = b": comment\n\n".to_vec();
    bytes.extend(done(&[
        chunk(json!({"role": "assistant", "content": "", "refusal": null}), None),
        chunk(json!({"content": "Hel"}), None),
        chunk(json!({"content": "lo"}), None),
        chunk(json!({}), Some("stop")),
        json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": [],
               "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}),
    ]));
    let given = events(&[&bytes]);
    assert_eq!(given.first(), Some(&Event::Ping));
    let whole = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 7, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello", "refusal": null},
                     "logprobs": null, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    });
    let whole = response::read(whole.to_string().as_bytes(), &mut mint()).expect("an answer");
    assert_eq!(assembled(&given), whole);
}

#[test]
fn interleaved_calls_keep_their_arguments() {
    let bytes = done(&[
        calls(json!([piece(Some(0), Some("a"), Some("f"), "")])),
        calls(json!([piece(Some(1), Some("b"), Some("f"), "{\"x\"")])),
        calls(json!([piece(Some(0), None, None, "{\"y\""), piece(Some(1), None, None, ":1}")])),
        calls(json!([piece(Some(0), None, None, ":2}")])),
        chunk(json!({}), Some("tool_calls")),
    ]);
    assert_eq!(parts(&bytes), [call("a", "{\"y\":2}"), call("b", "{\"x\":1}")]);
}

/// The second call's start shows that the first is whole, so that a client that takes one block at a time has it.
#[test]
fn a_whole_call_is_closed_when_the_next_begins() {
    let given = events(&[&stream(&[
        calls(json!([piece(Some(0), Some("a"), Some("f"), "{}")])),
        calls(json!([piece(Some(1), Some("b"), Some("f"), "")])),
    ])]);
    let closed = given.iter().position(|event| *event == Event::BlockStop { choice: 0, block: 0 });
    let began = given.iter().position(|event| matches!(event, Event::BlockStart { block: 1, .. }));
    assert!(closed.expect("closed") < began.expect("began"));
}

#[test]
fn servers_that_only_imitate_are_understood() {
    let end = || chunk(json!({}), Some("stop"));
    // Every call counted as 0, told apart by id.
    let zero = [
        calls(json!([piece(Some(0), Some("a"), Some("f"), "{}")])),
        calls(json!([piece(Some(0), Some("b"), Some("f"), "{\"x\":1}")])),
        end(),
    ];
    assert_eq!(parts(&done(&zero)), [call("a", "{}"), call("b", "{\"x\":1}")]);
    // No index, and the id in every piece.
    let ids = [
        calls(json!([piece(None, Some("a"), Some("f"), "{")])),
        calls(json!([piece(None, Some("a"), Some("f"), "}")])),
        calls(json!([piece(None, Some("b"), Some("f"), "{}")])),
        end(),
    ];
    assert_eq!(parts(&done(&ids)), [call("a", "{}"), call("b", "{}")]);
    // The name after the first of the arguments; no arguments at all; no id.
    let late = [
        calls(json!([piece(Some(0), Some("a"), None, "{")])),
        calls(json!([piece(Some(0), None, Some("f"), "}")])),
        calls(json!([piece(Some(1), None, Some("f"), "")])),
        end(),
    ];
    let late = parts(&done(&late));
    assert_eq!(late[0], call("a", "{}"));
    let Part::ToolCall(minted) = &late[1] else { panic!("a call") };
    assert!(minted.id.starts_with("call_") && minted.arguments == "{}");
    // No id, no created time, usage in every chunk: the last counts.
    let bare = |text: &str, n: u64, finish: Option<&str>| {
        json!({"choices": [{"delta": {"content": text}, "finish_reason": finish}],
               "usage": {"prompt_tokens": 3, "completion_tokens": n}})
    };
    let response = assembled(&events(&[&done(&[bare("a", 1, None), bare("b", 2, Some("stop"))])]));
    assert_eq!(response.choices[0].parts, [Part::text("ab")]);
    assert_eq!(response.usage.map(|usage| usage.output()), Some(2));
}

#[test]
fn a_finish_of_stop_with_calls_is_tool_use() {
    let bytes =
        done(&[calls(json!([piece(Some(0), Some("a"), Some("f"), "{}")])), chunk(json!({}), Some("stop"))]);
    assert_eq!(assembled(&events(&[&bytes])).choices[0].stop, Some(Stop::new(StopReason::ToolUse)));
}

#[test]
fn thinking_alone_ends_in_length() {
    let bytes = done(&[chunk(json!({"reasoning_content": "hm"}), None), chunk(json!({}), Some("length"))]);
    let response = assembled(&events(&[&bytes]));
    let thinking = Part::Thinking(Thinking { text: "hm".into(), ..Thinking::default() });
    assert_eq!(response.choices[0].parts, [thinking]);
    assert_eq!(response.choices[0].stop, Some(Stop::new(StopReason::MaxTokens)));
}

fn last(bytes: &[u8]) -> Event {
    events(&[bytes]).pop().expect("some events")
}

#[test]
fn a_stream_never_ends_silently() {
    let said = chunk(json!({"content": "a"}), None);
    let truncated = Event::Error(Failure::truncated(Dialect::OpenAiChat));
    assert_eq!(last(b""), truncated);
    assert_eq!(last(b"data: {\"id\":\"c\",\"choi"), truncated, "a connection that breaks within an event");
    assert_eq!(last(&stream(std::slice::from_ref(&said))), truncated);
    assert_eq!(last(&done(std::slice::from_ref(&said))), truncated, "[DONE] without a reason is no end");
    let finished = stream(&[said.clone(), chunk(json!({}), Some("stop"))]);
    assert_eq!(last(&finished), Event::End, "every answer is whole, as OpenAI's client sees it");
    let unblanked = [finished.as_slice(), b"data: [DONE]"].concat();
    assert_eq!(last(&unblanked), Event::End);
    let class = |bytes: &[u8]| match last(bytes) {
        Event::Error(failure) => failure.class,
        other => panic!("{other:?}"),
    };
    let error = json!({"error": {"message": "m", "type": "server_error", "code": "server_is_overloaded"}});
    assert_eq!(class(&stream(&[said.clone(), error])), FailureClass::Overloaded);
    assert_eq!(
        class(&[stream(std::slice::from_ref(&said)).as_slice(), b"data: {oops\n\n"].concat()),
        FailureClass::Upstream
    );
    let odd = chunk(json!({"function_call": {"name": "f"}}), None);
    assert_eq!(class(&stream(&[said, odd])), FailureClass::Upstream, "what can't be read is not skipped");
}

#[test]
fn nothing_comes_after_an_error() {
    let error = json!({"error": {"message": "m"}});
    let given = events(&[&done(&[error, chunk(json!({"content": "a"}), Some("stop"))])]);
    assert_eq!(given.len(), 1, "{given:?}");
}

pub(super) fn write(events: &[Event], include_usage: bool) -> String {
    let mut writer = StreamWriter::new(envelope(), include_usage, Unsupported::Refuse);
    let mut out = Vec::new();
    events.iter().for_each(|event| writer.write(event, &mut out).expect("expressible"));
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn the_shape_of_a_stream_is_openais() {
    let usage = Usage { input_uncached: 3, output_visible: 2, ..Usage::default() };
    let response = Response {
        origin: Dialect::Anthropic,
        id: "msg".into(),
        created: None,
        model: "up".into(),
        choices: vec![Choice {
            index: 0,
            parts: vec![Part::text("hi")],
            stop: Some(Stop::new(StopReason::EndTurn)),
            logprobs: None,
        }],
        usage: Some(usage),
        foreign: Vec::new(),
    };
    let head =
        r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","choices":["#;
    let choice = |delta: &str, finish: &str| {
        format!(r#"{head}{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}]"#)
    };
    let opening = choice(r#"{"role":"assistant","content":"","refusal":null}"#, "null");
    let (said, end) = (choice(r#"{"content":"hi"}"#, "null"), choice("{}", "\"stop\""));
    let usage = r#""usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}"#;
    let asked = format!(
        "{opening},\"usage\":null}}\n\n{said},\"usage\":null}}\n\n{end},\"usage\":null}}\n\n{head}],{usage}}}\n\ndata: [DONE]\n\n"
    );
    assert_eq!(write(&play(&response), true), asked);
    let unasked = format!("{opening}}}\n\n{said}}}\n\n{end}}}\n\ndata: [DONE]\n\n");
    assert_eq!(write(&play(&response), false), unasked);
}

#[test]
fn calls_are_numbered_and_citations_count_over_all_texts() {
    let citation = |span| Citation {
        span,
        source: CitationSource::Web { url: "u".into(), title: None },
        cited_text: None,
        foreign: None,
    };
    let text = |text: &str| {
        let citations = vec![citation(None), citation(Some(Span { start: 0, end: 1 }))];
        Part::Text(Text { text: text.into(), citations, ..Text::default() })
    };
    let parts = vec![text("€uro"), text("abc"), call("a", "{}"), call("b", "{}")];
    let response = Response {
        origin: Dialect::Anthropic,
        id: String::new(),
        created: None,
        model: String::new(),
        choices: vec![Choice { index: 0, parts, stop: Some(Stop::new(StopReason::ToolUse)), logprobs: None }],
        usage: None,
        foreign: Vec::new(),
    };
    let written = write(&play(&response), false);
    let chunks = written.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok());
    let chunks: Vec<Value> = chunks.collect();
    let all = |name: &str| -> Vec<Value> {
        let lists = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"].get(name)?.as_array());
        lists.flatten().cloned().collect()
    };
    let numbers: Vec<Value> = all("tool_calls").iter().map(|call| call["index"].clone()).collect();
    assert_eq!(numbers, [json!(0), json!(0), json!(1), json!(1)]);
    let whole =
        response::from_canonical(&response, &envelope(), Unsupported::Refuse).expect("expressible").message;
    let annotations = json!(whole).pointer("/choices/0/message/annotations").cloned();
    assert_eq!(Some(Value::Array(all("annotations"))), annotations);
    assert_eq!(all("annotations")[2]["url_citation"]["start_index"], json!(4));
}

#[test]
fn a_whole_call_that_goes_on_is_no_answer() {
    let bytes = done(&[
        calls(json!([piece(Some(0), Some("a"), Some("f"), "{}")])),
        calls(json!([piece(Some(1), Some("b"), Some("f"), "{}")])),
        calls(json!([piece(Some(0), None, None, "\n")])),
        calls(json!([piece(Some(0), None, None, "{}")])),
        chunk(json!({}), Some("tool_calls")),
    ]);
    let Event::Error(failure) = last(&bytes) else { panic!("an error") };
    assert!(failure.message.contains("went on after its arguments were whole"), "{failure}");
}

#[test]
fn an_error_is_said_and_a_ping_is_a_comment() {
    let failure = Failure::new(FailureClass::Overloaded, "no room");
    let text = write(&[Event::Ping, Event::Error(failure)], false);
    assert!(text.starts_with(": ping\n\ndata: {\"error\":{\"message\":\"no room\""), "{text}");
    assert!(!text.contains("[DONE]"), "a broken answer is not whole");
}

#[test]
fn a_signature_in_an_id_opens_with_the_call() {
    let signature = Signature { provider: Provider::Gemini, data: "c2ln".into() };
    let opening = Opening::ToolCall { id: "a".into(), name: "f".into(), signature: Some(signature.clone()) };
    let start = |opening| Event::BlockStart { choice: 0, block: 0, opening };
    let more = Event::BlockDelta { choice: 0, block: 0, delta: Delta::Arguments("{}".into()) };
    let bytes = write(&[start(opening.clone()), more], false).into_bytes();
    assert!(events(&[&bytes]).contains(&start(opening)));
}

/// Azure says what its filters found in each choice, other servers name the upstream's own reason or number the tokens.
#[test]
fn what_a_stream_says_beside_its_words_is_given_back_or_reported() {
    let chunks = [
        json!({"id": "i", "created": 7, "model": "m", "provider": "p", "choices": [{
            "index": 0, "delta": {"role": "assistant", "content": "a", "note": "x", "weight": 1},
            "content_filter_results": {"hate": "safe"}, "stop_reason": null,
        }]}),
        json!({"id": "i", "created": 7, "model": "m", "provider": "p", "citations": ["u"], "choices": [{
            "index": 0, "content_filter_results": {"hate": "low"}, "delta": {"note": "y", "weight": 2, "tool_calls": [
                {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}, "mark": true},
            ]},
        }]}),
        json!({"id": "i", "created": 7, "model": "m", "provider": "p", "choices": [{
            "index": 0, "delta": {}, "finish_reason": "tool_calls", "native_finish_reason": "tool_use",
        }]}),
    ];
    let events = events(&[&done(&chunks)]);
    let streamed = assembled(&events);
    let whole = json!({
        "id": "i", "object": "chat.completion", "created": 7, "model": "m", "provider": "p", "citations": ["u"],
        "choices": [{
            "index": 0, "finish_reason": "tool_calls", "native_finish_reason": "tool_use",
            "content_filter_results": {"hate": "low"},
            "message": {"role": "assistant", "content": "a", "note": "xy", "weight": 2, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}, "mark": true},
            ]},
        }],
    });
    let mut writer = StreamWriter::new(envelope(), false, Unsupported::Refuse);
    let mut bytes = Vec::new();
    events.iter().for_each(|event| writer.write(event, &mut bytes).expect("written"));
    assert_eq!(writer.dropped(), Vec::<String>::new());
    let read_again = assembled(&super::events(&[&bytes]));
    let unstreamed = response::read(whole.to_string().as_bytes(), &mut mint()).expect("an answer");
    for answer in [&streamed, &read_again, &unstreamed] {
        let written = response::from_canonical(answer, &envelope(), Unsupported::Refuse).expect("written");
        assert_eq!(written.dropped, Vec::<String>::new());
        let body = serde_json::to_value(written.message).expect("writes");
        for path in [
            "/provider",
            "/citations",
            "/choices/0/native_finish_reason",
            "/choices/0/content_filter_results",
            "/choices/0/message/note",
            "/choices/0/message/weight",
            "/choices/0/message/tool_calls/0/mark",
        ] {
            assert_eq!(body.pointer(path), whole.pointer(path), "{path}: {body}");
        }
        let echo = responses::Echo::of(&ResponsesRequest::default());
        let other = responses::response::from_canonical(answer, &envelope(), echo, Unsupported::Refuse);
        let mut dropped = other.expect("no paid answer is refused for it").dropped;
        dropped.sort();
        let expected = [
            "choices[0].content_filter_results",
            "choices[0].message.note",
            "choices[0].message.tool_calls[0].mark",
            "choices[0].message.weight",
            "choices[0].native_finish_reason",
            "citations",
            "provider",
        ];
        assert_eq!(dropped, expected);
    }
}

/// A stream may name a new field in every chunk, for ever.
#[test]
fn what_a_stream_says_beside_its_words_is_bounded() {
    let chunks: Vec<Value> = (0..1_000)
        .map(|number| chunk(json!({"content": "a", (format!("f{number}")): number}), None))
        .chain([chunk(json!({}), Some("stop"))])
        .collect();
    let answer = assembled(&events(&[&done(&chunks)]));
    assert_eq!(answer.choices[0].stop.as_ref().map(|stop| stop.foreign.len()), Some(64));
}

/// A client reads each call's arguments as JSON, and nothing is none.
#[test]
fn a_call_without_arguments_is_streamed_with_an_empty_object() {
    let opening = |id: &str| Opening::ToolCall { id: id.into(), name: "f".into(), signature: None };
    let start = Event::Start(crate::canonical::Start {
        origin: Dialect::Gemini,
        id: "i".into(),
        created: None,
        model: "m".into(),
        foreign: Vec::new(),
    });
    let delta =
        |block, text: &str| Event::BlockDelta { choice: 0, block, delta: Delta::Arguments(text.into()) };
    let mut writer = StreamWriter::new(envelope(), false, Unsupported::Refuse);
    let mut bytes = Vec::new();
    for event in [
        start,
        Event::BlockStart { choice: 0, block: 0, opening: opening("a") },
        Event::BlockStop { choice: 0, block: 0 },
        Event::BlockStart { choice: 0, block: 1, opening: opening("b") },
        delta(1, ""),
        Event::BlockStop { choice: 0, block: 1 },
        Event::BlockStart { choice: 0, block: 2, opening: opening("c") },
        delta(2, "{\"x\":1}"),
        Event::BlockStop { choice: 0, block: 2 },
    ] {
        writer.write(&event, &mut bytes).expect("written");
    }
    let text = String::from_utf8(bytes).expect("UTF-8");
    let mut arguments = vec![String::new(); 3];
    for line in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
        let chunk: Value = serde_json::from_str(line).expect("JSON");
        for call in chunk["choices"][0]["delta"]["tool_calls"].as_array().into_iter().flatten() {
            let index = usize::try_from(call["index"].as_u64().expect("an index")).expect("small");
            arguments[index] += call["function"]["arguments"].as_str().expect("a text");
        }
    }
    assert_eq!(arguments, ["{}", "{}", "{\"x\":1}"]);
}
