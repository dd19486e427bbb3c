//! Images and documents.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::anthropic::block::Source;
use crate::canonical::{MediaSource, Provider, Unreadable};

/// The images that Anthropic reads.
const IMAGE_TYPES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];
const PDF: &str = "application/pdf";
const PLAIN: &str = "text/plain";

/// Reads a source; `None` where only Anthropic has its kind.
pub(super) fn to_canonical(source: &Source, path: &str) -> Result<Option<MediaSource>, Unreadable> {
    let need = |field: &Option<String>, name: &str| {
        field.clone().ok_or_else(|| {
            Unreadable::new(format!("{path}.source.{name}"), format!("a `{}` source has one", source.kind))
        })
    };
    Ok(Some(match source.kind.as_str() {
        "base64" => MediaSource::Inline {
            media_type: need(&source.media_type, "media_type")?,
            data: need(&source.data, "data")?,
        },
        "url" => MediaSource::Url(need(&source.url, "url")?),
        "file" => MediaSource::File { provider: Provider::Anthropic, id: need(&source.file_id, "file_id")? },
        "text" => MediaSource::Text(need(&source.data, "data")?),
        _ => return Ok(None),
    }))
}

/// Writes an image's source.
///
/// # Errors
/// Says what to do where Anthropic takes no such image.
pub(super) fn image_source(source: &MediaSource) -> Result<Source, &'static str> {
    match source {
        MediaSource::Inline { media_type, data } if IMAGE_TYPES.contains(&media_type.as_str()) => {
            Ok(inline(media_type, data))
        }
        MediaSource::Inline { .. } => Err("send it as image/jpeg, image/png, image/gif or image/webp"),
        MediaSource::Text(_) => Err("an image is no text"),
        MediaSource::Url(_) | MediaSource::File { .. } => elsewhere(source),
    }
}

/// Writes a document's source.
///
/// # Errors
/// Says what to do where Anthropic takes no such document.
pub(super) fn document_source(source: &MediaSource) -> Result<Source, &'static str> {
    match source {
        MediaSource::Inline { media_type, data } if media_type == PDF => Ok(inline(PDF, data)),
        MediaSource::Inline { media_type, data } if is_plain_text(media_type) => {
            let bytes = STANDARD.decode(data).map_err(|_| "its data is not base64")?;
            let text = String::from_utf8(bytes).map_err(|_| "a plain text must be in UTF-8")?;
            Ok(plain_text(&text))
        }
        MediaSource::Inline { .. } => Err("send it as application/pdf or text/plain"),
        MediaSource::Text(text) => Ok(plain_text(text)),
        MediaSource::Url(_) | MediaSource::File { .. } => elsewhere(source),
    }
}

fn is_plain_text(media_type: &str) -> bool {
    media_type.split(';').next().is_some_and(|essence| essence.trim() == PLAIN)
}

fn inline(media_type: &str, data: &str) -> Source {
    Source {
        kind: "base64".to_owned(),
        media_type: Some(media_type.to_owned()),
        data: Some(data.to_owned()),
        ..Source::default()
    }
}

fn plain_text(text: &str) -> Source {
    Source {
        kind: "text".to_owned(),
        media_type: Some(PLAIN.to_owned()),
        data: Some(text.to_owned()),
        ..Source::default()
    }
}

fn elsewhere(source: &MediaSource) -> Result<Source, &'static str> {
    match source {
        MediaSource::Url(url) if url.starts_with("https://") || url.starts_with("http://") => {
            Ok(Source { kind: "url".to_owned(), url: Some(url.clone()), ..Source::default() })
        }
        MediaSource::File { provider: Provider::Anthropic, id } => {
            Ok(Source { kind: "file".to_owned(), file_id: Some(id.clone()), ..Source::default() })
        }
        MediaSource::File { provider: Provider::OpenAi | Provider::Gemini | Provider::Bedrock, .. } => {
            Err("another provider keeps this file: send its bytes")
        }
        MediaSource::Url(_) | MediaSource::Inline { .. } | MediaSource::Text(_) => {
            Err("Anthropic fetches http and https only: send its bytes")
        }
    }
}
