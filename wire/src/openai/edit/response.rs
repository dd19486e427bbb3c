//! What a gateway reads of an answer or a chunk, and the one value it may change.

use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::{Usage, translate};
use crate::canonical;
use crate::edit::{quoted, span, splice};

/// An answer, or one chunk of a stream, read only as far as a gateway needs. Unknown fields are skipped.
#[derive(Debug)]
pub struct ResponseView<'a> {
    text: &'a str,
    model_span: Option<Range<usize>>,
    usage: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
    choices: Choices,
    stops: bool,
}

/// Token counts of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct UsageView {
    /// Tokens read, cached ones included.
    pub prompt_tokens: u64,
    /// Tokens written, reasoning included.
    #[serde(default)]
    pub completion_tokens: u64,
    /// How `prompt_tokens` splits.
    #[serde(default)]
    pub prompt_tokens_details: Option<TokenDetails>,
    /// How `completion_tokens` splits.
    #[serde(default)]
    pub completion_tokens_details: Option<TokenDetails>,
}

/// The parts of a count that are metered apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct TokenDetails {
    /// Tokens served from a cache.
    #[serde(default)]
    pub cached_tokens: Option<u64>,
    /// Tokens written to a cache.
    #[serde(default)]
    pub cache_write_tokens: Option<u64>,
    /// Tokens spent on reasoning.
    #[serde(default)]
    pub reasoning_tokens: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choices {
    Absent,
    Empty,
    /// Choices that carry nothing new: the opening chunk.
    Silent,
    /// At least one brings text, a tool call or the end.
    Speaking,
}

impl<'a> ResponseView<'a> {
    /// Reads `body`; `None` where it is not a JSON object in UTF-8.
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        Self::read(std::str::from_utf8(body).ok()?)
    }

    /// Reads `text`; `None` where it is not a JSON object.
    pub(crate) fn read(text: &'a str) -> Option<Self> {
        let top: Top<'a> = serde_json::from_str(text).ok()?;
        let (choices, stops) = top.choices.map_or((Choices::Absent, false), choices);
        Some(Self {
            text,
            model_span: top.model.filter(|value| value.get().starts_with('"')).map(|value| span(text, value)),
            usage: top.usage.filter(is_said),
            error: top.error.filter(is_said),
            choices,
            stops,
        })
    }

    /// The usage, where the answer carries one. One that does not parse is none; the answer itself still goes out.
    pub fn usage(&self) -> Option<UsageView> {
        serde_json::from_str(self.usage?.get()).ok().flatten()
    }

    /// The usage as the other dialects count it.
    pub(crate) fn counts(&self) -> Option<canonical::Usage> {
        let usage: Usage = serde_json::from_str(self.usage?.get()).ok()?;
        Some(translate::usage::to_canonical(&usage))
    }

    /// Whether it is an error: a top-level `error` that is not null.
    pub fn is_error(&self) -> bool {
        self.error.is_some()
    }

    /// The error.
    pub(crate) fn error(&self) -> Option<&'a RawValue> {
        self.error
    }

    /// Where the model's name lies.
    pub(crate) fn model_span(&self) -> Option<Range<usize>> {
        self.model_span.clone()
    }

    /// Whether there are `choices`, be it none.
    pub(crate) fn has_choices(&self) -> bool {
        self.choices != Choices::Absent
    }

    /// Whether some choice says why it ended.
    pub(crate) fn stops(&self) -> bool {
        self.stops
    }

    /// Whether it is the chunk that only reports the usage: `choices: []`.
    pub fn is_usage_chunk(&self) -> bool {
        self.choices == Choices::Empty && self.usage().is_some()
    }

    /// Whether some choice brings text or a piece of a tool call. The opening chunk, with its role and empty
    /// text, does not; nor does the closing one, with its reason and nothing else: no token came with it.
    pub fn speaks(&self) -> bool {
        self.choices == Choices::Speaking
    }

    /// The body under another model name, or `None` where it names none (or this one already).
    pub fn rename(&self, model: &str) -> Option<Vec<u8>> {
        let range = self.model_span.clone()?;
        let new = quoted(model);
        if self.text.get(range.clone()) == Some(new.as_str()) {
            return None;
        }
        Some(splice(self.text, &[(range, new)]))
    }
}

/// What the choices say, and whether one of them ended.
fn choices(value: &RawValue) -> (Choices, bool) {
    let Ok(choices) = serde_json::from_str::<Vec<Choice<'_>>>(value.get()) else {
        return (Choices::Absent, false);
    };
    let stops = choices.iter().any(|choice| says(choice.finish_reason));
    if choices.is_empty() {
        (Choices::Empty, stops)
    } else if choices.iter().any(Choice::speaks) {
        (Choices::Speaking, stops)
    } else {
        (Choices::Silent, stops)
    }
}

