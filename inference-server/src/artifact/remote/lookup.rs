//! Asking a server what a file is, before any byte of it is wanted.

use http::header::{CONTENT_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, Method};

use super::super::origin::Origin;
use super::super::{Digest, Resolver};
use super::FetchError;
use super::client::{Answer, Follow, RemoteClient};
use super::download::content_range;
use super::retry::retrying;

/// What a server says of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RemoteFile {
    pub bytes: u64,
    /// Identity of the content; the digest for a file in large-file storage.
    pub etag: Option<String>,
    /// SHA-256, for a file in large-file storage.
    pub digest: Option<Digest>,
    pub commit: Option<String>,
}

/// Asks with HEAD. A redirect to storage is not followed where the server's own answer carries what we ask for.
pub(super) async fn lookup(
    client: &RemoteClient,
    resolver: &Resolver,
    origin: &Origin,
) -> Result<RemoteFile, FetchError> {
    let (url, nothing) = (&origin.url, HeaderMap::new());
    retrying(&resolver.settings, resolver.clock.as_ref(), || async {
        let answer = client.send(Method::HEAD, url, &nothing, Follow::SameOrigin).await?;
        if answer.status.is_success() {
            return read(&answer, "content-length");
        }
        // Servers of scripts and proxies that know GET alone.
        if matches!(answer.status.as_u16(), 405 | 501) {
            return by_first_byte(client, origin).await;
        }
        if !answer.status.is_redirection() {
            return Err(client.refusal(&answer, &origin.revision));
        }
        if answer.header("x-linked-size").is_some() {
            return read(&answer, "x-linked-size");
        }
        // A mirror that sends everything elsewhere and says nothing itself.
        let answer = client.send(Method::HEAD, url, &nothing, Follow::Anywhere).await?;
        if answer.status.is_success() {
            read(&answer, "content-length")
        } else {
            Err(client.refusal(&answer, &origin.revision))
        }
    })
    .await
}

/// The answer to a range of one byte names the length of the whole.
async fn by_first_byte(client: &RemoteClient, origin: &Origin) -> Result<RemoteFile, FetchError> {
    let headers = HeaderMap::from_iter([(RANGE, HeaderValue::from_static("bytes=0-0"))]);
    let answer = client.send(Method::GET, &origin.url, &headers, Follow::Anywhere).await?;
    match answer.status.as_u16() {
        200 => read(&answer, "content-length"),
        206 => {
            let total = answer.header(CONTENT_RANGE.as_str()).and_then(content_range);
            described(&answer, total.and_then(|(_, _, total)| total))
        }
        _ => Err(client.refusal(&answer, &origin.revision)),
    }
}

fn read(answer: &Answer, length: &str) -> Result<RemoteFile, FetchError> {
    let linked = answer.header("x-linked-size").and_then(|size| size.parse().ok());
    described(answer, linked.or_else(|| answer.header(length)?.parse().ok()))
}

fn described(answer: &Answer, bytes: Option<u64>) -> Result<RemoteFile, FetchError> {
    let bytes = bytes.ok_or_else(|| FetchError::Protocol {
        host: answer.host(),
        what: "it names no length for the file".to_owned(),
    })?;
    let etag = answer.header("x-linked-etag").or_else(|| answer.identity());
    let digest = answer.header("x-linked-etag").and_then(|etag| bare(etag).parse().ok());
    let commit = answer.header("x-repo-commit").map(str::to_owned);
    Ok(RemoteFile { bytes, etag: etag.map(|etag| bare(etag).to_owned()), digest, commit })
}

/// An entity tag without its quotes and weakness mark.
fn bare(etag: &str) -> &str {
    etag.trim().trim_start_matches("W/").trim_matches('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_is_compared_without_its_dress() {
        assert_eq!(bare("\"abc\""), "abc");
        assert_eq!(bare("W/\"abc\""), "abc");
        assert_eq!(bare("abc"), "abc");
    }
}
