//! Citations, read and written by field.

use serde_json::{Value, json};

use crate::canonical::{Citation, CitationSource, Dialect, Extra, Location, Span};

/// A place in a document, of its stretch.
type Within = fn(Span) -> Location;

/// The ways to say where in a document.
const PLACES: [(&str, Within); 3] = [
    ("documentChar", Location::Characters),
    ("documentPage", Location::Pages),
    ("documentChunk", Location::Blocks),
];

/// Reads a citation. What it says beyond the source is kept.
pub(super) fn to_canonical(mut wire: Extra) -> Citation {
    let title = take_text(&mut wire, "title");
    let cited_text = wire
        .get("sourceContent")
        .and_then(Value::as_array)
        .map(|pieces| pieces.iter().filter_map(|piece| piece.get("text")?.as_str()).collect::<String>());
    if cited_text.is_some() {
        wire.shift_remove("sourceContent");
    }
    let source = match wire.get("location").and_then(read_location) {
        Some(Place::Web(url)) => CitationSource::Web { url, title },
        Some(Place::Document(index, location)) => CitationSource::Document { index, title, location },
        None => {
            let kind = wire.get("location").and_then(Value::as_object);
            let kind = kind.and_then(|location| location.keys().next().cloned()).unwrap_or_default();
            wire.extend(title.map(|title| ("title".to_owned(), title.into())));
            let foreign = Some((Dialect::Converse, wire));
            return Citation { span: None, source: CitationSource::Foreign { kind }, cited_text, foreign };
        }
    };
    wire.shift_remove("location");
    let foreign = (!wire.is_empty()).then_some((Dialect::Converse, wire));
    Citation { span: None, source, cited_text, foreign }
}

enum Place {
    Web(String),
    Document(u64, Location),
}

fn read_location(location: &Value) -> Option<Place> {
    if let Some(url) = location.pointer("/web/url").and_then(Value::as_str) {
        return Some(Place::Web(url.to_owned()));
    }
    PLACES.iter().find_map(|(name, place)| {
        let number = |field: &str| location.get(*name)?.get(field)?.as_u64();
        let span = Span { start: number("start")?, end: number("end")? };
        Some(Place::Document(number("documentIndex")?, place(span)))
    })
}

/// Writes a citation; `None` where it is another dialect's own kind. A span is not written: Converse's citations are of the
/// whole block.
pub(super) fn from_canonical(citation: &Citation) -> Option<Extra> {
    let Citation { span: _, source, cited_text, foreign } = citation;
    let mut wire = match foreign {
        Some((Dialect::Converse, own)) => own.clone(),
        Some(_) | None => Extra::new(),
    };
    let (title, location) = match source {
        CitationSource::Web { url, title } => (title, Some(json!({"web": {"url": url}}))),
        CitationSource::Document { index, title, location } => {
            let (name, span) = match location {
                Location::Characters(span) => ("documentChar", span),
                Location::Pages(span) => ("documentPage", span),
                Location::Blocks(span) => ("documentChunk", span),
            };
            let place = json!({"documentIndex": index, "start": span.start, "end": span.end});
            (title, Some(Value::Object(Extra::from_iter([(name.to_owned(), place)]))))
        }
        CitationSource::Foreign { kind: _ } if wire.is_empty() => return None,
        CitationSource::Foreign { kind: _ } => (&None, None),
    };
    wire.extend(title.clone().map(|title| ("title".to_owned(), title.into())));
    wire.extend(location.map(|location| ("location".to_owned(), location)));
    let text = cited_text.as_ref().map(|text| ("sourceContent".to_owned(), json!([{"text": text}])));
    wire.extend(text);
    Some(wire)
}

fn take_text(wire: &mut Extra, name: &str) -> Option<String> {
    let text = wire.get(name)?.as_str()?.to_owned();
    wire.shift_remove(name);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: Value) -> Citation {
        let Value::Object(wire) = value else { panic!("an object") };
        to_canonical(wire)
    }

    #[test]
    fn citations_come_back() {
        for wire in [
            json!({"title": "T", "location": {"web": {"url": "https://x"}}}),
            json!({"title": "T", "sourceContent": [{"text": "ab"}],
                "location": {"documentPage": {"documentIndex": 1, "start": 2, "end": 3}}}),
            json!({"source": "s", "location": {"documentChar": {"documentIndex": 0, "start": 2, "end": 3}}}),
            json!({"title": "T", "location": {"searchResultLocation": {"searchResultIndex": 0}}}),
        ] {
            let citation = read(wire.clone());
            let written = from_canonical(&citation).expect("written");
            assert_eq!(Value::Object(written), wire);
        }
        let web = read(json!({"location": {"web": {"url": "https://x"}}}));
        assert_eq!(web.source, CitationSource::Web { url: "https://x".into(), title: None });
        let strange = Citation {
            span: None,
            source: CitationSource::Foreign { kind: "x".into() },
            cited_text: None,
            foreign: Some((Dialect::Anthropic, Extra::new())),
        };
        assert_eq!(from_canonical(&strange), None);
    }
}
