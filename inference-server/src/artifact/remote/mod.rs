//! What comes over a network: resumable, in parallel ranges, verified, and kept in the cache under its digest.
//!
//! [`Origin`] says what is asked of whom; `lookup` asks what the file is, `download` brings the bytes into a `partial` file (`beginning` a
//! few of them alone), and this file decides what is fetched at all and gives it its final name. May not live here: knowledge of what is in
//! the file, and what is one kind of server's own.

mod beginning;
mod client;
mod download;
mod lookup;
mod partial;
mod proxy;
mod ranges;
mod redirect;
mod retry;

pub use proxy::{InvalidProxy, Proxies};
pub use retry::{Clock, FetchSettings, SystemClock};

use super::cache::{Cache, SourceRecord};
use super::origin::Origin;
use super::{
    Artifact, ArtifactError, ArtifactRequest, CacheError, CheckedAgainst, Digest, Enough, FetchError, Phase,
    Progress, ProgressSink, Resolver, verify,
};
use client::RemoteClient;
use download::Download;
use lookup::RemoteFile;
use partial::Partial;

/// How often a file may change under the download before we call the server broken.
const MAX_RESTARTS: u32 = 3;

/// One file of a server, wanted in the cache.
pub(super) struct Fetch<'a> {
    resolver: &'a Resolver,
    cache: &'a Cache,
    pinned: Option<&'a Digest>,
    name: String,
    origin: Origin,
    client: RemoteClient,
    progress: ProgressSink,
}

impl<'a> Fetch<'a> {
    pub(super) fn new(
        resolver: &'a Resolver,
        cache: &'a Cache,
        request: &'a ArtifactRequest,
        progress: ProgressSink,
    ) -> Result<Self, ArtifactError> {
        let name = request.source.to_string();
        let failed = |source| ArtifactError::Fetch { file: name.clone(), source };
        let origin = Origin::of(request).map_err(failed)?;
        let client = RemoteClient::new(&origin, &request.network, resolver.settings.stall, &resolver.clock)
            .map_err(failed)?;
        let pinned = request.digest.as_ref();
        Ok(Self { resolver, cache, pinned, name, origin, client, progress })
    }

    /// # Errors
    /// When neither the cache nor the server gives the file as asked for.
    pub(super) async fn run(&self) -> Result<Artifact, ArtifactError> {
        if let Some(found) = self.without_asking().await? {
            return Ok(found);
        }
        let clock = self.resolver.clock.as_ref();
        let _lock =
            self.cache.lock(&self.origin.key, clock, &self.progress).await.map_err(ArtifactError::Cache)?;
        if let Some(found) = self.without_asking().await? {
            return Ok(found);
        }
        let mut restarts = 0;
        loop {
            self.report(Phase::Lookup, 0, 0);
            let remote = match lookup::lookup(&self.client, self.resolver, &self.origin).await {
                Ok(remote) => remote,
                Err(error) => return self.last_known(error).await,
            };
            if let (Some(pinned), Some(offered)) = (self.pinned, &remote.digest) {
                verify::compare(&self.name, pinned, offered, CheckedAgainst::Pin)?;
            }
            if let Some(found) = self.already_here(&remote).await? {
                return Ok(found);
            }
            match self.download(&remote).await {
                Err(ArtifactError::Fetch { source: FetchError::Changed { .. }, .. })
                    if restarts < MAX_RESTARTS =>
                {
                    restarts += 1;
                    tracing::warn!(source = %self.name, "the file changed while it was fetched: starting again");
                }
                other => return other,
            }
        }
    }

    /// A pin, or a commit seen before, names bytes that can't have changed: nobody needs to be asked.
    async fn without_asking(&self) -> Result<Option<Artifact>, ArtifactError> {
        let record = self.cache.source(&self.origin.key);
        if let Some(pinned) = self.pinned {
            let commit = record.filter(|record| record.digest == *pinned).and_then(|record| record.commit);
            return self.cached(pinned, CheckedAgainst::Pin, commit).await;
        }
        match record {
            Some(record) if self.origin.is_fixed => {
                self.cached(&record.digest, CheckedAgainst::Source, record.commit).await
            }
            _ => Ok(None),
        }
    }

    /// The server can't be reached: a pod that restarts meanwhile keeps serving what it had.
    async fn last_known(&self, error: FetchError) -> Result<Artifact, ArtifactError> {
        if error.is_unreachable()
            && let Some(record) = self.cache.source(&self.origin.key)
            && self.pinned.is_none_or(|pinned| *pinned == record.digest)
            && let Some(found) = self.cached(&record.digest, CheckedAgainst::Source, record.commit).await?
        {
            tracing::warn!(source = %self.name, %error, "the server can't be reached: using the file of its last answer");
            return Ok(found);
        }
        Err(self.failed(error))
    }

