//! A stream is the answer that would have come unstreamed, in every dialect.

use proptest::prelude::*;
use serde_json::Value;

use super::door::{DOORS, assembled, envelope, read_stream, read_whole, write_stream, write_whole};
use crate::canonical::{
    Choice, Dialect, Part, Provider, RedactedThinking, Response, Signature, Stop, StopReason, Text, Thinking,
    ToolCall, Usage, play,
};
use crate::gemini::Framing;

const ARGUMENTS: [&str; 6] = [
    "{}",
    r#"{"a": [1.0, "}"], "b":{"c":null}}"#,
    r#"{"b": 1.0,  "a":1e2, "big":123456789012345678901234567890}"#,
    "{\n  \"path\" : \"C:\\\\x\\n\\\"{\",\n  \"é\": \"😀\\u2028\"\n}",
    r#"{"sse":"data: [DONE]\n\nevent: x"}"#,
    "{\"deep\":[[[[{\"x\":\"]\"}]]]]}",
];

fn signature(providers: &[Provider]) -> impl Strategy<Value = Signature> + use<> {
    let provider = proptest::sample::select(providers.to_vec());
    (provider, "[a-zA-Z0-9+/=]{1,12}").prop_map(|(provider, data)| Signature { provider, data })
}

/// A text is signed where it is empty, as Gemini 3 has it: a streamed text's signature is a part of its own there.
/// Thinking is signed by the others, since Gemini's belongs to one piece.
fn any_part() -> impl Strategy<Value = Part> {
    let words = "[a-z €😀\\n]{1,10}";
    let others = [Provider::Anthropic, Provider::OpenAi];
    prop_oneof![
        3 => words.prop_map(Part::text),
        1 => signature(&[Provider::Gemini])
            .prop_map(|signature| Part::Text(Text { signature: Some(signature), ..Text::default() })),
        2 => (words, proptest::option::of(signature(&others)))
            .prop_map(|(text, signature)| Part::Thinking(Thinking { text, signature, id: None })),
        1 => words.prop_map(Part::Refusal),
        1 => ("[a-z=]{1,8}").prop_map(|data| {
            Part::RedactedThinking(RedactedThinking { provider: Provider::Anthropic, data })
        }),
        4 => (proptest::sample::select(ARGUMENTS.to_vec()), proptest::option::of(signature(&Provider::ALL)))
            .prop_map(|(arguments, signature)| Part::ToolCall(ToolCall {
                id: String::new(),
                name: "f".into(),
                arguments: arguments.into(),
                signature,
                cache: None,
            })),
    ]
}

fn any_usage() -> impl Strategy<Value = Usage> {
    [1..1u64 << 30, 0..1 << 30, 0..1 << 30, 0..1 << 30, 1..1 << 30, 0..1 << 30].prop_map(
        |[input_uncached, cache_read, cache_write_5m, cache_write_1h, output_visible, reasoning]| Usage {
            input_uncached,
            cache_read,
            cache_write_5m,
            cache_write_1h,
            output_visible,
            reasoning,
            ..Usage::default()
        },
    )
}

