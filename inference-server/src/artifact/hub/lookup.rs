//! Asking the hub what a file is, before any byte of it is wanted.

use http::{HeaderMap, Method};
use url::Url;

use super::super::{Digest, Resolver};
use super::FetchError;
use super::client::{Answer, Follow, HubClient};
use super::retry::retrying;

/// What the hub says of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RemoteFile {
    pub bytes: u64,
    /// Identity of the content; the digest for a file in large-file storage.
    pub etag: Option<String>,
    /// SHA-256, for a file in large-file storage.
    pub digest: Option<Digest>,
    pub commit: Option<String>,
}

/// `{endpoint}/{org}/{repo}/resolve/{revision}/{file}`, each part escaped.
pub(super) fn address(
    endpoint: &Url,
    repository: &str,
    revision: &str,
    file: &str,
) -> Result<Url, FetchError> {
    let refused = || FetchError::Endpoint(endpoint.to_string());
    if !matches!(endpoint.scheme(), "http" | "https") || !endpoint.has_host() {
        return Err(refused());
    }
    if file.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(FetchError::NoSuchFile);
    }
    let mut url = endpoint.clone();
    url.path_segments_mut()
        .map_err(|()| refused())?
        .pop_if_empty()
        .extend(repository.split('/'))
        .push("resolve")
        .push(revision)
        .extend(file.split('/'));
    Ok(url)
}

/// Asks with HEAD. A redirect to storage is not followed: the hub's own answer carries what we ask for.
pub(super) async fn lookup(
    client: &HubClient,
    resolver: &Resolver,
    url: &Url,
    revision: &str,
) -> Result<RemoteFile, FetchError> {
    let nothing = HeaderMap::new();
    retrying(&resolver.settings, resolver.clock.as_ref(), || async {
        let answer = client.send(Method::HEAD, url, &nothing, Follow::SameOrigin).await?;
        if answer.status.is_success() {
            return read(&answer, "content-length");
        }
        if !answer.status.is_redirection() {
            return Err(client.refusal(&answer, revision));
        }
        if answer.header("x-linked-size").is_some() {
            return read(&answer, "x-linked-size");
        }
        // A mirror that sends everything elsewhere and says nothing itself.
        let answer = client.send(Method::HEAD, url, &nothing, Follow::Anywhere).await?;
        if answer.status.is_success() {
            read(&answer, "content-length")
        } else {
            Err(client.refusal(&answer, revision))
        }
    })
    .await
}

fn read(answer: &Answer, length: &str) -> Result<RemoteFile, FetchError> {
    let linked = answer.header("x-linked-size").and_then(|size| size.parse().ok());
    let bytes = linked.or_else(|| answer.header(length)?.parse().ok());
    let bytes = bytes.ok_or_else(|| FetchError::Protocol {
        host: answer.host(),
        what: "it names no length for the file".to_owned(),
    })?;
    let etag = answer.header("x-linked-etag").or_else(|| answer.header("etag"));
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
    fn an_address_keeps_every_part_in_its_place() {
        let hub = Url::parse("https://hub.example/mirror/").unwrap();
        let url = address(&hub, "org/repo", "refs/pr/7", "sub folder/m?x#y.gguf").unwrap();
        assert_eq!(
            url.as_str(),
            "https://hub.example/mirror/org/repo/resolve/refs%2Fpr%2F7/sub%20folder/m%3Fx%23y.gguf"
        );
        assert!(address(&hub, "org/repo", "main", "../x").is_err());
        assert!(address(&Url::parse("file:///x").unwrap(), "o/r", "main", "f").is_err());
    }

    #[test]
    fn an_etag_is_compared_without_its_dress() {
        assert_eq!(bare("\"abc\""), "abc");
        assert_eq!(bare("W/\"abc\""), "abc");
        assert_eq!(bare("abc"), "abc");
    }
}
