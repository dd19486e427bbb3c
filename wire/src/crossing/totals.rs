//! Nothing is charged twice, and nothing is lost, whichever dialects an answer goes through.

use proptest::prelude::*;
use serde_json::Value;

use super::door::{DOORS, assembled, read_stream, read_whole, write_stream, write_whole};
use super::streams::any_response;
use crate::canonical::{Dialect, Event, Response, Usage, play};
use crate::gemini::Framing;

/// Input and output as a client of `door` adds them up.
fn billed(door: Dialect, body: &str) -> (u64, u64) {
    let body: Value = serde_json::from_str(body).expect("JSON");
    let count = |path: &str| body.pointer(path).and_then(Value::as_u64).unwrap_or_default();
    match door {
        Dialect::OpenAiChat | Dialect::OpenAiCompletions => {
            (count("/usage/prompt_tokens"), count("/usage/completion_tokens"))
        }
        Dialect::OpenAiResponses => (count("/usage/input_tokens"), count("/usage/output_tokens")),
        Dialect::Anthropic => (
            count("/usage/input_tokens")
                + count("/usage/cache_read_input_tokens")
                + count("/usage/cache_creation_input_tokens"),
            count("/usage/output_tokens"),
        ),
        Dialect::Gemini => (
            count("/usageMetadata/promptTokenCount"),
            count("/usageMetadata/candidatesTokenCount") + count("/usageMetadata/thoughtsTokenCount"),
        ),
        Dialect::Converse => (
            count("/usage/inputTokens")
                + count("/usage/cacheReadInputTokens")
                + count("/usage/cacheWriteInputTokens"),
            count("/usage/outputTokens"),
        ),
    }
}

fn sums(usage: Option<&Usage>) -> Option<(u64, u64)> {
    usage.map(|usage| (usage.input(), usage.output()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn totals_agree_through_any_two_dialects(response in any_response()) {
        let expected = sums(response.usage.as_ref());
        for upstream in DOORS {
            let (body, _) = write_whole(upstream, &response).expect("expressible");
            prop_assert_eq!(Some(billed(upstream, &body)), expected, "{}", upstream);
            let read = read_whole(upstream, &body).expect("an answer");
            let (bytes, _) = write_stream(upstream, Framing::Sse, &play(&response)).expect("expressible");
            let events = read_stream(upstream, &[&bytes]);
            for client in DOORS {
                let (body, _) = write_whole(client, &read).expect("expressible");
                prop_assert_eq!(Some(billed(client, &body)), expected, "{} to {}", upstream, client);
                let (bytes, _) = write_stream(client, Framing::Sse, &events).expect("expressible");
                let back: Response = assembled(&read_stream(client, &[&bytes]));
                prop_assert_eq!(sums(back.usage.as_ref()), expected, "{} streams to {}", upstream, client);
                let cached = |usage: &Usage| usage.cache_read;
                prop_assert_eq!(back.usage.as_ref().map(cached), response.usage.as_ref().map(cached));
            }
        }
    }

    /// An hour's cache write costs more than five minutes': an Anthropic client is told which it was, streamed too,
    /// though the upstream says its usage at the end.
    #[test]
    fn an_hours_cache_write_stays_one(response in any_response()) {
        let (bytes, _) = write_stream(Dialect::Anthropic, Framing::Sse, &play(&response)).expect("expressible");
        let events = read_stream(Dialect::Anthropic, &[&bytes]);
        let last = events.iter().rev().find_map(|event| match event {
            Event::Usage(usage) => Some(*usage),
            _ => None,
        });
        prop_assert_eq!(last.map(|usage| usage.cache_write_1h), response.usage.map(|usage| usage.cache_write_1h));
    }
}
