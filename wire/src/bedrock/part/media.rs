//! Images, sound and documents: Bedrock names their formats by short words of its own.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::bedrock::content::{AudioBlock, DocumentBlock, DocumentSource, ImageBlock};
use crate::bedrock::content::{CitationsConfig, MediaSource as WireSource};
use crate::canonical::{Document, Extra, MediaSource};

const IMAGES: [(&str, &str); 4] =
    [("png", "image/png"), ("jpeg", "image/jpeg"), ("gif", "image/gif"), ("webp", "image/webp")];

const SOUNDS: [(&str, &str); 8] = [
    ("mp3", "audio/mpeg"),
    ("mp3", "audio/mp3"),
    ("wav", "audio/wav"),
    ("wav", "audio/x-wav"),
    ("flac", "audio/flac"),
    ("aac", "audio/aac"),
    ("ogg", "audio/ogg"),
    ("opus", "audio/opus"),
];

const DOCUMENTS: [(&str, &str); 9] = [
    ("pdf", "application/pdf"),
    ("csv", "text/csv"),
    ("doc", "application/msword"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("xls", "application/vnd.ms-excel"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("html", "text/html"),
    ("txt", "text/plain"),
    ("md", "text/markdown"),
];

/// Why a medium that lies elsewhere can't be sent.
const ELSEWHERE: &str = "Bedrock fetches nothing: send its bytes";

fn media_type(known: &[(&str, &str)], format: &str) -> Option<String> {
    known.iter().find(|(word, _)| *word == format).map(|(_, media_type)| (*media_type).to_owned())
}

fn format(known: &[(&str, &str)], media_type: &str) -> Option<String> {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    known.iter().find(|(_, one)| *one == essence).map(|(word, _)| (*word).to_owned())
}

/// Reads where an image's bytes are; `None` where only Bedrock knows.
pub(super) fn image(block: &ImageBlock) -> Option<MediaSource> {
    let ImageBlock { format, source, extra } = block;
    inline(&IMAGES, format, source, extra)
}

/// Reads where the bytes of sound are; `None` where only Bedrock knows.
pub(super) fn audio(block: &AudioBlock) -> Option<MediaSource> {
    let AudioBlock { format, source, extra } = block;
    inline(&SOUNDS, format, source, extra)
}

fn inline(known: &[(&str, &str)], format: &str, source: &WireSource, extra: &Extra) -> Option<MediaSource> {
    let data = source.bytes.clone().filter(|_| source.extra.is_empty() && extra.is_empty())?;
    Some(MediaSource::Inline { media_type: media_type(known, format)?, data })
}

/// Reads a document; `None` where only Bedrock knows where it is.
pub(super) fn document(block: &DocumentBlock) -> Option<Document> {
    let DocumentBlock { format, name, source, context, citations, extra } = block;
    let DocumentSource { bytes, text, extra: elsewhere } = source;
    if !extra.is_empty() || !elsewhere.is_empty() {
        return None;
    }
    let source = match (bytes, text) {
        (Some(data), None) => {
            let media_type = media_type(&DOCUMENTS, format.as_deref().unwrap_or_default())?;
            MediaSource::Inline { media_type, data: data.clone() }
        }
        (None, Some(text)) => MediaSource::Text(text.clone()),
        (Some(_), Some(_)) | (None, None) => return None,
    };
    Some(Document {
        source,
        title: (!name.is_empty()).then(|| name.clone()),
        context: context.clone(),
        citations: citations.as_ref().map(|citations| citations.enabled),
        cache: None,
    })
}

/// Writes an image.
///
/// # Errors
/// Says what to do where Bedrock takes no such image.
pub(super) fn write_image(source: &MediaSource) -> Result<ImageBlock, &'static str> {
    let (format, source) =
        bytes(&IMAGES, source, "send it as image/png, image/jpeg, image/gif or image/webp")?;
    Ok(ImageBlock { format, source, extra: Extra::new() })
}

/// Writes sound.
///
/// # Errors
/// Says what to do where Bedrock takes no such sound.
pub(super) fn write_audio(source: &MediaSource) -> Result<AudioBlock, &'static str> {
    let (format, source) = bytes(&SOUNDS, source, "send it as audio/mpeg or audio/wav")?;
    Ok(AudioBlock { format, source, extra: Extra::new() })
}

