//! Asking a server what a file is, before any byte of it is wanted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, CONTENT_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, Method};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::super::origin::Origin;
use super::super::origin::registry::{self, Artefact, Wanted};
use super::super::{Digest, Resolver};
use super::FetchError;
use super::client::{Answer, Follow, RemoteClient};
use super::download::content_range;
use super::retry::retrying;

/// Bytes of a manifest: registries themselves take no more than 4 MiB.
const MOST_MANIFEST: usize = 4 << 20;

/// What a server says of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RemoteFile {
    /// Where its bytes are.
    pub url: Url,
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
    let url = &origin.url;
    retrying(&resolver.settings, resolver.clock.as_ref(), || async {
        if let Some(artefact) = &origin.artefact {
            return of_artefact(client, origin, artefact).await;
        }
        let answer = client.send(Method::HEAD, url, &origin.ask, Follow::SameOrigin).await?;
        if answer.status.is_success() {
            return read(&answer, url, "content-length");
        }
        // Servers of scripts and proxies that know GET alone.
        if matches!(answer.status.as_u16(), 405 | 501) {
            return by_first_byte(client, origin).await;
        }
        if !answer.status.is_redirection() {
            return Err(client.refusal(&answer, &origin.revision));
        }
        if answer.header("x-linked-size").is_some() {
            return read(&answer, url, "x-linked-size");
        }
        // A mirror that sends everything elsewhere and says nothing itself.
        let answer = client.send(Method::HEAD, url, &HeaderMap::new(), Follow::Anywhere).await?;
        if answer.status.is_success() {
            read(&answer, url, "content-length")
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
        200 => read(&answer, &origin.url, "content-length"),
        206 => {
            let total = answer.header(CONTENT_RANGE.as_str()).and_then(content_range);
            described(&answer, &origin.url, total.and_then(|(_, _, total)| total))
        }
        _ => Err(client.refusal(&answer, &origin.revision)),
    }
}

fn read(answer: &Answer, url: &Url, length: &str) -> Result<RemoteFile, FetchError> {
    let linked = answer.header("x-linked-size").and_then(|size| size.parse().ok());
    described(answer, url, linked.or_else(|| answer.header(length)?.parse().ok()))
}

fn described(answer: &Answer, url: &Url, bytes: Option<u64>) -> Result<RemoteFile, FetchError> {
    let bytes = bytes.ok_or_else(|| FetchError::Protocol {
        host: answer.host(),
        what: "it names no length for the file".to_owned(),
    })?;
    let etag = answer.header("x-linked-etag").or_else(|| answer.identity());
    let digest = answer.header("x-linked-etag").and_then(|etag| bare(etag).parse().ok());
    let digest = digest.or_else(|| checksum(answer.header("x-amz-checksum-sha256")?));
    let commit = answer.header("x-repo-commit").map(str::to_owned);
    Ok(RemoteFile { url: url.clone(), bytes, etag: etag.map(|etag| bare(etag).to_owned()), digest, commit })
}

/// The SHA-256 that S3 keeps of an object; one of an object in parts is of their digests, and says how many.
fn checksum(encoded: &str) -> Option<Digest> {
    let hash = STANDARD.decode(encoded).ok()?;
    (hash.len() == 32).then(|| Digest::of_hash(&hash))
}

/// Asks a registry for the manifest, and the manifest for the file.
async fn of_artefact(
    client: &RemoteClient,
    origin: &Origin,
    artefact: &Artefact,
) -> Result<RemoteFile, FetchError> {
    let accept = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(registry::ACCEPTED))]);
    let mut reference = artefact.reference.clone();
    // An index lists manifests, and no more than one is between it and the file.
    for _ in 0..2 {
        let url = artefact.manifest(&reference)?;
        let mut answer = client.send(Method::GET, &url, &accept, Follow::Anywhere).await?;
        if !answer.status.is_success() {
            return Err(client.refusal(&answer, &origin.revision));
        }
        let manifest = answer.whole(MOST_MANIFEST).await?;
        let actual = Digest::of_hash(&Sha256::digest(&manifest));
        // A tag is the registry's to say; it says of which digest that is, or leaves it.
        let named = answer.header("docker-content-digest").and_then(|digest| digest.parse::<Digest>().ok());
        for expected in reference.parse::<Digest>().ok().into_iter().chain(named) {
            if expected != actual {
                return Err(FetchError::Manifest { expected, actual });
            }
        }
        match registry::chosen(&manifest, artefact.file.as_deref()).map_err(FetchError::Artefact)? {
            Wanted::Manifest(digest) => reference = digest,
            Wanted::Layer(layer) => {
                let digest: Digest = layer.digest.parse().map_err(|_| {
                    FetchError::Artefact(format!(
                        "the artefact's file goes by {:?}, which is no sha256",
                        layer.digest
                    ))
                })?;
                return Ok(RemoteFile {
                    url: artefact.blob(&layer.digest)?,
                    bytes: layer.size,
                    etag: Some(layer.digest),
                    digest: Some(digest),
                    commit: Some(actual.to_string()),
                });
            }
        }
    }
    Err(FetchError::Artefact(
        "the reference names an index of indexes: write the digest of a manifest".to_owned(),
    ))
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