/// Neighbours that a dialect joins are left out, and ids are made unique.
pub(crate) fn any_response() -> impl Strategy<Value = Response> {
    let reason = proptest::sample::select(vec![
        StopReason::EndTurn,
        StopReason::MaxTokens,
        StopReason::StopSequence,
        StopReason::ContentFilter,
    ]);
    (proptest::collection::vec(any_part(), 0..8), reason, any_usage()).prop_map(
        |(mut parts, reason, usage)| {
            let grows = |part: &Part| match part {
                Part::Text(text) => !text.text.is_empty(),
                Part::Thinking(_) | Part::Refusal(_) => true,
                _ => false,
            };
            // An answer of Gemini's has one.
            let mut signed = false;
            parts.retain(|part| match part {
                Part::Text(Text { signature: Some(_), .. }) => !std::mem::replace(&mut signed, true),
                _ => true,
            });
            parts.dedup_by(|later, earlier| {
                grows(later)
                    && grows(earlier)
                    && std::mem::discriminant(later) == std::mem::discriminant(earlier)
            });
            for (index, part) in parts.iter_mut().enumerate() {
                if let Part::ToolCall(call) = part {
                    call.id = format!("call_{index}");
                }
            }
            let mut choice = Choice { index: 0, parts, stop: None, logprobs: None };
            // A stop string ends no call.
            let reason = match reason {
                StopReason::StopSequence if choice.calls_tools() => StopReason::ToolUse,
                reason => reason.with_calls(choice.calls_tools()),
            };
            choice.stop = Some(Stop::new(reason));
            Response {
                origin: Dialect::OpenAiChat,
                id: envelope().id,
                created: Some(envelope().created),
                model: envelope().model,
                choices: vec![choice],
                usage: Some(usage),
                foreign: Vec::new(),
            }
        },
    )
}

/// Where the bytes are cut.
pub(crate) fn pieces<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

/// Leaves out what a dialect says in its own way: ids of reasoning items, and a line break between arguments, which
/// would be two lines of data to Google's clients.
fn plain(mut response: Response) -> Response {
    for part in response.choices.iter_mut().flat_map(|choice| &mut choice.parts) {
        match part {
            Part::Thinking(thinking) => thinking.id = None,
            Part::ToolCall(call) => call.arguments = call.arguments.replace('\n', " "),
            _ => {}
        }
    }
    response
}

/// A message of chat completions keeps no order between its text, its refusal and its calls, so streamed and
/// unstreamed are compared as the client gets them; without the places of what is signed, which follow from that order.
fn chat_body(response: &Response) -> Value {
    let (body, _) = write_whole(Dialect::OpenAiChat, response).expect("expressible");
    let mut body: Value = serde_json::from_str(&body).expect("JSON");
    let details = body.pointer_mut("/choices/0/message/reasoning_details").and_then(Value::as_array_mut);
    for detail in details.into_iter().flatten() {
        detail.as_object_mut().expect("an object").remove("index");
    }
    body
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_stream_cut_anywhere_is_the_unstreamed_answer(
        response in any_response(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..24),
        array in any::<bool>(),
    ) {
        let framing = if array { Framing::Array } else { Framing::Sse };
        for door in DOORS {
            let (bytes, _) = write_stream(door, framing, &play(&response)).expect("expressible");
            let streamed = assembled(&read_stream(door, &pieces(&bytes, &cuts)));
            if door == Dialect::OpenAiChat {
                prop_assert_eq!(chat_body(&streamed), chat_body(&response));
                continue;
            }
            let (body, _) = write_whole(door, &response).expect("expressible");
            let whole = read_whole(door, &body).expect("an answer");
            prop_assert_eq!(plain(streamed), plain(whole), "{}", door);
        }
    }

    /// What upstream `B` streams reaches a client of `A` with each call's arguments byte for byte, and every call's
    /// signature comes back with its id.
    #[test]
    fn calls_cross_any_two_dialects(response in any_response()) {
        let calls = |response: &Response| -> Vec<(String, String)> {
            let parts = &plain(response.clone()).choices[0].parts;
            let call = |part: &Part| match part {
                Part::ToolCall(call) => Some((call.name.clone(), call.arguments.clone())),
                _ => None,
            };
            parts.iter().filter_map(call).collect()
        };
        for upstream in DOORS {
            let (bytes, _) = write_stream(upstream, Framing::Sse, &play(&response)).expect("expressible");
            let events = read_stream(upstream, &[&bytes]);
            for client in DOORS {
                let (bytes, _) = write_stream(client, Framing::Sse, &events).expect("expressible");
                let got = assembled(&read_stream(client, &[&bytes]));
                prop_assert_eq!(calls(&got), calls(&response), "{} to {}", upstream, client);
            }
        }
    }
}
