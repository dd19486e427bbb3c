//! Changing single values in raw JSON: the model's name, and what metering needs.
//!
//! Every other byte, the order of keys and unknown fields stay as they came. Spans come from borrowed
//! [`serde_json::value::RawValue`]s, so there is no second JSON parser. Deep nesting is refused by
//! serde_json's own limit (128), which skipping unknown values would bypass: they are walked instead.

mod request;
mod response;
mod walk;

pub use request::RequestView;
pub use response::{ResponseView, TokenDetails, UsageView};

use std::ops::Range;

use serde_json::value::RawValue;

/// Where `value` lies in `text`, from which it was borrowed.
fn span(text: &str, value: &RawValue) -> Range<usize> {
    let start = (value.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    start..start + value.get().len()
}

/// Copies `text`, with each span replaced. `edits` are in the order of the text and do not overlap.
fn splice(text: &str, edits: &[(Range<usize>, String)]) -> Vec<u8> {
    let grown: usize = edits.iter().map(|(_, new)| new.len()).sum();
    let mut out = Vec::with_capacity(text.len() + grown);
    let mut from = 0;
    for (range, new) in edits {
        out.extend_from_slice(text.as_bytes().get(from..range.start).unwrap_or_default());
        out.extend_from_slice(new.as_bytes());
        from = range.end;
    }
    out.extend_from_slice(text.as_bytes().get(from..).unwrap_or_default());
    out
}

/// `text` as a JSON string.
fn quoted(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}
