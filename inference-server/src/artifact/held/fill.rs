use std::fs::OpenOptions;

use serde::Serialize;

use super::super::{Artifact, ArtifactRequest, Digest, ProgressSink, Resolver, silent};
use super::{Entry, EntryName, HeldError, Named, cache, entry_lock, entry_path, list_of_entries, open};

/// How often what was fetched may be gone before its entry is written.
const MOST_TRIES: u32 = 3;

/// What is held now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Filled {
    /// Digest of the file; several files have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes that came over the network this time.
    pub fetched_bytes: u64,
}

impl Resolver {
    /// Fetches what `request` means into its cache folder, where `name` stands for it from then on.
    ///
    /// # Guarantees
    /// The entry is written once every file is whole and verified. Dropping the future stops the work; what was fetched is
    /// kept for the next try. Several processes may do the same at once.
    ///
    /// # Errors
    /// [`HeldError`], naming the field to fix where a field is at fault.
    pub async fn fill(
        &self,
        request: ArtifactRequest,
        name: &EntryName,
        progress: ProgressSink,
    ) -> Result<Filled, HeldError> {
        let folder = request.cache_folder.clone();
        let cache = open(&folder).await?;
        let named = Named::of(&request);
        let mut fetched_bytes: u64 = 0;
        for _ in 0..MOST_TRIES {
            let artifact = self.resolve(request.clone(), progress.clone()).await?;
            fetched_bytes = fetched_bytes.saturating_add(artifact.fetched_bytes);
            let entry = Entry { named: named.clone(), blobs: blobs(&artifact)? };
            let lock = cache.lock(&list_of_entries(), self.clock.as_ref(), &silent()).await;
            let _lock = lock.map_err(HeldError::Cache)?;
            // Whoever made room may not have known of this entry.
            if entry.blobs.iter().all(|digest| cache.blob(digest).is_some()) {
                let path = entry_lock(&folder, name);
                let lock = OpenOptions::new().create(true).append(true).open(&path);
                lock.map_err(cache::io_error("making", &path)).map_err(HeldError::Cache)?;
                cache::write_json(&entry_path(&folder, name), &entry).map_err(HeldError::Cache)?;
                tracing::info!(%name, source = %entry.named, bytes = artifact.bytes, "held");
                let digest = artifact.digest.as_ref().map(ToString::to_string);
                return Ok(Filled { digest, bytes: artifact.bytes, fetched_bytes });
            }
            tracing::warn!(%name, "what was fetched is gone again: fetching it once more");
        }
        Err(HeldError::TakenOut(MOST_TRIES))
    }
}

/// The blobs that `artifact` is made of.
fn blobs(artifact: &Artifact) -> Result<Vec<Digest>, HeldError> {
    let paths = std::iter::once(&artifact.path).chain(&artifact.further);
    paths
        .map(|path| {
            let named = path.parent().and_then(|blob| blob.file_name()?.to_str()?.parse().ok());
            named.ok_or_else(|| HeldError::NotABlob { path: path.clone() })
        })
        .collect()
}