/// Whether it is more than `null`, which every chunk but the last has for its usage.
fn is_said(value: &&RawValue) -> bool {
    value.get() != "null"
}

fn says(value: Option<&RawValue>) -> bool {
    value.is_some_and(|value| !matches!(value.get(), "null" | r#""""# | "[]" | "{}"))
}

#[derive(Deserialize)]
struct Top<'a> {
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    choices: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<&'a RawValue>,
}

/// The parts of a delta that count as an answer, under every name that engines use for reasoning.
#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow, default)]
    function_call: Option<&'a RawValue>,
}

impl Choice<'_> {
    fn speaks(&self) -> bool {
        says(self.text)
            || self.delta.as_ref().is_some_and(|delta| {
                says(delta.content)
                    || says(delta.refusal)
                    || says(delta.reasoning)
                    || says(delta.reasoning_content)
                    || says(delta.tool_calls)
                    || says(delta.function_call)
            })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn view(text: &str) -> ResponseView<'_> {
        ResponseView::parse(text.as_bytes()).expect("parses")
    }

    #[test]
    fn a_rename_changes_the_top_level_model_only() {
        let text = r#"{"x":{"model":"in"}, "model" : "up","choices":[{"model":"up"}]}"#;
        let renamed = view(text).rename("ns/m").expect("renamed");
        assert_eq!(String::from_utf8(renamed).expect("UTF-8"), text.replacen(r#" "up""#, r#" "ns/m""#, 1));
        assert_eq!(view(text).rename("up"), None);
        assert_eq!(view(r#"{"model":null}"#).rename("m"), None);
        assert_eq!(view("{}").rename("m"), None);
    }

    #[test]
    fn chunks_are_told_apart() {
        let opening = view(
            r#"{"choices":[{"delta":{"role":"assistant","content":"","refusal":null},"finish_reason":null}],"usage":null}"#,
        );
        assert!(!opening.speaks() && opening.usage().is_none() && !opening.is_usage_chunk());
        assert!(view(r#"{"choices":[{"delta":{"content":"a"}}]}"#).speaks());
        assert!(!view(r#"{"choices":[{"delta":{},"finish_reason":"length"}]}"#).speaks());
        assert!(view(r#"{"choices":[{"delta":{"content":"a"},"finish_reason":"length"}]}"#).speaks());
        assert!(view(r#"{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}"#).speaks());
        assert!(view(r#"{"choices":[{"text":"a"}]}"#).speaks());
        let last = view(
            r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,"prompt_tokens_details":{"cached_tokens":2}}}"#,
        );
        assert!(last.is_usage_chunk());
        let usage = last.usage().expect("usage");
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (3, 4));
        assert_eq!(usage.prompt_tokens_details.and_then(|details| details.cached_tokens), Some(2));
        // LiteLLM and TensorZero put the usage beside a choice: metered, but not to be stripped.
        assert!(!view(r#"{"choices":[{"delta":{}}],"usage":{"prompt_tokens":3}}"#).is_usage_chunk());
        assert!(view(r#"{"error":{"message":"x"}}"#).is_error());
        assert!(!view(r#"{"error":null}"#).is_error());
    }

    #[test]
    fn odd_usage_does_not_spoil_the_answer() {
        assert_eq!(view(r#"{"usage":{"prompt_tokens":-1}}"#).usage(), None);
        assert_eq!(view(r#"{"usage":"many"}"#).usage(), None);
        assert!(ResponseView::parse(b"<html>").is_none());
        assert!(ResponseView::parse(b"[1]").is_none_or(|view| view.rename("x").is_none()));
    }

    proptest! {
        #[test]
        fn a_rename_keeps_every_other_byte(before in "[a-z\"\\\\€]{0,12}", after in "[a-z\"\\\\€]{0,12}", old in "[a-z\"€]{0,8}", new in "[a-z\"€]{0,8}", pad in "[ \n\t]{0,3}") {
            let text = format!("{{\"x\":{},{pad}\"model\"{pad}:{pad}{}{pad},\"y\":{}}}", quoted(&before), quoted(&old), quoted(&after));
            let expected = format!("{{\"x\":{},{pad}\"model\"{pad}:{pad}{}{pad},\"y\":{}}}", quoted(&before), quoted(&new), quoted(&after));
            let out = view(&text).rename(&new).unwrap_or_else(|| text.clone().into_bytes());
            prop_assert_eq!(String::from_utf8(out).expect("UTF-8"), expected);
        }

        #[test]
        fn no_bytes_break_the_parser(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = ResponseView::parse(&bytes).map(|view| view.rename("n"));
        }
    }
}
