//! Parts that requests and answers have in common: all but calls and results.

use super::content::Part as WirePart;
use super::{media, signature};
use crate::canonical::{Dialect, ForeignField, ForeignPart, Part, Text, keep_foreign};

/// A part that is neither call nor result; `None` where it says nothing.
pub(super) fn read_plain(part: WirePart, path: &str, fields: &mut Vec<ForeignField>) -> Option<Part> {
    let medium = match (&part.inline_data, &part.file_data) {
        (Some(blob), None) => Some(media::read_blob(blob)),
        (None, Some(file)) => Some(media::read_file(file)),
        (Some(_), Some(_)) => Some(None),
        (None, None) => None,
    };
    if let Some(medium) = medium {
        let Some(medium) = medium else { return Some(Part::Foreign(foreign(&part))) };
        let WirePart { thought_signature, extra, .. } = part;
        keep_foreign(path, extra, fields);
        // Only this dialect signs media.
        if let Some(data) = thought_signature {
            fields.push(ForeignField {
                parent: path.to_owned(),
                name: "thoughtSignature".into(),
                value: data.into(),
            });
        }
        return Some(medium);
    }
    if part.text.is_none() && !part.extra.is_empty() {
        return Some(Part::Foreign(foreign(&part)));
    }
    let WirePart { text, thought, thought_signature, extra, .. } = part;
    keep_foreign(path, extra, fields);
    let text = text.unwrap_or_default();
    if text.is_empty() && thought_signature.is_none() {
        return None;
    }
    Some(if thought == Some(true) {
        signature::open_thinking(text, thought_signature.as_deref())
    } else {
        let signature = thought_signature.as_deref().map(signature::open);
        Part::Text(Text { text, signature, ..Text::default() })
    })
}

/// A part that only this dialect has.
pub(super) fn foreign(part: &WirePart) -> ForeignPart {
    let value = part.to_value();
    let is_kind = |key: &&String| !matches!(key.as_str(), "thought" | "thoughtSignature" | "text");
    let kind = value.as_object().and_then(|part| part.keys().find(is_kind)).cloned().unwrap_or_default();
    ForeignPart { dialect: Dialect::Gemini, kind, value }
}
