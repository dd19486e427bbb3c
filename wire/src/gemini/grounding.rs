//! `groundingMetadata` and `citationMetadata`: what a text rests on. Both count in bytes, the canonical form in characters.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::proto_json::integer;
use crate::canonical::{Citation, CitationSource, Dialect, Extra, Span};

/// Sources that are quoted word for word.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CitationMetadata {
    /// The sources; Vertex calls them `citations`.
    #[serde(alias = "citation_sources", alias = "citations")]
    pub citation_sources: Vec<QuotedSource>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QuotedSource {
    /// First byte; absent means 0.
    #[serde(alias = "start_index", deserialize_with = "integer", skip_serializing_if = "Option::is_none")]
    pub start_index: Option<u64>,
    /// After the last byte.
    #[serde(alias = "end_index", deserialize_with = "integer", skip_serializing_if = "Option::is_none")]
    pub end_index: Option<u64>,
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Its title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Fields not known here, such as `license`.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Sources that were searched.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GroundingMetadata {
    /// The sources.
    #[serde(alias = "grounding_chunks", skip_serializing_if = "Vec::is_empty")]
    pub grounding_chunks: Vec<GroundingChunk>,
    /// Which stretch rests on which of them.
    #[serde(alias = "grounding_supports", skip_serializing_if = "Vec::is_empty")]
    pub grounding_supports: Vec<GroundingSupport>,
    /// Fields not known here, such as `webSearchQueries`.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GroundingChunk {
    /// A page of the web.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web: Option<WebSource>,
    /// Fields not known here, such as `retrievedContext`.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A page of the web.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct WebSource {
    /// Its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Its title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A stretch and its sources.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GroundingSupport {
    /// The stretch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment: Option<Segment>,
    /// Its sources, by their place in the list.
    #[serde(alias = "grounding_chunk_indices")]
    pub grounding_chunk_indices: Vec<usize>,
    /// Fields not known here, such as `confidenceScores`.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A stretch of an answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Segment {
    /// Which part; absent means the first.
    #[serde(alias = "part_index", deserialize_with = "integer", skip_serializing_if = "Option::is_none")]
    pub part_index: Option<usize>,
    /// First byte of the part; absent means 0.
    #[serde(alias = "start_index", deserialize_with = "integer", skip_serializing_if = "Option::is_none")]
    pub start_index: Option<u64>,
    /// After the last byte.
    #[serde(alias = "end_index", deserialize_with = "integer", skip_serializing_if = "Option::is_none")]
    pub end_index: Option<u64>,
    /// Its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A citation before it is known which text it belongs to.
pub(super) struct Found {
    /// Which part of the answer; `None` counts over all its texts.
    pub(super) part: Option<usize>,
    /// The bytes, the end not included; `None` where the stretch is not said.
    pub(super) bytes: Option<(u64, u64)>,
    /// The rest of it.
    pub(super) citation: Citation,
}

/// The citations of an answer.
pub(super) fn read(citations: Option<CitationMetadata>, grounding: Option<GroundingMetadata>) -> Vec<Found> {
    let mut found = Vec::new();
    for QuotedSource { start_index, end_index, uri, title, extra } in
        citations.map(|citations| citations.citation_sources).unwrap_or_default()
    {
        let bytes = end_index.map(|end| (start_index.unwrap_or_default(), end));
        let source = CitationSource::Web { url: uri.unwrap_or_default(), title };
        let foreign = Some((Dialect::Gemini, extra));
        found.push(Found {
            part: None,
            bytes,
            citation: Citation { span: None, source, cited_text: None, foreign },
        });
    }
    let GroundingMetadata { grounding_chunks, grounding_supports, extra: _ } = grounding.unwrap_or_default();
    for GroundingSupport { segment, grounding_chunk_indices, extra: _ } in grounding_supports {
        for chunk in grounding_chunk_indices.iter().filter_map(|index| grounding_chunks.get(*index)) {
            let part = segment.as_ref().map(|segment| segment.part_index.unwrap_or_default());
            let bytes = segment.as_ref().and_then(|segment| {
                segment.end_index.map(|end| (segment.start_index.unwrap_or_default(), end))
            });
            found.push(Found { part, bytes, citation: grounded(chunk) });
        }
    }
    found
}

fn grounded(chunk: &GroundingChunk) -> Citation {
    let GroundingChunk { web, extra } = chunk;
    let (source, foreign) = match web {
        Some(WebSource { uri, title, extra: _ }) => {
            (CitationSource::Web { url: uri.clone().unwrap_or_default(), title: title.clone() }, None)
        }
        None => {
            let kind = extra.keys().next().cloned().unwrap_or_default();
            (CitationSource::Foreign { kind }, Some((Dialect::Gemini, extra.clone())))
        }
    };
    Citation { span: None, source, cited_text: None, foreign }
}

/// The stretch of `text` that these bytes are; `None` where they are none of it.
pub(super) fn span(text: &str, (start, end): (u64, u64)) -> Option<Span> {
    let count = |bytes: u64| {
        let head = text.get(..usize::try_from(bytes).ok()?)?;
        u64::try_from(head.chars().count()).ok()
    };
    Some(Span { start: count(start)?, end: count(end)? })
}

/// The bytes of a stretch.
fn bytes(text: &str, span: Span) -> Option<(u64, u64)> {
    let count = |characters: u64| {
        let characters = usize::try_from(characters).ok()?;
        let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        u64::try_from(ends.into_iter().nth(characters)?).ok()
    };
    Some((count(span.start)?, count(span.end)?))
}

/// Collects an answer's citations for a client.
#[derive(Clone, Debug, Default)]
pub(super) struct Citations {
    quoted: Vec<QuotedSource>,
    grounding: GroundingMetadata,
}

impl Citations {
    /// Adds a citation of `text`, which begins at byte `offset` of part `part`. False where the dialect has no place for
    /// its source.
    pub(super) fn add(&mut self, citation: &Citation, text: &str, part: Option<usize>, offset: u64) -> bool {
        let Citation { span, source, cited_text, foreign } = citation;
        let all = || (0, u64::try_from(text.len()).unwrap_or_default());
        let (start, end) = span.and_then(|span| bytes(text, span)).unwrap_or_else(all);
        let stretch =
            text.get(usize::try_from(start).unwrap_or_default()..usize::try_from(end).unwrap_or_default());
        let (start_index, end_index) = (Some(start + offset), Some(end + offset));
        let chunk = match (source, foreign) {
            (CitationSource::Web { url, title }, Some((Dialect::Gemini, extra))) => {
                self.quoted.push(QuotedSource {
                    start_index,
                    end_index,
                    uri: Some(url.clone()),
                    title: title.clone(),
                    extra: extra.clone(),
                });
                return true;
            }
            (CitationSource::Web { url, title }, _) => GroundingChunk {
                web: Some(WebSource { uri: Some(url.clone()), title: title.clone(), extra: Extra::new() }),
                extra: Extra::new(),
            },
            (CitationSource::Document { index: _, title, location: _ }, _) => {
                let mut context = Extra::new();
                context.extend(title.as_deref().map(|title| ("title".to_owned(), title.into())));
                context.extend(cited_text.as_deref().map(|text| ("text".to_owned(), text.into())));
                let extra = [("retrievedContext".to_owned(), Value::Object(context))].into_iter().collect();
                GroundingChunk { web: None, extra }
            }
            (CitationSource::Foreign { kind: _ }, Some((Dialect::Gemini, extra))) => {
                GroundingChunk { web: None, extra: extra.clone() }
            }
            (CitationSource::Foreign { kind: _ }, _) => return false,
        };
        let chunks = &mut self.grounding.grounding_chunks;
        let index = chunks.iter().position(|known| *known == chunk).unwrap_or_else(|| {
            chunks.push(chunk);
            chunks.len() - 1
        });
        self.grounding.grounding_supports.push(GroundingSupport {
            segment: Some(Segment {
                part_index: part.filter(|part| *part > 0),
                start_index,
                end_index,
                text: stretch.map(str::to_owned),
                extra: Extra::new(),
            }),
            grounding_chunk_indices: vec![index],
            extra: Extra::new(),
        });
        true
    }

    /// The two fields of a candidate.
    pub(super) fn write(self) -> (Option<CitationMetadata>, Option<GroundingMetadata>) {
        let quoted = CitationMetadata { citation_sources: self.quoted, extra: Extra::new() };
        let grounding = self.grounding;
        (
            Some(quoted).filter(|quoted| !quoted.citation_sources.is_empty()),
            Some(grounding).filter(|grounding| !grounding.grounding_supports.is_empty()),
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bytes_are_not_characters() {
        let text = "né 😀 ok";
        let stretch = Span { start: 3, end: 4 };
        assert_eq!(bytes(text, stretch), Some((4, 8)));
        assert_eq!(span(text, (4, 8)), Some(stretch));
        assert_eq!(span(text, (0, 99)), None);
        assert_eq!(span(text, (0, 2)), None, "in the midst of a character");
        assert_eq!(bytes(text, Span { start: 0, end: 7 }), Some((0, 11)));
    }

    #[test]
    fn a_source_is_listed_once() {
        let web = |start, end| Citation {
            span: Some(Span { start, end }),
            source: CitationSource::Web { url: "https://a".into(), title: Some("A".into()) },
            cited_text: None,
            foreign: None,
        };
        let mut citations = Citations::default();
        assert!(
            citations.add(&web(0, 2), "né ok", Some(1), 10)
                && citations.add(&web(3, 5), "né ok", Some(1), 10)
        );
        let (quoted, grounding) = citations.write();
        let grounding = serde_json::to_value(grounding).expect("writes");
        assert_eq!(quoted, None);
        assert_eq!(grounding["groundingChunks"], json!([{"web": {"uri": "https://a", "title": "A"}}]));
        assert_eq!(
            grounding["groundingSupports"][0]["segment"],
            json!({"partIndex": 1, "startIndex": 10, "endIndex": 13, "text": "né"})
        );
        assert_eq!(grounding["groundingSupports"][1]["groundingChunkIndices"], json!([0]));
    }
}