fn bytes(
    known: &[(&str, &str)],
    source: &MediaSource,
    fix: &'static str,
) -> Result<(String, WireSource), &'static str> {
    match source {
        MediaSource::Inline { media_type, data } => {
            let format = format(known, media_type).ok_or(fix)?;
            Ok((format, WireSource { bytes: Some(data.clone()), extra: Extra::new() }))
        }
        MediaSource::Url(_) | MediaSource::File { .. } => Err(ELSEWHERE),
        MediaSource::Text(_) => Err("a text is neither image nor sound"),
    }
}

/// Writes a document.
///
/// # Errors
/// Says what to do where Bedrock takes no such document.
pub(super) fn write_document(document: &Document) -> Result<DocumentBlock, &'static str> {
    let Document { source, title, context, citations, cache: _ } = document;
    let (format, source) = match source {
        MediaSource::Inline { media_type, data } => {
            let fix = "send it as PDF, text, Markdown, HTML, CSV, or of Word or Excel";
            let format = format(&DOCUMENTS, media_type).ok_or(fix)?;
            let source = if format == "txt" {
                let text = STANDARD.decode(data).map_err(|_| "its data is not base64")?;
                let text = String::from_utf8(text).map_err(|_| "a plain text must be in UTF-8")?;
                DocumentSource { text: Some(text), ..DocumentSource::default() }
            } else {
                DocumentSource { bytes: Some(data.clone()), ..DocumentSource::default() }
            };
            (format, source)
        }
        MediaSource::Text(text) => {
            ("txt".to_owned(), DocumentSource { text: Some(text.clone()), ..DocumentSource::default() })
        }
        MediaSource::Url(_) | MediaSource::File { .. } => return Err(ELSEWHERE),
    };
    Ok(DocumentBlock {
        format: Some(format),
        name: name(title.as_deref()),
        source,
        context: context.clone(),
        citations: citations.map(|enabled| CitationsConfig { enabled, extra: Extra::new() }),
        extra: Extra::new(),
    })
}

/// The longest name that Bedrock takes.
const LONGEST_NAME: usize = 200;

/// A name as Bedrock takes it: letters and digits, hyphens, parentheses, brackets, and no two spaces together.
fn name(title: Option<&str>) -> String {
    let takes = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '(' | ')' | '[' | ']');
    let words = title.unwrap_or_default().split(|c: char| !takes(c)).filter(|word| !word.is_empty());
    let name: String = words.collect::<Vec<_>>().join(" ").chars().take(LONGEST_NAME).collect();
    if name.is_empty() { "document".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_named_as_bedrock_takes_it() {
        for (title, expected) in [
            (None, "document"),
            (Some("…"), "document"),
            (Some("Q3  report_final.v2.pdf"), "Q3 report final v2 pdf"),
            (Some("a (1) [x]-y"), "a (1) [x]-y"),
        ] {
            assert_eq!(name(title), expected);
        }
        assert_eq!(name(Some(&"x".repeat(300))).len(), 200);
    }

    #[test]
    fn what_lies_elsewhere_is_refused_with_the_fix() {
        let url = MediaSource::Url("https://x/y.png".into());
        assert_eq!(write_image(&url), Err(ELSEWHERE));
        let tiff = MediaSource::Inline { media_type: "image/tiff".into(), data: "AA==".into() };
        assert!(write_image(&tiff).expect_err("no such format").contains("image/png"));
        assert!(write_audio(&tiff).is_err());
    }
}
