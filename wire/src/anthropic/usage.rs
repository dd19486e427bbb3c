//! Token counts. `input_tokens` leaves out what a cache read or wrote; `output_tokens` includes thinking.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical::{self, Convention, Dialect, Extra, ForeignField, Reported, is_nothing};

/// The object that holds the counts, as foreign fields' parent.
pub(super) const PARENT: &str = "usage";

/// What a request used. Every figure is optional: in a stream each event says those that it knows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Read, neither from a cache nor into one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Written to a cache, for whatever time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_creation_input_tokens: Option<u64>,
    /// Read from a cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read_input_tokens: Option<u64>,
    /// What was written to a cache, by time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_creation: Option<CacheCreation>,
    /// Written, thinking included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// How `output_tokens` splits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens_details: Option<OutputTokensDetails>,
    /// Fields not known here: `inference_geo`, `service_tier`, `speed`, `server_tool_use`.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What was written to a cache, by how long it is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CacheCreation {
    /// Five minutes.
    #[serde(default)]
    pub ephemeral_5m_input_tokens: u64,
    /// An hour.
    #[serde(default)]
    pub ephemeral_1h_input_tokens: u64,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How the output splits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OutputTokensDetails {
    /// Thinking.
    #[serde(default)]
    pub thinking_tokens: u64,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Usage {
    /// Takes what a later event says. Its counts are from the start of the answer, so they replace the earlier ones
    /// and are never added; what it leaves out stays as it was.
    pub fn update(&mut self, later: Self) {
        let Self {
            input_tokens,
            cache_creation_input_tokens,
            cache_read_input_tokens,
            cache_creation,
            output_tokens,
            output_tokens_details,
            extra,
        } = later;
        self.input_tokens = input_tokens.or(self.input_tokens);
        self.cache_creation_input_tokens = cache_creation_input_tokens.or(self.cache_creation_input_tokens);
        self.cache_read_input_tokens = cache_read_input_tokens.or(self.cache_read_input_tokens);
        self.cache_creation = cache_creation.or(self.cache_creation.take());
        self.output_tokens = output_tokens.or(self.output_tokens);
        self.output_tokens_details = output_tokens_details.or(self.output_tokens_details.take());
        self.extra.extend(extra.into_iter().filter(|(_, value)| !is_nothing(value)));
    }
}

/// Reads the counts. Where the total and its split disagree, as when a later event says the total only, the total
/// counts and what the split can't explain is of five minutes.
pub fn to_canonical(usage: &Usage) -> canonical::Usage {
    let Usage {
        input_tokens,
        cache_creation_input_tokens,
        cache_read_input_tokens,
        cache_creation,
        output_tokens,
        output_tokens_details,
        extra: _,
    } = usage;
    let (five_minutes, hour) = cache_creation.as_ref().map_or((0, 0), |split| {
        let CacheCreation { ephemeral_5m_input_tokens, ephemeral_1h_input_tokens, extra: _ } = split;
        (*ephemeral_5m_input_tokens, *ephemeral_1h_input_tokens)
    });
    let written = cache_creation_input_tokens.unwrap_or(five_minutes.saturating_add(hour));
    let cache_write_1h = hour.min(written);
    Convention::Anthropic.read(Reported {
        input: input_tokens.unwrap_or_default(),
        cache_read: cache_read_input_tokens.unwrap_or_default(),
        cache_write_5m: written - cache_write_1h,
        cache_write_1h,
        output: output_tokens.unwrap_or_default(),
        reasoning: output_tokens_details.as_ref().map_or(0, |details| details.thinking_tokens),
    })
}

/// Writes the counts.
pub fn from_canonical(usage: &canonical::Usage) -> Usage {
    let Reported { input, cache_read, cache_write_5m, cache_write_1h, output, reasoning } =
        Convention::Anthropic.write(usage);
    Usage {
        input_tokens: Some(input),
        cache_creation_input_tokens: Some(cache_write_5m.saturating_add(cache_write_1h)),
        cache_read_input_tokens: Some(cache_read),
        cache_creation: Some(CacheCreation {
            ephemeral_5m_input_tokens: cache_write_5m,
            ephemeral_1h_input_tokens: cache_write_1h,
            extra: Extra::new(),
        }),
        output_tokens: Some(output),
        output_tokens_details: (reasoning > 0)
            .then(|| OutputTokensDetails { thinking_tokens: reasoning, extra: Extra::new() }),
        extra: Extra::new(),
    }
}

/// Where Anthropic computed the answer, as it says itself (`usage.inference_geo`), given what is foreign in the answer
/// or its start. A caller that promised a place compares.
pub fn inference_geo(foreign: &[ForeignField]) -> Option<&str> {
    let field = foreign.iter().find(|field| field.parent == PARENT && field.name == "inference_geo")?;
    field.value.as_str()
}

/// The counts' own fields of an answer of Anthropic's, for a client that speaks its dialect.
pub(super) fn own_extra(origin: Dialect, foreign: &[ForeignField]) -> Extra {
    let own = foreign.iter().filter(|field| origin == Dialect::Anthropic && field.parent == PARENT);
    own.map(|field| (field.name.clone(), field.value.clone())).collect::<serde_json::Map<String, Value>>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(json: &str) -> Usage {
        serde_json::from_str(json).expect("parses")
    }

    /// litellm #9812, #11789, #14849, #6215: cached tokens counted twice or at full price.
    #[test]
    fn cached_tokens_are_counted_once() {
        let usage = to_canonical(&read(
            r#"{"input_tokens":10,"cache_read_input_tokens":200,"cache_creation_input_tokens":34,"cache_creation":{"ephemeral_5m_input_tokens":30,"ephemeral_1h_input_tokens":4},"output_tokens":56,"output_tokens_details":{"thinking_tokens":6}}"#,
        ));
        assert_eq!(usage.input(), 244);
        assert_eq!((usage.input_uncached, usage.cache_read), (10, 200));
        assert_eq!((usage.cache_write_5m, usage.cache_write_1h), (30, 4));
        assert_eq!((usage.output_visible, usage.reasoning, usage.total()), (50, 6, 300));
    }

    #[test]
    fn a_write_without_a_split_is_of_five_minutes() {
        let usage =
            to_canonical(&read(r#"{"input_tokens":1,"cache_creation_input_tokens":7,"output_tokens":1}"#));
        assert_eq!((usage.cache_write_5m, usage.cache_write_1h), (7, 0));
    }

    /// agentgateway PR #2977, apisix #13662: a later event may or may not repeat what the first said.
    #[test]
    fn the_last_value_wins_and_nothing_is_added_up() {
        let mut usage = read(
            r#"{"input_tokens":10,"cache_creation_input_tokens":34,"cache_creation":{"ephemeral_5m_input_tokens":30,"ephemeral_1h_input_tokens":4},"output_tokens":1,"inference_geo":"us"}"#,
        );
        usage.update(read(r#"{"output_tokens":56,"inference_geo":null}"#));
        let counts = to_canonical(&usage);
        assert_eq!((counts.input(), counts.output()), (44, 56));
        usage.update(read(r#"{"input_tokens":12,"cache_creation_input_tokens":40,"output_tokens":57}"#));
        let counts = to_canonical(&usage);
        assert_eq!((counts.input_uncached, counts.cache_write_5m, counts.cache_write_1h), (12, 36, 4));
        assert_eq!(counts.output(), 57);
        assert_eq!(usage.extra.get("inference_geo").and_then(Value::as_str), Some("us"));
    }

    proptest! {
        /// The three inputs make the whole, the split makes the writes, and what is written reads back.
        #[test]
        fn sums_hold(counts in [0..1u64 << 40, 0..1 << 40, 0..1 << 40, 0..1 << 40, 0..1 << 40, 0..1 << 40]) {
            let [input_uncached, cache_read, cache_write_5m, cache_write_1h, output_visible, reasoning] = counts;
            let usage = canonical::Usage {
                input_uncached, cache_read, cache_write_5m, cache_write_1h, output_visible, reasoning,
                ..canonical::Usage::default()
            };
            let written = from_canonical(&usage);
            let split = written.cache_creation.clone().expect("written");
            let (input, creation, read) = (
                written.input_tokens.expect("written"),
                written.cache_creation_input_tokens.expect("written"),
                written.cache_read_input_tokens.expect("written"),
            );
            prop_assert_eq!(input + creation + read, usage.input());
            prop_assert_eq!(split.ephemeral_5m_input_tokens + split.ephemeral_1h_input_tokens, creation);
            prop_assert_eq!(written.output_tokens, Some(usage.output()));
            prop_assert_eq!(to_canonical(&written), usage);
        }

        /// However often an event repeats, the counts are those of the last.
        #[test]
        fn repeating_changes_nothing(outputs in proptest::collection::vec(0..1u64 << 40, 1..8)) {
            let mut usage = read(r#"{"input_tokens":10,"output_tokens":1}"#);
            for output in &outputs {
                usage.update(Usage { output_tokens: Some(*output), ..Usage::default() });
            }
            prop_assert_eq!(to_canonical(&usage).output(), *outputs.last().expect("one"));
            prop_assert_eq!(to_canonical(&usage).input(), 10);
        }
    }
}
