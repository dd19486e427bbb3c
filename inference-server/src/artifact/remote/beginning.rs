//! The first bytes of a file, for whoever only looks at it.

use http::header::{CONTENT_RANGE, RANGE};
use http::{HeaderMap, Method, StatusCode};

use super::client::Follow;
use super::download::{content_range, value};
use super::lookup::{self, RemoteFile};
use super::retry::retrying;
use super::{Artifact, ArtifactError, CheckedAgainst, Enough, Fetch, FetchError, verify};

/// Bytes that are asked for first: the header of most models, vocabulary included, has fewer.
const FIRST: u64 = 16 << 20;
/// How many times as many are asked for next.
const GROWTH: u64 = 4;
/// The most: no header that is served has more.
const MOST: u64 = 256 << 20;

impl Fetch<'_> {
    /// # Errors
    /// When the server does not give the file as asked for.
    pub(in super::super) async fn beginning(&self, enough: &Enough) -> Result<Artifact, ArtifactError> {
        let remote = lookup::lookup(&self.client, self.resolver, &self.origin).await;
        let remote = remote.map_err(|error| self.failed(error))?;
        if let (Some(pinned), Some(offered)) = (self.pinned, &remote.digest) {
            verify::compare(&self.name, pinned, offered, CheckedAgainst::Pin)?;
        }
        let mut wanted = FIRST.min(remote.bytes);
        let beginning = loop {
            let resolver = self.resolver;
            let fetched =
                retrying(&resolver.settings, resolver.clock.as_ref(), || self.first(&remote, wanted));
            let beginning = fetched.await.map_err(|error| self.failed(error))?;
            if wanted == remote.bytes || wanted >= MOST || enough(&beginning, remote.bytes) {
                break beginning;
            }
            wanted = wanted.saturating_mul(GROWTH).min(MOST).min(remote.bytes);
        };
        let (bytes, fetched_bytes) = (remote.bytes, beginning.len() as u64);
        tracing::info!(source = %self.name, revision = self.origin.revision, bytes, fetched_bytes, "looked at");
        let path = self.cache.keep_beginning(&self.origin.key, beginning, bytes).await;
        Ok(Artifact {
            path: path.map_err(ArtifactError::Cache)?,
            further: Vec::new(),
            bytes,
            digest: None,
            checked_against: CheckedAgainst::Nothing,
            commit: remote.commit,
            fetched_bytes,
        })
    }

    /// The first `wanted` bytes, also from a server that ignores ranges.
    async fn first(&self, remote: &RemoteFile, wanted: u64) -> Result<Vec<u8>, FetchError> {
        let mut headers = HeaderMap::new();
        if wanted > 0 {
            headers.insert(RANGE, value(&format!("bytes=0-{}", wanted - 1))?);
        }
        let mut answer = self.client.send(Method::GET, &remote.url, &headers, Follow::Anywhere).await?;
        let changed = || FetchError::Changed { expected: remote.bytes };
        match answer.status {
            StatusCode::OK => {}
            StatusCode::PARTIAL_CONTENT => {
                let named = answer.header(CONTENT_RANGE.as_str()).and_then(content_range);
                let is_it = |(start, end, total): (u64, u64, Option<u64>)| {
                    start == 0 && end == wanted && total.is_none_or(|total| total == remote.bytes)
                };
                if !named.is_some_and(is_it) {
                    return Err(changed());
                }
            }
            _ => return Err(self.client.refusal(&answer, &self.origin.revision)),
        }
        let mut beginning = Vec::new();
        while (beginning.len() as u64) < wanted {
            let Some(data) = answer.next().await? else {
                let got = beginning.len() as u64;
                return Err(FetchError::Short { host: answer.host(), got, wanted });
            };
            let left = usize::try_from(wanted - beginning.len() as u64).unwrap_or(usize::MAX);
            beginning.extend_from_slice(data.get(..left).unwrap_or(&data));
        }
        Ok(beginning)
    }
}
