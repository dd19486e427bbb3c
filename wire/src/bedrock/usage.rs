//! Token counts. `inputTokens` leaves out what a cache read or wrote; `outputTokens` includes thinking.

use serde::{Deserialize, Serialize};

use crate::canonical::{self, Convention, Extra, Reported};

/// What a request used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TokenUsage {
    /// Read, neither from a cache nor into one.
    pub input_tokens: u64,
    /// Written, thinking included.
    pub output_tokens: u64,
    /// All of them.
    pub total_tokens: u64,
    /// Read from a cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_read_input_tokens: Option<u64>,
    /// Written to a cache, for whatever time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_input_tokens: Option<u64>,
    /// What was written to a cache, by time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cache_details: Vec<CacheDetail>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What was written to a cache for one time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CacheDetail {
    /// `5m` or `1h`.
    pub ttl: String,
    /// How many tokens.
    pub input_tokens: u64,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Reads the counts. Where the total of what was written to a cache and its split disagree, the total counts.
pub fn to_canonical(usage: &TokenUsage) -> canonical::Usage {
    let TokenUsage {
        input_tokens,
        output_tokens,
        total_tokens: _,
        cache_read_input_tokens,
        cache_write_input_tokens,
        cache_details,
        extra: _,
    } = usage;
    let of = |ttl: &str| {
        let details = cache_details.iter().filter(|detail| detail.ttl == ttl);
        details.fold(0u64, |sum, detail| sum.saturating_add(detail.input_tokens))
    };
    let (five_minutes, hour) = (of("5m"), of("1h"));
    let written = cache_write_input_tokens.unwrap_or(five_minutes.saturating_add(hour));
    let cache_write_1h = hour.min(written);
    Convention::Anthropic.read(Reported {
        input: *input_tokens,
        cache_read: cache_read_input_tokens.unwrap_or_default(),
        cache_write_5m: written - cache_write_1h,
        cache_write_1h,
        output: *output_tokens,
        reasoning: 0,
    })
}

/// Writes the counts.
pub fn from_canonical(usage: &canonical::Usage) -> TokenUsage {
    let Reported { input, cache_read, cache_write_5m, cache_write_1h, output, reasoning: _ } =
        Convention::Anthropic.write(usage);
    let detail = |ttl: &str, input_tokens| {
        (input_tokens > 0).then(|| CacheDetail { ttl: ttl.to_owned(), input_tokens, extra: Extra::new() })
    };
    TokenUsage {
        input_tokens: input,
        output_tokens: output,
        total_tokens: usage.total(),
        cache_read_input_tokens: Some(cache_read),
        cache_write_input_tokens: Some(cache_write_5m.saturating_add(cache_write_1h)),
        // The longer time first, as Bedrock has it.
        cache_details: [detail("1h", cache_write_1h), detail("5m", cache_write_5m)]
            .into_iter()
            .flatten()
            .collect(),
        extra: Extra::new(),
    }
}

#[cfg(test)]
mod tests {
    use canonical::Usage;

    use super::*;

    fn read(text: &str) -> Usage {
        to_canonical(&serde_json::from_str(text).expect("JSON"))
    }

    #[test]
    fn cached_tokens_are_no_part_of_the_input_and_are_counted_once() {
        let usage = read(
            r#"{"inputTokens": 6, "outputTokens": 9, "totalTokens": 49, "cacheReadInputTokens": 4,
                "cacheWriteInputTokens": 30, "cacheDetails": [{"ttl": "1h", "inputTokens": 10}, {"ttl": "5m", "inputTokens": 20}]}"#,
        );
        let expected = Usage {
            input_uncached: 6,
            cache_read: 4,
            cache_write_5m: 20,
            cache_write_1h: 10,
            output_visible: 9,
            ..Usage::default()
        };
        assert_eq!((usage, usage.total()), (expected, 49));
        assert_eq!(to_canonical(&from_canonical(&usage)), usage);
        let unsplit = read(r#"{"inputTokens": 6, "outputTokens": 9, "cacheWriteInputTokens": 30}"#);
        assert_eq!((unsplit.cache_write_5m, unsplit.cache_write_1h), (30, 0));
        let odd = read(r#"{"cacheWriteInputTokens": 3, "cacheDetails": [{"ttl": "1h", "inputTokens": 10}]}"#);
        assert_eq!((odd.cache_write_5m, odd.cache_write_1h), (0, 3));
    }
}