    async fn already_here(&self, remote: &RemoteFile) -> Result<Option<Artifact>, ArtifactError> {
        let recorded = || {
            let record = self.cache.source(&self.origin.key)?;
            (record.etag.is_some() && record.etag == remote.etag).then_some(record.digest)
        };
        let Some(digest) = remote.digest.clone().or_else(recorded) else { return Ok(None) };
        let against = self.against(remote);
        let found = self.cached(&digest, against, remote.commit.clone()).await?;
        if found.is_some() {
            self.record(remote, digest).await?;
        }
        Ok(found)
    }

    /// The blob with `digest`, hashed again: a cache is a folder that others can write to.
    async fn cached(
        &self,
        digest: &Digest,
        checked_against: CheckedAgainst,
        commit: Option<String>,
    ) -> Result<Option<Artifact>, ArtifactError> {
        let Some((path, bytes)) = self.cache.blob(digest) else { return Ok(None) };
        if verify::digest(&path, self.progress.clone()).await? != *digest {
            tracing::warn!(path = %path.display(), "a cached file was damaged: fetching it again");
            self.cache.discard(digest).map_err(ArtifactError::Cache)?;
            return Ok(None);
        }
        tracing::info!(source = %self.name, %digest, bytes, checked_against = checked_against.in_words(), "found in the cache");
        let digest = Some(digest.clone());
        Ok(Some(Artifact {
            path,
            further: Vec::new(),
            bytes,
            digest,
            checked_against,
            commit,
            fetched_bytes: 0,
        }))
    }

    async fn download(&self, remote: &RemoteFile) -> Result<Artifact, ArtifactError> {
        let failed = |error| self.failed(FetchError::Write(error));
        let partial = Partial::open(self.cache.partial(&self.origin.key), remote).await.map_err(failed)?;
        self.cache.ensure_space(partial.missing_bytes()).map_err(ArtifactError::Cache)?;
        tracing::info!(source = %self.name, revision = self.origin.revision, bytes = remote.bytes, kept = partial.done_bytes(), "fetching");
        let download =
            Download::new(&self.client, self.resolver, (&self.origin, &remote.url), &partial, &self.progress);
        let fetched_bytes = match download.run().await {
            Ok(bytes) => bytes,
            Err(error) => {
                if matches!(error, FetchError::Changed { .. }) {
                    partial.remove().await.map_err(failed)?;
                }
                return Err(self.failed(error));
            }
        };

        let actual = verify::digest(partial.path(), self.progress.clone()).await?;
        let checked_against = self.against(remote);
        if let Some(expected) = self.pinned.or(remote.digest.as_ref())
            && let Err(mismatch) = verify::compare(&self.name, expected, &actual, checked_against)
        {
            // Kept, it would be resumed, and be wrong again for ever.
            partial.remove().await.map_err(failed)?;
            return Err(mismatch);
        }
        let (path, bytes) = self.keep(partial, &actual).await.map_err(ArtifactError::Cache)?;
        self.record(remote, actual.clone()).await?;
        tracing::info!(source = %self.name, digest = %actual, bytes, checked_against = checked_against.in_words(), "fetched");
        let (digest, commit) = (Some(actual), remote.commit.clone());
        Ok(Artifact { path, further: Vec::new(), bytes, digest, checked_against, commit, fetched_bytes })
    }

    async fn keep(&self, partial: Partial, digest: &Digest) -> Result<(std::path::PathBuf, u64), CacheError> {
        let kept = self.cache.keep(partial.path().to_owned(), digest).await?;
        partial.remove_state().await?;
        Ok(kept)
    }

    async fn record(&self, remote: &RemoteFile, digest: Digest) -> Result<(), ArtifactError> {
        let record = SourceRecord { digest, etag: remote.etag.clone(), commit: remote.commit.clone() };
        if self.cache.source(&self.origin.key).as_ref() == Some(&record) {
            return Ok(());
        }
        self.cache.record_source(&self.origin.key, record).await.map_err(ArtifactError::Cache)
    }

    fn against(&self, remote: &RemoteFile) -> CheckedAgainst {
        match (self.pinned, &remote.digest) {
            (Some(_), _) => CheckedAgainst::Pin,
            (None, Some(_)) => CheckedAgainst::Source,
            (None, None) => CheckedAgainst::Nothing,
        }
    }

    fn failed(&self, source: FetchError) -> ArtifactError {
        match source {
            FetchError::Write(error) => ArtifactError::Cache(error),
            source => ArtifactError::Fetch { file: self.name.clone(), source },
        }
    }

    fn report(&self, phase: Phase, bytes: u64, total: u64) {
        (self.progress)(Progress { phase, bytes, total });
    }
}
