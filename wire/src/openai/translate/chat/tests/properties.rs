//! What holds of every stream.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::streams::{calls, chunk, done, piece, stream, write};
use super::{assembled, envelope, events};
use crate::canonical::{
    Choice, Dialect, Event, Logprobs, Part, Provider, ReadStream, RedactedThinking, Response, Signature,
    Stop, StopReason, Text, Thinking, TokenLogprob, ToolCall, Unsupported, Usage, WriteStream, play,
};
use crate::openai::responses::ResponsesRequest;
use crate::openai::translate::chat::response;
use crate::openai::translate::responses;

fn signature() -> impl Strategy<Value = Option<Signature>> {
    let provider = proptest::sample::select(Provider::ALL.to_vec());
    proptest::option::of(
        (provider, "[a-zA-Z0-9+/=]{1,12}").prop_map(|(provider, data)| Signature { provider, data }),
    )
}

fn any_part() -> impl Strategy<Value = Part> {
    let text = "[a-z €😀\\n]{1,10}";
    prop_oneof![
        (text, signature()).prop_map(|(text, signature)| Part::Text(Text {
            text,
            signature,
            ..Text::default()
        })),
        (text, signature()).prop_map(|(text, signature)| Part::Thinking(Thinking {
            text,
            signature,
            id: None
        })),
        text.prop_map(Part::Refusal),
        "[a-z=]{1,8}".prop_map(|data| {
            Part::RedactedThinking(RedactedThinking { provider: Provider::Anthropic, data })
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

/// Neighbours that OpenAI's dialect can't tell apart are left out, and ids are made unique.
fn any_choice() -> impl Strategy<Value = Choice> {
    let reason =
        proptest::sample::select(vec![StopReason::EndTurn, StopReason::MaxTokens, StopReason::ContentFilter]);
    (proptest::collection::vec(any_part(), 0..7), reason, any::<bool>()).prop_map(
        |(mut parts, reason, probable)| {
            let mergeable = |part: &Part| {
                matches!(
                    part,
                    Part::Text(_) | Part::Refusal(_) | Part::Thinking(Thinking { signature: None, .. })
                )
            };
            parts.dedup_by(|later, earlier| {
                mergeable(earlier) && std::mem::discriminant(later) == std::mem::discriminant(earlier)
            });
            for (index, part) in parts.iter_mut().enumerate() {
                if let Part::ToolCall(call) = part {
                    call.id = format!("{}{index}", call.id);
                }
            }
            let token = TokenLogprob {
                token: "a".into(),
                logprob: -0.5,
                bytes: None,
                id: None,
                alternatives: vec![],
            };
            let logprobs = probable.then(|| Logprobs { content: vec![token], refusal: vec![] });
            let mut choice = Choice { index: 0, parts, stop: None, logprobs };
            choice.stop = Some(Stop::new(reason.with_calls(choice.calls_tools())));
            choice
        },
    )
}

fn any_response() -> impl Strategy<Value = Response> {
    proptest::collection::vec(any_choice(), 1..4).prop_map(|choices| Response {
        origin: Dialect::OpenAiChat,
        id: envelope().id,
        created: Some(envelope().created),
        model: envelope().model,
        choices: (0u32..).zip(choices).map(|(index, choice)| Choice { index, ..choice }).collect(),
        usage: Some(Usage {
            input_uncached: 3,
            cache_read: 4,
            output_visible: 5,
            reasoning: 6,
            ..Usage::default()
        }),
        foreign: Vec::new(),
    })
}

proptest! {
    /// What is written as a stream, cut anywhere and read, is the same answer.
    #[test]
    fn a_stream_assembles_to_the_answer(response in any_response(), cut in 1usize..64) {
        let bytes = write(&play(&response), true).into_bytes();
        let pieces: Vec<&[u8]> = bytes.chunks(cut).collect();
        prop_assert_eq!(assembled(&events(&pieces)), response);
    }

    /// A chat server's stream, sent to a Responses client, read back from there and sent to a chat client, is the same
    /// answer: no dialect knows the other.
    #[test]
    fn a_stream_goes_through_responses_and_back(mut response in any_response()) {
        response.choices.truncate(1);
        for part in &mut response.choices[0].parts {
            // A text's signature is a part of its own there.
            if let Part::Text(text) = part {
                text.signature = None;
            }
        }
        let upstream = events(&[write(&play(&response), true).as_bytes()]);
        let echo = responses::Echo::of(&ResponsesRequest::default());
        let mut writer = responses::StreamWriter::new(envelope(), echo, Unsupported::Refuse);
        let (mut bytes, mut read) = (Vec::new(), Vec::new());
        upstream.iter().for_each(|event| writer.write(event, &mut bytes).expect("expressible"));
        let mut reader = responses::StreamReader::new();
        reader.read(&bytes, &mut read);
        reader.finish(&mut read);
        let mut back = assembled(&events(&[write(&read, true).as_bytes()]));
        for part in &mut back.choices[0].parts {
            // Reasoning items have ids.
            if let Part::Thinking(thinking) = part {
                thinking.id = None;
            }
        }
        let speaks = response.choices[0].parts.iter().any(|part| matches!(part, Part::Text(_)));
        if !speaks {
            // Log probabilities stand at a text.
            response.choices[0].logprobs = None;
        }
        prop_assert_eq!(back, response);
    }

    /// A stream put together by its events and the unstreamed answer are one on the wire.
    #[test]
    fn streamed_and_unstreamed_are_one(response in any_response()) {
        let bytes = write(&play(&response), true).into_bytes();
        let whole = |response: &Response| {
            json!(response::from_canonical(response, &envelope(), Unsupported::Refuse).expect("expressible").message)
        };
        prop_assert_eq!(whole(&assembled(&events(&[&bytes]))), whole(&response));
    }

    #[test]
    fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let given = events(&[b"data: ", &bytes, b"\n\n"]);
        prop_assert!(matches!(given.last(), Some(Event::Error(_))));
    }

    /// Whatever a server sends, the events are a stream by the grammar, and the last one ends it.
    #[test]
    fn any_stream_is_within_the_grammar(order in proptest::collection::vec((0u32..3, 0usize..8), 0..24), whole in any::<bool>()) {
        let chunks: Vec<Value> = order.iter().map(|(index, what)| {
            let id = format!("c{index}");
            match what {
                0 => chunk(json!({"content": "t"}), None),
                1 => chunk(json!({"reasoning_content": "r"}), None),
                2 => calls(json!([piece(Some(*index), Some(&id), Some("f"), "")])),
                3 => calls(json!([piece(Some(*index), None, None, "{\"a\":")])),
                4 => calls(json!([piece(Some(*index), None, None, "1}")])),
                5 => chunk(json!({"refusal": "no"}), None),
                6 => calls(json!([piece(None, None, Some("g"), "{}")])),
                _ => chunk(json!({}), Some("stop")),
            }
        }).collect();
        let bytes = if whole { done(&chunks) } else { stream(&chunks) };
        let given = events(&[&bytes]);
        let mut assembler = crate::canonical::Assembler::new();
        for event in &given {
            prop_assert!(assembler.push(event).is_ok(), "{:?} in {:?}", event, given);
        }
        prop_assert!(matches!(given.last(), Some(Event::End | Event::Error(_))));
    }
}
