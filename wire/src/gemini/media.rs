//! Images, sound and documents, from and to `inlineData` and `fileData`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::content::{Blob, FileData};
use super::service::Service;
use crate::canonical::{Audio, Document, Image, MediaSource, Part};

/// What kind of medium a media type names; other dialects have no video.
enum Kind {
    Image,
    Audio,
    Document,
}

fn kind(media_type: &str) -> Option<Kind> {
    match media_type.split('/').next() {
        Some("image") => Some(Kind::Image),
        Some("audio") => Some(Kind::Audio),
        Some("text") => Some(Kind::Document),
        _ if media_type == "application/pdf" => Some(Kind::Document),
        _ => None,
    }
}

fn medium(kind: Kind, source: MediaSource, title: Option<String>) -> Part {
    match kind {
        Kind::Image => Part::Image(Image { source, detail: None, cache: None }),
        Kind::Audio => Part::Audio(Audio { source }),
        Kind::Document => {
            Part::Document(Document { source, title, context: None, citations: None, cache: None })
        }
    }
}

/// The part that a blob is; `None` where no other dialect has its like. Clients that think of bytes and not of base64
/// write the URL-safe alphabet, which protobuf takes and the other dialects do not.
pub(super) fn read_blob(blob: &Blob) -> Option<Part> {
    let Blob { mime_type, data, display_name, extra } = blob;
    if !extra.is_empty() {
        return None;
    }
    let source = MediaSource::Inline { media_type: mime_type.clone(), data: standard_base64(data) };
    Some(medium(kind(mime_type)?, source, display_name.clone()))
}

/// The part that a file on the web is; `None` for what is stored at Google, which only Google can read.
pub(super) fn read_file(file: &FileData) -> Option<Part> {
    let FileData { mime_type, file_uri, display_name, extra } = file;
    let web = file_uri.starts_with("http://") || file_uri.starts_with("https://");
    if !web || !extra.is_empty() || file_uri.starts_with("https://generativelanguage.googleapis.com/") {
        return None;
    }
    // The type has to be said again on the way out, so it must be one that the address itself says.
    let said = mime_type.as_deref().is_none_or(|said| media_type_of(file_uri) == Some(said));
    let media_type = media_type_of(file_uri).filter(|_| said)?;
    Some(medium(kind(media_type)?, MediaSource::Url(file_uri.clone()), display_name.clone()))
}

/// A medium as this dialect writes it.
pub(super) enum Written {
    /// `inlineData`.
    Inline(Blob),
    /// `fileData`.
    File(FileData),
}

/// Writes a medium, or says what to do instead.
pub(super) fn write(
    source: &MediaSource,
    title: Option<&str>,
    service: Service,
) -> Result<Written, &'static str> {
    let display_name = title.filter(|_| service.takes_display_names()).map(str::to_owned);
    let blob = |mime_type: &str, data: String| {
        let display_name = display_name.clone();
        Written::Inline(Blob { mime_type: mime_type.to_owned(), data, display_name, ..Blob::default() })
    };
    let file = |uri: &str, mime_type: Option<&str>| {
        Written::File(FileData {
            mime_type: mime_type.map(str::to_owned),
            file_uri: uri.to_owned(),
            display_name: display_name.clone(),
            ..FileData::default()
        })
    };
    match source {
        MediaSource::Inline { media_type, data } => Ok(blob(media_type, data.clone())),
        MediaSource::Text(text) => Ok(blob("text/plain", STANDARD.encode(text))),
        MediaSource::Url(url) => match media_type_of(url) {
            None if service.needs_media_type() => {
                Err("Vertex must be told the media type: send it as base64 with its type")
            }
            media_type => Ok(file(url, media_type)),
        },
        MediaSource::File { provider: crate::canonical::Provider::Gemini, id } => Ok(file(id, None)),
        MediaSource::File {
            provider:
                crate::canonical::Provider::OpenAi
                | crate::canonical::Provider::Anthropic
                | crate::canonical::Provider::Bedrock,
            id: _,
        } => Err("the file is kept by another provider: send it as base64"),
    }
}

/// The media type that an address's ending names.
fn media_type_of(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let (_, ending) = path.rsplit('/').next()?.rsplit_once('.')?;
    Some(match ending.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "heic" => "image/heic",
        "heif" => "image/heif",
        "pdf" => "application/pdf",
        "txt" => "text/plain",
        "wav" => "audio/wav",
        "mp3" => "audio/mp3",
        "flac" => "audio/flac",
        "ogg" => "audio/ogg",
        _ => return None,
    })
}

fn standard_base64(data: &str) -> String {
    let mut standard = data.replace('-', "+").replace('_', "/");
    while !standard.len().is_multiple_of(4) {
        standard.push('=');
    }
    standard
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(mime_type: &str) -> Blob {
        Blob { mime_type: mime_type.into(), data: "a-_".into(), ..Blob::default() }
    }

    #[test]
    fn a_media_type_decides_the_kind() {
        assert!(matches!(read_blob(&blob("image/png")), Some(Part::Image(_))));
        assert!(matches!(read_blob(&blob("audio/wav")), Some(Part::Audio(_))));
        assert!(matches!(read_blob(&blob("application/pdf")), Some(Part::Document(_))));
        assert!(read_blob(&blob("video/mp4")).is_none());
    }

    /// Google's Python client writes bytes in the URL-safe alphabet; OpenAI and Anthropic refuse it.
    #[test]
    fn url_safe_base64_becomes_standard() {
        let Some(Part::Image(image)) = read_blob(&blob("image/png")) else { panic!("an image") };
        assert_eq!(image.source.to_url().as_deref(), Some("data:image/png;base64,a+/="));
    }

    #[test]
    fn only_what_the_web_holds_can_be_fetched_by_others() {
        let file = |uri: &str, mime_type: &str| FileData {
            mime_type: Some(mime_type.into()),
            file_uri: uri.into(),
            ..FileData::default()
        };
        assert!(matches!(read_file(&file("https://a/b.png?x=1", "image/png")), Some(Part::Image(_))));
        for uri in ["gs://bucket/b.png", "https://generativelanguage.googleapis.com/v1beta/files/x.png"] {
            assert!(read_file(&file(uri, "image/png")).is_none(), "{uri}");
        }
        assert!(read_file(&file("https://a/b.png", "image/webp")).is_none());
    }

    #[test]
    fn vertex_must_know_a_files_type() {
        let url = MediaSource::Url("https://a/picture".into());
        assert!(write(&url, None, Service::Vertex).is_err());
        let Ok(Written::File(file)) = write(&url, None, Service::GeminiApi) else { panic!("a file") };
        assert_eq!((file.file_uri.as_str(), file.mime_type), ("https://a/picture", None));
    }
}
