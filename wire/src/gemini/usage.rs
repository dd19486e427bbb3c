//! `usageMetadata`: candidates exclude thoughts, the prompt includes what was cached, and each chunk of a stream says
//! it all again.

use serde::{Deserialize, Serialize};

use super::proto_json::integer;
use crate::canonical::{Convention, Directions, Extra, Reported, Usage};

/// Tokens of a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct UsageMetadata {
    /// Read, the cached ones included.
    #[serde(
        alias = "prompt_token_count",
        deserialize_with = "integer",
        skip_serializing_if = "Option::is_none"
    )]
    pub prompt_token_count: Option<u64>,
    /// Written, thoughts excluded.
    #[serde(
        alias = "candidates_token_count",
        deserialize_with = "integer",
        skip_serializing_if = "Option::is_none"
    )]
    pub candidates_token_count: Option<u64>,
    /// Written as thinking.
    #[serde(
        alias = "thoughts_token_count",
        deserialize_with = "integer",
        skip_serializing_if = "Option::is_none"
    )]
    pub thoughts_token_count: Option<u64>,
    /// Read of what Google's own tools found; not in the prompt's count.
    #[serde(
        alias = "tool_use_prompt_token_count",
        deserialize_with = "integer",
        skip_serializing_if = "Option::is_none"
    )]
    pub tool_use_prompt_token_count: Option<u64>,
    /// Read from a cache.
    #[serde(
        alias = "cached_content_token_count",
        deserialize_with = "integer",
        skip_serializing_if = "Option::is_none"
    )]
    pub cached_content_token_count: Option<u64>,
    /// The sum.
    #[serde(
        alias = "total_token_count",
        deserialize_with = "integer",
        skip_serializing_if = "Option::is_none"
    )]
    pub total_token_count: Option<u64>,
    /// The prompt by modality.
    #[serde(alias = "prompt_tokens_details", skip_serializing_if = "Option::is_none")]
    pub prompt_tokens_details: Option<Vec<ModalityTokenCount>>,
    /// The candidates by modality.
    #[serde(alias = "candidates_tokens_details", skip_serializing_if = "Option::is_none")]
    pub candidates_tokens_details: Option<Vec<ModalityTokenCount>>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Tokens of one modality.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ModalityTokenCount {
    /// `TEXT`, `IMAGE`, `AUDIO`, `VIDEO` or `DOCUMENT`.
    pub modality: String,
    /// How many.
    #[serde(alias = "token_count", deserialize_with = "integer", skip_serializing_if = "Option::is_none")]
    pub token_count: Option<u64>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl UsageMetadata {
    /// Takes a later report: what it says replaces what was said before, and is never added to it.
    pub(crate) fn update(&mut self, later: Self) {
        let Self {
            prompt_token_count,
            candidates_token_count,
            thoughts_token_count,
            tool_use_prompt_token_count,
            cached_content_token_count,
            total_token_count,
            prompt_tokens_details,
            candidates_tokens_details,
            extra,
        } = later;
        self.prompt_token_count = prompt_token_count.or(self.prompt_token_count);
        self.candidates_token_count = candidates_token_count.or(self.candidates_token_count);
        self.thoughts_token_count = thoughts_token_count.or(self.thoughts_token_count);
        self.tool_use_prompt_token_count = tool_use_prompt_token_count.or(self.tool_use_prompt_token_count);
        self.cached_content_token_count = cached_content_token_count.or(self.cached_content_token_count);
        self.total_token_count = total_token_count.or(self.total_token_count);
        self.prompt_tokens_details = prompt_tokens_details.or_else(|| self.prompt_tokens_details.take());
        self.candidates_tokens_details =
            candidates_tokens_details.or_else(|| self.candidates_tokens_details.take());
        self.extra.extend(extra);
    }
}

/// The canonical counts.
pub fn to_canonical(wire: &UsageMetadata) -> Usage {
    let UsageMetadata {
        prompt_token_count,
        candidates_token_count,
        thoughts_token_count,
        tool_use_prompt_token_count,
        cached_content_token_count,
        total_token_count,
        prompt_tokens_details,
        candidates_tokens_details,
        extra: _,
    } = wire;
    let input = prompt_token_count
        .unwrap_or_default()
        .saturating_add(tool_use_prompt_token_count.unwrap_or_default());
    let reasoning = thoughts_token_count.unwrap_or_default();
    let mut output = candidates_token_count.unwrap_or_default();
    // Some models count the thoughts among the candidates after all; the total gives them away.
    if reasoning > 0 && *total_token_count == Some(input.saturating_add(output)) {
        output = output.saturating_sub(reasoning);
    }
    let usage = Convention::Gemini.read(Reported {
        input,
        cache_read: cached_content_token_count.unwrap_or_default(),
        output,
        reasoning,
        ..Reported::default()
    });
    let both = |modality: &str| Directions {
        input: of_modality(prompt_tokens_details.as_deref(), modality),
        output: of_modality(candidates_tokens_details.as_deref(), modality),
    };
    Usage { audio: both("AUDIO"), images: both("IMAGE"), ..usage }
}

fn of_modality(details: Option<&[ModalityTokenCount]>, modality: &str) -> u64 {
    let counts = details.unwrap_or_default().iter().filter(|count| count.modality == modality);
    counts.map(|count| count.token_count.unwrap_or_default()).fold(0, u64::saturating_add)
}

/// The counts as this dialect writes them.
pub fn from_canonical(usage: &Usage) -> UsageMetadata {
    // The dialect knows neither what was written to a cache nor predictions; both are in the sums.
    let Reported { input, cache_read, cache_write_5m: _, cache_write_1h: _, output, reasoning } =
        Convention::Gemini.write(usage);
    let some = |count: u64| Some(count).filter(|count| *count > 0);
    UsageMetadata {
        prompt_token_count: Some(input),
        candidates_token_count: Some(output),
        thoughts_token_count: some(reasoning),
        tool_use_prompt_token_count: None,
        cached_content_token_count: some(cache_read),
        total_token_count: Some(usage.total()),
        prompt_tokens_details: details(input, usage.audio.input, usage.images.input),
        candidates_tokens_details: details(output, usage.audio.output, usage.images.output),
        extra: Extra::new(),
    }
}

/// The split by modality, where there is one.
fn details(all: u64, audio: u64, images: u64) -> Option<Vec<ModalityTokenCount>> {
    if audio == 0 && images == 0 {
        return None;
    }
    let text = all.saturating_sub(audio).saturating_sub(images);
    let counts = [("TEXT", text), ("AUDIO", audio), ("IMAGE", images)];
    let said = counts.into_iter().filter(|(_, count)| *count > 0).map(|(modality, count)| {
        ModalityTokenCount { modality: modality.to_owned(), token_count: Some(count), extra: Extra::new() }
    });
    Some(said.collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::proto_json::parse;
    use super::*;

    fn read(text: &str) -> Usage {
        to_canonical(&parse::<UsageMetadata>(text.as_bytes()).expect(text))
    }

    #[test]
    fn thoughts_are_not_among_the_candidates_and_the_cached_are_in_the_prompt() {
        let usage = read(
            r#"{"promptTokenCount": 100, "cachedContentTokenCount": 60, "toolUsePromptTokenCount": 5,
                "candidatesTokenCount": 20, "thoughtsTokenCount": 30, "totalTokenCount": 155,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 90}, {"modality": "AUDIO", "tokenCount": 10}]}"#,
        );
        assert_eq!((usage.input_uncached, usage.cache_read), (45, 60));
        assert_eq!((usage.output_visible, usage.reasoning, usage.total()), (20, 30, 155));
        assert_eq!(usage.audio, Directions { input: 10, output: 0 });
    }

    #[test]
    fn a_total_that_leaves_no_room_for_thoughts_says_that_they_are_counted_already() {
        let usage = read(
            r#"{"promptTokenCount": 10, "candidatesTokenCount": 50, "thoughtsTokenCount": 30, "totalTokenCount": 60}"#,
        );
        assert_eq!((usage.output_visible, usage.reasoning, usage.total()), (20, 30, 60));
    }

    /// litellm #9812 and its like: what was cached is charged once. litellm #3490: a stream's usage is its last.
    #[test]
    fn cached_tokens_charged_twice_and_stream_usage_summed() {
        let mut usage = UsageMetadata::default();
        for text in [
            r#"{"promptTokenCount": 10, "cachedContentTokenCount": 4, "totalTokenCount": 10}"#,
            r#"{"promptTokenCount": 10, "candidatesTokenCount": 3, "totalTokenCount": 13}"#,
            r#"{"promptTokenCount": 10, "candidatesTokenCount": 7, "totalTokenCount": 17}"#,
        ] {
            usage.update(parse(text.as_bytes()).expect(text));
        }
        let usage = to_canonical(&usage);
        assert_eq!((usage.input_uncached, usage.cache_read, usage.output_visible), (6, 4, 7));
        assert_eq!(usage.total(), 17);
    }

    prop_compose! {
        fn any_usage()(
            [input_uncached, cache_read, cache_write_5m, cache_write_1h] in [0..1u64 << 40, 0..1 << 40, 0..1 << 40, 0..1 << 40],
            [output_visible, reasoning, audio, images] in [1..1u64 << 40, 0..1 << 40, 0..1 << 20, 0..1 << 20],
        ) -> Usage {
            let input = (input_uncached + cache_read + cache_write_5m + cache_write_1h) / 2;
            Usage {
                input_uncached,
                cache_read,
                cache_write_5m,
                cache_write_1h,
                output_visible,
                reasoning,
                audio: Directions { input: audio.min(input), output: 0 },
                images: Directions { input: images.min(input), output: 0 },
                ..Usage::default()
            }
        }
    }

    proptest! {
        /// Google's rule: the total is the prompt, the candidates and the thoughts, and nothing is lost on the way back.
        #[test]
        fn the_total_is_the_sum(usage in any_usage()) {
            let wire = from_canonical(&usage);
            let count = |part: Option<u64>| part.unwrap_or_default();
            prop_assert_eq!(
                count(wire.total_token_count),
                count(wire.prompt_token_count) + count(wire.candidates_token_count) + count(wire.thoughts_token_count)
            );
            prop_assert!(count(wire.cached_content_token_count) <= count(wire.prompt_token_count));
            if let Some(details) = &wire.prompt_tokens_details {
                prop_assert_eq!(
                    details.iter().map(|part| count(part.token_count)).sum::<u64>(),
                    count(wire.prompt_token_count)
                );
            }
            let back = to_canonical(&wire);
            prop_assert_eq!((back.input(), back.output(), back.total()), (usage.input(), usage.output(), usage.total()));
            prop_assert_eq!((back.cache_read, back.reasoning), (usage.cache_read, usage.reasoning));
            prop_assert_eq!((back.audio, back.images), (usage.audio, usage.images));
        }
    }
}
