//! Citations of a message: OpenAI says them beside the text, in characters of the whole text.

use serde_json::{Value, json};

use super::super::super::Extra;
use super::super::super::chat::{Annotation, UrlCitation};
use super::super::view::{join, take};
use crate::canonical::{Citation, CitationSource, Dialect, Losses, Part, Span, Unreadable};

/// Takes `annotations` out of a message's `extra`.
pub(super) fn take_annotations(extra: &mut Extra, path: &str) -> Result<Vec<Citation>, Unreadable> {
    let given: Vec<Annotation> = take(extra, path, "annotations")?.unwrap_or_default();
    Ok(given.into_iter().map(citation).collect())
}

fn citation(annotation: Annotation) -> Citation {
    let Annotation { kind, url_citation, mut extra } = annotation;
    match url_citation {
        Some(UrlCitation { start_index: start, end_index: end, url, title, extra: inner }) => {
            extra.extend(inner);
            Citation {
                span: Some(Span { start, end }),
                source: CitationSource::Web { url, title },
                cited_text: None,
                foreign: (!extra.is_empty()).then_some((Dialect::OpenAiChat, extra)),
            }
        }
        None => Citation {
            span: None,
            source: CitationSource::Foreign { kind },
            cited_text: None,
            foreign: Some((Dialect::OpenAiChat, extra)),
        },
    }
}

/// Hangs citations on the first text among `parts`; OpenAI's answers have one.
pub(super) fn attach(citations: Vec<Citation>, parts: &mut [Part]) {
    let text = parts.iter_mut().find_map(|part| match part {
        Part::Text(text) => Some(text),
        _ => None,
    });
    if let Some(text) = text {
        text.citations = citations;
    }
}

/// The annotation for a citation of the text whose characters are `block` in the whole; `None` where its
/// source has no place there: only pages of the web can be cited, and the text says the same without.
pub(super) fn annotation(citation: &Citation, block: Span, path: &str, losses: &mut Losses) -> Option<Value> {
    let Citation { span, source, cited_text: _, foreign } = citation;
    let span = span.map_or(block, |span| Span {
        start: block.start.saturating_add(span.start),
        end: block.start.saturating_add(span.end),
    });
    let own = foreign.as_ref().filter(|(dialect, _)| *dialect == Dialect::OpenAiChat).map(|(_, extra)| extra);
    match source {
        CitationSource::Web { url, title } => {
            let mut inner = Extra::new();
            inner.insert("start_index".into(), json!(span.start));
            inner.insert("end_index".into(), json!(span.end));
            inner.insert("title".into(), json!(title.as_deref().unwrap_or_default()));
            inner.insert("url".into(), json!(url));
            inner.extend(own.cloned().unwrap_or_default());
            Some(json!({"type": "url_citation", "url_citation": inner}))
        }
        CitationSource::Foreign { kind } if own.is_some() => {
            let mut whole = Extra::new();
            whole.insert("type".into(), json!(kind));
            whole.extend(own.cloned().unwrap_or_default());
            Some(Value::Object(whole))
        }
        CitationSource::Document { .. } | CitationSource::Foreign { .. } => {
            losses.waive(join(path, "citations"));
            None
        }
    }
}
