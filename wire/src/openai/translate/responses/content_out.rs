//! Parts of items, written for an upstream.

use serde_json::{Value, json};

use super::super::super::Extra;
use super::super::shared::detail_word;
use super::annotations;
use crate::canonical::{
    CacheMark, Dialect, Document, Image, Inexpressible, Losses, MediaSource, Part, Provider, Signature, Text,
};

const TARGET: Dialect = Dialect::OpenAiResponses;

/// A part of a user's message or of a tool's output; `None` where it is dropped.
pub(super) fn input(part: &Part, path: &str, losses: &mut Losses) -> Result<Option<Value>, Inexpressible> {
    let (there, fix) = match part {
        Part::Text(Text { text, citations: _, signature, cache }) => {
            hint(*cache, path, losses);
            unsigned(signature.as_ref(), path, losses);
            (Some(json!({"type": "input_text", "text": text})), "")
        }
        Part::Image(picture) => (image(picture, path, losses), "send the image as a URL or a `data:` URL"),
        Part::Document(document) => return self::document(document, path, losses),
        Part::Audio(_) => (None, "it takes no sound: use chat completions"),
        Part::Foreign(part) if part.dialect == TARGET => (Some(part.value.clone()), ""),
        Part::Foreign(_) => (None, "leave the part out"),
        Part::ToolCall(_)
        | Part::CustomCall(_)
        | Part::ToolResult(_)
        | Part::Thinking(_)
        | Part::RedactedThinking(_)
        | Part::Refusal(_) => (None, "it stands in the model's messages only"),
    };
    if there.is_none() {
        losses.lose(path, fix)?;
    }
    Ok(there)
}

/// A text or a refusal of the model's.
pub(super) fn output(part: &Part, path: &str, losses: &mut Losses) -> Result<Option<Value>, Inexpressible> {
    match part {
        // A text that was only there for its signature says nothing.
        Part::Text(Text { text, citations, signature: signature @ Some(_), cache: _ })
            if text.is_empty() && citations.is_empty() =>
        {
            unsigned(signature.as_ref(), path, losses);
            Ok(None)
        }
        Part::Text(Text { text, citations, signature, cache }) => {
            hint(*cache, path, losses);
            unsigned(signature.as_ref(), path, losses);
            let length = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
            let mut all = Vec::with_capacity(citations.len());
            for citation in citations {
                all.extend(annotations::write(citation, length, path, losses));
            }
            Ok(Some(json!({"type": "output_text", "text": text, "annotations": all})))
        }
        Part::Refusal(refusal) => Ok(Some(json!({"type": "refusal", "refusal": refusal}))),
        Part::Foreign(part) if part.dialect == TARGET => Ok(Some(part.value.clone())),
        Part::Image(_)
        | Part::Audio(_)
        | Part::Document(_)
        | Part::ToolCall(_)
        | Part::CustomCall(_)
        | Part::ToolResult(_)
        | Part::Thinking(_)
        | Part::RedactedThinking(_)
        | Part::Foreign(_) => {
            losses.lose(path, "the model's messages hold text there: leave the part out")?;
            Ok(None)
        }
    }
}

fn image(image: &Image, path: &str, losses: &mut Losses) -> Option<Value> {
    let Image { source, detail, cache } = image;
    let mut part = kind("input_image");
    match source {
        MediaSource::File { provider: Provider::OpenAi, id } => part.insert("file_id".into(), json!(id)),
        MediaSource::Inline { .. } | MediaSource::Url(_) => {
            part.insert("image_url".into(), json!(source.to_url()?))
        }
        MediaSource::File { .. } | MediaSource::Text(_) => return None,
    };
    part.extend(detail.map(|detail| ("detail".to_owned(), json!(detail_word(detail)))));
    hint(*cache, path, losses);
    Some(Value::Object(part))
}

fn document(document: &Document, path: &str, losses: &mut Losses) -> Result<Option<Value>, Inexpressible> {
    let Document { source, title, context, citations, cache } = document;
    if context.is_some() {
        losses.lose(format!("{path}.context"), "say it in a text beside the document")?;
    }
    if *citations == Some(true) {
        losses.lose(format!("{path}.citations"), "documents can't be cited there: leave it out")?;
    }
    hint(*cache, path, losses);
    let mut part = kind("input_file");
    match source {
        MediaSource::Inline { .. } => part.insert("file_data".into(), json!(source.to_url())),
        MediaSource::Url(url) => part.insert("file_url".into(), json!(url)),
        MediaSource::File { provider: Provider::OpenAi, id } => part.insert("file_id".into(), json!(id)),
        // A plain text needs no file.
        MediaSource::Text(text) => return Ok(Some(json!({"type": "input_text", "text": text}))),
        MediaSource::File { .. } => {
            losses.lose(path, "the file is at another provider: send the document in the message")?;
            return Ok(None);
        }
    };
    part.extend(title.as_ref().map(|title| ("filename".to_owned(), json!(title))));
    Ok(Some(Value::Object(part)))
}

fn kind(kind: &str) -> Extra {
    Extra::from_iter([("type".to_owned(), json!(kind))])
}

/// A text's signature is its issuer's alone, and OpenAI signs none.
fn unsigned(signature: Option<&Signature>, path: &str, losses: &mut Losses) {
    if signature.is_some() {
        losses.waive(format!("{path}.signature"));
    }
}

/// A cache mark: caching is automatic there.
pub(super) fn hint(cache: Option<CacheMark>, path: &str, losses: &mut Losses) {
    if cache.is_some() {
        losses.waive(format!("{path}.cache_control"));
    }
}
