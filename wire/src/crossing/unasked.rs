//! What an upstream answers without having been asked: its own idea, and never the caller's fault.

use serde_json::{Value, json};

use super::door::{DOORS, assembled, envelope, read_stream, read_whole, write_stream, write_whole};
use crate::canonical::{
    Choice, Dialect, FailureClass, ForeignPart, Image, MediaSource, Part, Response, Stop, StopReason, play,
};
use crate::gemini::Framing;

fn answer(origin: Dialect, parts: Vec<Part>) -> Response {
    let choice = Choice { index: 0, parts, stop: Some(Stop::new(StopReason::EndTurn)), logprobs: None };
    let (id, model) = (envelope().id, "m".to_owned());
    Response { origin, id, created: None, model, choices: vec![choice], usage: None, foreign: Vec::new() }
}

fn foreign(dialect: Dialect, kind: &str, value: Value) -> Part {
    Part::Foreign(ForeignPart { dialect, kind: kind.into(), value })
}

/// A search that the provider made by itself: its text is worth as much without the record of it.
#[test]
fn the_record_of_a_hosted_tool_goes_and_the_answer_stays() {
    let search =
        json!({"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}});
    let server = json!({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}});
    let result = json!({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []});
    let code = json!({"executableCode": {"language": "PYTHON", "code": "1"}});
    for (origin, records) in [
        (Dialect::OpenAiResponses, vec![foreign(Dialect::OpenAiResponses, "web_search_call", search)]),
        (
            Dialect::Anthropic,
            vec![
                foreign(Dialect::Anthropic, "server_tool_use", server),
                foreign(Dialect::Anthropic, "web_search_tool_result", result),
            ],
        ),
        (Dialect::Gemini, vec![foreign(Dialect::Gemini, "executableCode", code)]),
    ] {
        let count = records.len();
        let answer = answer(origin, [records, vec![Part::text("Found.")]].concat());
        for door in DOORS {
            let (body, dropped) =
                write_whole(door, &answer).unwrap_or_else(|error| panic!("{origin} to {door}: {error}"));
            let (bytes, of_stream) = write_stream(door, Framing::Sse, &play(&answer)).expect("written");
            let streamed = assembled(&read_stream(door, &[&bytes]));
            let whole = read_whole(door, &body).expect("an answer");
            if origin == door {
                assert_eq!((dropped, of_stream), (Vec::new(), Vec::new()));
                assert_eq!(whole.choices[0].parts, answer.choices[0].parts, "{origin}");
                assert_eq!(streamed.choices[0].parts, answer.choices[0].parts, "{origin}");
            } else {
                assert_eq!((dropped.len(), of_stream.len()), (count, count), "{origin} to {door}");
                assert_eq!(whole.choices[0].parts, [Part::text("Found.")]);
                assert_eq!(streamed.choices[0].parts, [Part::text("Found.")]);
            }
        }
    }
}

/// Without it the client would wait for ever, or lose what it paid for.
#[test]
fn what_a_client_cannot_do_without_is_the_upstreams_failure() {
    let computer = json!({"type": "computer_call", "id": "c", "call_id": "c1", "action": {"type": "wait"}});
    let source = MediaSource::Inline { media_type: "image/png".into(), data: "AA==".into() };
    let image = || Part::Image(Image { source: source.clone(), detail: None, cache: None });
    for (origin, part, doors) in [
        (
            Dialect::OpenAiResponses,
            foreign(Dialect::OpenAiResponses, "computer_call", computer),
            [Dialect::OpenAiChat, Dialect::Anthropic, Dialect::Gemini].as_slice(),
        ),
        (Dialect::Gemini, image(), &[Dialect::Anthropic, Dialect::OpenAiResponses]),
    ] {
        let answer = answer(origin, vec![Part::text("a"), part]);
        for door in doors {
            let whole = write_whole(*door, &answer).expect_err("can't be said").to_failure();
            let streamed = write_stream(*door, Framing::Sse, &play(&answer)).expect_err("can't be said");
            for failure in [whole, streamed.to_failure()] {
                assert_eq!((failure.class, failure.param), (FailureClass::Upstream, None), "{door}");
                assert!(failure.message.contains("the upstream's answer"), "{}", failure.message);
            }
        }
    }
}

/// `n` is refused in a request where its client's dialect has none; an upstream that answers twice all the same has
/// answered once.
#[test]
fn a_second_answer_that_nobody_asked_for_is_left_out() {
    let mut answer = answer(Dialect::OpenAiChat, vec![Part::text("one")]);
    answer.choices.push(Choice { index: 1, parts: vec![Part::text("two")], ..answer.choices[0].clone() });
    for door in DOORS {
        let (body, dropped) = write_whole(door, &answer).expect("written");
        let (bytes, of_stream) = write_stream(door, Framing::Sse, &play(&answer)).expect("written");
        let streamed = assembled(&read_stream(door, &[&bytes]));
        let has_more = matches!(door, Dialect::OpenAiChat | Dialect::Gemini);
        let expected: &[String] = if has_more { &[] } else { &["choices[1]".to_owned()] };
        assert_eq!((dropped.as_slice(), of_stream.as_slice()), (expected, expected), "{door}");
        for answer in [read_whole(door, &body).expect("an answer"), streamed] {
            assert_eq!(answer.choices.len(), if has_more { 2 } else { 1 }, "{door}");
            assert_eq!(answer.choices[0].parts, [Part::text("one")], "{door}");
        }
    }
}
