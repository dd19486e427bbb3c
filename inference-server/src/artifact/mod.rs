//! Model sources: from what a person wrote (`file:`, `pvc:`, `hf:`, `https:`, `s3:`,
//! `gs:`, `oci:`) to a verified file on this machine.
//!
//! Lives here: fetching, the cache, digests. May not live here: anything that reads what is inside a model
//! file; [`crate::gguf`] does, and only after this returned. A file under its final name is always whole and
//! always carries the digest that it was checked against.
//!
//! The cache, made so that several processes may share it:
//!
//! ```text
//! blobs/<digest>/content, complete.json    a verified file; the marker is written last
//! sources/<key>.json                       which digest a source and revision meant when last asked
//! partial/<key>.part, <key>.json           an interrupted download and what of it is there
//! beginnings/<key>                         as long as a file, and empty but for its beginning
//! locks/<key>.lock                         held by the process that fetches
//! ```
//!
//! What a ModelCache's claim has beside that is in `held`.

mod cache;
mod credentials;
mod digest;
mod error;
mod held;
mod local;
mod origin;
mod parts;
mod progress;
mod remote;
mod request;
mod signature;
mod verify;

pub use credentials::{AccessKey, Credentials, InvalidCredentials, Login, ServiceAccount};
pub use digest::{Digest, InvalidDigest};
pub use error::{ArtifactError, CacheError, FetchError};
pub use held::{EntryName, Evicted, Filled, HeldError, InvalidEntryName, Reader, evict};
pub use origin::Kind;
pub use progress::{Phase, Progress, ProgressSink, silent};
pub use remote::{Clock, FetchSettings, InvalidProxy, Proxies, SystemClock};
pub use request::{
    Artifact, ArtifactRequest, CheckedAgainst, HubAccess, InvalidToken, Network, PUBLIC_HUB, StorageAccess,
    Token,
};
pub use signature::{InvalidKey, PublicKey, Signature, SignatureError};

use std::sync::Arc;

use weighbridge_crds::source::Source;

use cache::Cache;
use remote::Fetch;

/// Turns requests into files; one for a process is enough.
#[derive(Clone)]
pub struct Resolver {
    settings: FetchSettings,
    clock: Arc<dyn Clock>,
}

impl Default for Resolver {
    fn default() -> Self {
        Self::new(FetchSettings::default(), Arc::new(SystemClock))
    }
}

impl Resolver {
    /// A resolver with its own bounds and its own way to wait.
    pub fn new(settings: FetchSettings, clock: Arc<dyn Clock>) -> Self {
        Self { settings, clock }
    }

    /// The file that `request` means: found or fetched, and verified.
    ///
    /// # Guarantees
    /// The file is regular, whole, has the pinned digest where one is pinned, and is signed where that is asked for; nothing of it is mapped
    /// before that. Dropping the future stops the work; what was fetched is kept for the next try.
    ///
    /// # Errors
    /// [`ArtifactError`], naming the field to fix where a field is at fault.
    pub async fn resolve(
        &self,
        request: ArtifactRequest,
        progress: ProgressSink,
    ) -> Result<Artifact, ArtifactError> {
        let found = self.found(request.clone(), progress.clone()).await?;
        signature::check(self, &request, &found, &progress).await?;
        Ok(found)
    }

    /// The same, whoever signed it.
    async fn found(
        &self,
        request: ArtifactRequest,
        progress: ProgressSink,
    ) -> Result<Artifact, ArtifactError> {
        match &request.source {
            Source::File { path } => local::file(path, request.digest.as_ref(), progress).await,
            Source::Claim { claim, file } => local::claim(&request, claim, file, progress).await,
            source @ (Source::Hub { .. }
            | Source::Web { .. }
            | Source::S3 { .. }
            | Source::Gcs { .. }
            | Source::Registry { .. }) => {
                let cache = Cache::open(&request.cache_folder).await?;
                let Some(name) = parts::of(source.file(), request.digest.as_ref())? else {
                    return Fetch::new(self, &cache, &request, progress)?.run().await;
                };
                parts::fetch(self, &cache, &request, &name, &progress).await
            }
        }
    }

    /// The file that `request` means, of which a server gives no more than a beginning that is `enough`: the rest of what comes back
    /// is a hole. No digest is compared, so that it is for looking at and never for serving.
    ///
    /// # Errors
    /// [`ArtifactError`], naming the field to fix where a field is at fault.
    pub async fn beginning(
        &self,
        request: ArtifactRequest,
        enough: &Enough,
    ) -> Result<Artifact, ArtifactError> {
        match &request.source {
            Source::File { path } => local::file(path, None, silent()).await,
            Source::Claim { claim, file } => {
                let unpinned = ArtifactRequest { digest: None, ..request.clone() };
                local::claim(&unpinned, claim, file, silent()).await
            }
            source @ (Source::Hub { .. }
            | Source::Web { .. }
            | Source::S3 { .. }
            | Source::Gcs { .. }
            | Source::Registry { .. }) => {
                let cache = Cache::open(&request.cache_folder).await?;
                match parts::of(source.file(), request.digest.as_ref())? {
                    None => Fetch::new(self, &cache, &request, silent())?.beginning(enough).await,
                    Some(name) => parts::beginnings(self, &cache, &request, &name, enough).await,
                }
            }
        }
    }
}

/// Whether this beginning of a file of so many bytes holds all that is wanted of it.
pub type Enough = dyn Fn(&[u8], u64) -> bool + Send + Sync;

/// [`Resolver::resolve`] with the usual bounds.
///
/// # Errors
/// [`ArtifactError`], naming the field to fix where a field is at fault.
pub async fn resolve(request: ArtifactRequest, progress: ProgressSink) -> Result<Artifact, ArtifactError> {
    Resolver::default().resolve(request, progress).await
}

/// [`Resolver::beginning`] with the usual bounds.
///
/// # Errors
/// [`ArtifactError`], naming the field to fix where a field is at fault.
pub async fn beginning(request: ArtifactRequest, enough: &Enough) -> Result<Artifact, ArtifactError> {
    Resolver::default().beginning(request, enough).await
}
