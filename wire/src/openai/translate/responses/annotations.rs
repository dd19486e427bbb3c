//! Citations of an `output_text`, in characters of that text.

use serde_json::{Value, json};

use super::super::super::Extra;
use crate::canonical::{Citation, CitationSource, Dialect, Losses, Span};

const DIALECT: Dialect = Dialect::OpenAiResponses;

/// Reads an annotation. One that is no page of the web is kept whole.
pub(super) fn read(annotation: Value) -> Citation {
    let text = |name: &str| annotation.get(name).and_then(Value::as_str).map(str::to_owned);
    let count = |name: &str| annotation.get(name).and_then(Value::as_u64).unwrap_or(0);
    match (text("type").as_deref(), text("url")) {
        (Some("url_citation"), Some(url)) => Citation {
            span: Some(Span { start: count("start_index"), end: count("end_index") }),
            source: CitationSource::Web { url, title: text("title") },
            cited_text: None,
            foreign: None,
        },
        (kind, _) => Citation {
            span: None,
            source: CitationSource::Foreign { kind: kind.unwrap_or_default().to_owned() },
            cited_text: None,
            foreign: Some((DIALECT, annotation.as_object().cloned().unwrap_or_else(Extra::new))),
        },
    }
}

/// The annotation for a citation of a text of `length` characters; `None` where its source has no place there:
/// only pages of the web can be cited, and the text says the same without.
pub(super) fn write(citation: &Citation, length: u64, path: &str, losses: &mut Losses) -> Option<Value> {
    let Citation { span, source, cited_text: _, foreign } = citation;
    let Span { start, end } = span.unwrap_or(Span { start: 0, end: length });
    match (source, foreign) {
        (CitationSource::Web { url, title }, _) => Some(json!({
            "type": "url_citation",
            "start_index": start,
            "end_index": end,
            "url": url,
            "title": title.as_deref().unwrap_or_default(),
        })),
        (CitationSource::Foreign { .. }, Some((DIALECT, whole))) => Some(Value::Object(whole.clone())),
        (CitationSource::Document { .. } | CitationSource::Foreign { .. }, _) => {
            losses.waive(format!("{path}.citations"));
            None
        }
    }
}
