//! Citations. They are flat objects of one of five types, read and written by field.

use serde_json::Value;

use crate::canonical::{Citation, CitationSource, Dialect, Extra, Location, Span};

/// The three ways to say where in a document: `type`, first, last.
const CHARACTERS: [&str; 3] = ["char_location", "start_char_index", "end_char_index"];
const PAGES: [&str; 3] = ["page_location", "start_page_number", "end_page_number"];
const BLOCKS: [&str; 3] = ["content_block_location", "start_block_index", "end_block_index"];
const WEB: &str = "web_search_result_location";

/// Reads a citation. What it says beyond the source, such as `encrypted_index`, is kept.
pub(super) fn to_canonical(mut wire: Extra) -> Citation {
    let kind = take_text(&mut wire, "type").unwrap_or_default();
    let cited_text = take_text(&mut wire, "cited_text");
    let source = match kind.as_str() {
        WEB => web(&mut wire),
        kind if kind == CHARACTERS[0] => document(&mut wire, CHARACTERS).map(at(Location::Characters)),
        kind if kind == PAGES[0] => document(&mut wire, PAGES).map(at(Location::Pages)),
        kind if kind == BLOCKS[0] => document(&mut wire, BLOCKS).map(at(Location::Blocks)),
        _ => None,
    };
    let source = source.unwrap_or_else(|| {
        wire.insert("type".to_owned(), kind.clone().into());
        CitationSource::Foreign { kind }
    });
    let foreign = (!wire.is_empty()).then_some((Dialect::Anthropic, wire));
    Citation { span: None, source, cited_text, foreign }
}

/// Writes a citation; `None` where it is another dialect's own kind. A span is not written: Anthropic's citations
/// are of the whole block.
pub(super) fn from_canonical(citation: &Citation) -> Option<Extra> {
    let Citation { span: _, source, cited_text, foreign } = citation;
    let own = match foreign {
        Some((Dialect::Anthropic, own)) => own.clone(),
        Some(_) | None => Extra::new(),
    };
    let mut wire = match source {
        CitationSource::Web { url, title } => {
            // Anthropic demands an index; only its own reads one.
            Extra::from_iter([
                ("type".to_owned(), WEB.into()),
                ("url".to_owned(), url.as_str().into()),
                ("title".to_owned(), title.as_deref().into()),
                ("encrypted_index".to_owned(), "".into()),
            ])
        }
        CitationSource::Document { index, title, location } => {
            let (names, span) = match location {
                Location::Characters(span) => (CHARACTERS, span),
                Location::Pages(span) => (PAGES, span),
                Location::Blocks(span) => (BLOCKS, span),
            };
            Extra::from_iter([
                ("type".to_owned(), names[0].into()),
                ("document_index".to_owned(), (*index).into()),
                ("document_title".to_owned(), title.as_deref().into()),
                (names[1].to_owned(), span.start.into()),
                (names[2].to_owned(), span.end.into()),
            ])
        }
        CitationSource::Foreign { kind: _ } if own.is_empty() => return None,
        CitationSource::Foreign { kind: _ } => Extra::new(),
    };
    wire.insert("cited_text".to_owned(), cited_text.as_deref().unwrap_or_default().into());
    wire.extend(own);
    Some(wire)
}

fn at(place: impl Fn(Span) -> Location) -> impl Fn((u64, Option<String>, Span)) -> CitationSource {
    move |(index, title, span)| CitationSource::Document { index, title, location: place(span) }
}

fn web(wire: &mut Extra) -> Option<CitationSource> {
    let url = take_text(wire, "url")?;
    Some(CitationSource::Web { url, title: take_text(wire, "title") })
}

fn document(wire: &mut Extra, [_, first, last]: [&str; 3]) -> Option<(u64, Option<String>, Span)> {
    let number = |name: &str| wire.get(name).and_then(Value::as_u64);
    let (index, start, end) = (number("document_index")?, number(first)?, number(last)?);
    for name in ["document_index", first, last] {
        wire.shift_remove(name);
    }
    Some((index, take_text(wire, "document_title"), Span { start, end }))
}

/// Takes a text out; what is null is nothing, and what is no text stays.
fn take_text(wire: &mut Extra, name: &str) -> Option<String> {
    match wire.get(name)? {
        Value::String(_) | Value::Null => match wire.shift_remove(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        },
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Extra {
        serde_json::from_str(json).expect("an object")
    }

    #[test]
    fn every_kind_comes_back_with_all_it_said() {
        for json in [
            r#"{"type":"char_location","document_index":1,"document_title":"t","start_char_index":0,"end_char_index":9,"cited_text":"c","file_id":"f"}"#,
            r#"{"type":"page_location","document_index":0,"document_title":null,"start_page_number":1,"end_page_number":2,"cited_text":"c"}"#,
            r#"{"type":"content_block_location","document_index":0,"document_title":null,"start_block_index":1,"end_block_index":2,"cited_text":"c"}"#,
            r#"{"type":"web_search_result_location","url":"u","title":"t","encrypted_index":"E+/=","cited_text":"c"}"#,
            r#"{"type":"search_result_location","search_result_index":1,"source":"s","title":"t","start_block_index":0,"end_block_index":1,"cited_text":"c"}"#,
        ] {
            let citation = to_canonical(read(json));
            assert_eq!(from_canonical(&citation).expect("written"), read(json));
        }
    }

    #[test]
    fn a_page_of_the_web_is_known_to_every_dialect() {
        let citation = to_canonical(read(
            r#"{"type":"web_search_result_location","url":"u","title":null,"encrypted_index":"E","cited_text":"c"}"#,
        ));
        assert_eq!(citation.source, CitationSource::Web { url: "u".into(), title: None });
        assert_eq!(citation.cited_text.as_deref(), Some("c"));
    }

    #[test]
    fn another_dialects_own_kind_is_not_invented() {
        let citation = Citation {
            span: None,
            source: CitationSource::Foreign { kind: "file_path".into() },
            cited_text: None,
            foreign: Some((Dialect::OpenAiResponses, read(r#"{"x":1}"#))),
        };
        assert_eq!(from_canonical(&citation), None);
    }
}
