//! Usage of Responses: chat's figures by other names.

use serde_json::{Value, json};

use super::super::super::Extra;
use super::super::super::responses::{InputDetails, OutputDetails, ResponsesUsage};
use crate::canonical::{Convention, Directions, Reported, Usage};

/// The canonical counts. `total_tokens` is derived, so it is not read.
pub fn to_canonical(usage: &ResponsesUsage) -> Usage {
    let ResponsesUsage {
        input_tokens,
        input_tokens_details,
        output_tokens,
        output_tokens_details,
        total_tokens: _,
    } = usage;
    let usage = Convention::OpenAi.read(Reported {
        input: *input_tokens,
        cache_read: input_tokens_details.cached_tokens,
        cache_write_5m: input_tokens_details.cache_write_tokens,
        cache_write_1h: 0,
        output: *output_tokens,
        reasoning: output_tokens_details.reasoning_tokens,
    });
    let both = |name| Directions {
        input: count(&input_tokens_details.extra, name),
        output: count(&output_tokens_details.extra, name),
    };
    Usage { audio: both("audio_tokens"), images: both("image_tokens"), ..usage }
}

/// Responses' figures. It has none for predictions, which are part of the output anyway.
pub fn from_canonical(usage: &Usage) -> ResponsesUsage {
    let Reported { input, cache_read, cache_write_5m, cache_write_1h, output, reasoning } =
        Convention::OpenAi.write(usage);
    let counts = |audio: u64, images: u64| -> Extra {
        let all = [("audio_tokens", audio), ("image_tokens", images)];
        let said = all.into_iter().filter(|(_, count)| *count > 0);
        said.map(|(name, count)| (name.to_owned(), json!(count))).collect()
    };
    ResponsesUsage {
        input_tokens: input,
        input_tokens_details: InputDetails {
            cached_tokens: cache_read,
            cache_write_tokens: cache_write_5m.saturating_add(cache_write_1h),
            extra: counts(usage.audio.input, usage.images.input),
        },
        output_tokens: output,
        output_tokens_details: OutputDetails {
            reasoning_tokens: reasoning,
            extra: counts(usage.audio.output, usage.images.output),
        },
        total_tokens: usage.total(),
    }
}

fn count(extra: &Extra, name: &str) -> u64 {
    extra.get(name).and_then(Value::as_u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn totals_are_the_sums_and_nothing_is_counted_twice(
            [fresh, read, write, visible, reasoning] in [0..1u64 << 40, 0..1 << 40, 0..1 << 40, 0..1 << 40, 0..1 << 40],
            [a, b] in [0..9u64, 0..9],
        ) {
            let usage = Usage {
                input_uncached: fresh,
                cache_read: read,
                cache_write_5m: write,
                output_visible: visible,
                reasoning,
                audio: Directions { input: a, output: b },
                images: Directions { input: b, output: a },
                ..Usage::default()
            };
            let wire = from_canonical(&usage);
            prop_assert_eq!(wire.input_tokens, fresh + read + write);
            prop_assert_eq!(wire.output_tokens, visible + reasoning);
            prop_assert_eq!(wire.total_tokens, wire.input_tokens + wire.output_tokens);
            prop_assert_eq!(to_canonical(&wire), usage);
        }
    }
}
