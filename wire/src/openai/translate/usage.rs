//! Usage of chat completions and completions.

use serde_json::{Value, json};

use super::super::{CompletionTokensDetails, Extra, PromptTokensDetails, Usage as Wire};
use crate::canonical::{Convention, Directions, Reported, Usage};

/// The canonical counts. `total_tokens` is derived, so it is not read.
pub fn to_canonical(usage: &Wire) -> Usage {
    let prompt = usage.prompt_tokens_details.as_ref();
    let completion = usage.completion_tokens_details.as_ref();
    let of_prompt = |name| prompt.map_or(0, |details| count(&details.extra, name));
    let of_completion = |name| completion.map_or(0, |details| count(&details.extra, name));
    let usage = Convention::OpenAi.read(Reported {
        input: usage.prompt_tokens,
        cache_read: prompt.and_then(|details| details.cached_tokens).unwrap_or(0),
        cache_write_5m: prompt.and_then(|details| details.cache_write_tokens).unwrap_or(0),
        cache_write_1h: 0,
        output: usage.completion_tokens,
        reasoning: completion.and_then(|details| details.reasoning_tokens).unwrap_or(0),
    });
    Usage {
        audio: Directions { input: of_prompt("audio_tokens"), output: of_completion("audio_tokens") },
        images: Directions { input: of_prompt("image_tokens"), output: of_completion("image_tokens") },
        prediction_accepted: of_completion("accepted_prediction_tokens"),
        prediction_rejected: of_completion("rejected_prediction_tokens"),
        ..usage
    }
}

/// OpenAI's figures; details that are zero are left out.
pub fn from_canonical(usage: &Usage) -> Wire {
    let Reported { input, cache_read, cache_write_5m, cache_write_1h, output, reasoning } =
        Convention::OpenAi.write(usage);
    let Usage { audio, images, prediction_accepted, prediction_rejected, .. } = *usage;
    let some = |count: u64| (count > 0).then_some(count);
    let prompt = PromptTokensDetails {
        cached_tokens: some(cache_read),
        cache_write_tokens: some(cache_write_5m.saturating_add(cache_write_1h)),
        extra: counts([("audio_tokens", audio.input), ("image_tokens", images.input)]),
    };
    let completion = CompletionTokensDetails {
        reasoning_tokens: some(reasoning),
        extra: counts([
            ("audio_tokens", audio.output),
            ("image_tokens", images.output),
            ("accepted_prediction_tokens", prediction_accepted),
            ("rejected_prediction_tokens", prediction_rejected),
        ]),
    };
    Wire {
        prompt_tokens_details: (prompt != PromptTokensDetails::default()).then_some(prompt),
        completion_tokens_details: (completion != CompletionTokensDetails::default()).then_some(completion),
        ..Wire::new(input, output)
    }
}

fn count(extra: &Extra, name: &str) -> u64 {
    extra.get(name).and_then(Value::as_u64).unwrap_or(0)
}

fn counts<const N: usize>(all: [(&str, u64); N]) -> Extra {
    let said = all.into_iter().filter(|(_, count)| *count > 0);
    said.map(|(name, count)| (name.to_owned(), json!(count))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cached_tokens_are_not_counted_twice() {
        let wire: Wire = serde_json::from_str(
            r#"{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120,
                "prompt_tokens_details":{"cached_tokens":60,"cache_write_tokens":30,"audio_tokens":5},
                "completion_tokens_details":{"reasoning_tokens":15,"rejected_prediction_tokens":2}}"#,
        )
        .expect("parses");
        let usage = to_canonical(&wire);
        assert_eq!((usage.input_uncached, usage.cache_read, usage.cache_write_5m), (10, 60, 30));
        assert_eq!((usage.output_visible, usage.reasoning), (5, 15));
        assert_eq!(usage.total(), 120);
        assert_eq!(from_canonical(&usage), wire);
    }

    proptest! {
        #[test]
        fn totals_are_the_sums(
            [fresh, read, write, hour, visible, reasoning] in [0..1u64 << 40, 0..1 << 40, 0..1 << 40, 0..1 << 40, 0..1 << 40, 0..1 << 40],
            [a, b, c, d] in [0..9u64, 0..9, 0..9, 0..9],
        ) {
            let usage = Usage {
                input_uncached: fresh,
                cache_read: read,
                cache_write_5m: write,
                cache_write_1h: hour,
                output_visible: visible,
                reasoning,
                audio: Directions { input: a, output: b },
                images: Directions { input: c, output: d },
                prediction_accepted: a,
                prediction_rejected: b,
            };
            let wire = from_canonical(&usage);
            prop_assert_eq!(wire.prompt_tokens, fresh + read + write + hour);
            prop_assert_eq!(wire.completion_tokens, visible + reasoning);
            prop_assert_eq!(wire.total_tokens, wire.prompt_tokens + wire.completion_tokens);
            // OpenAI has one figure for cache writes; nothing else is lost.
            let back = Usage { cache_write_5m: write + hour, cache_write_1h: 0, ..usage };
            prop_assert_eq!(to_canonical(&wire), back);
        }
    }
}
