//! Changing single values in raw JSON, where every other byte, the order of keys and unknown fields stay.
//!
//! Spans come from borrowed [`serde_json::value::RawValue`]s, so there is no second JSON parser. Deep nesting is
//! refused by serde_json's own limit (128), which skipping unknown values would bypass: they are walked instead.
//! Which keys matter, and to whom, is the affair of those who ask: nothing here knows a dialect.

mod object;
mod text;
mod walk;

use std::ops::Range;

use serde_json::value::RawValue;

pub(crate) use object::{Object, ObjectError, Wanted};
pub(crate) use text::Text;

/// A span of a text, and what takes its place.
pub(crate) type Edit = (Range<usize>, String);

/// Where `value` lies in `text`, from which it was borrowed.
pub(crate) fn span(text: &str, value: &RawValue) -> Range<usize> {
    let start = (value.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    start..start + value.get().len()
}

/// Copies `text`, with each span replaced. `edits` are in the order of the text and do not overlap.
pub(crate) fn splice(text: &str, edits: &[Edit]) -> Vec<u8> {
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
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}
