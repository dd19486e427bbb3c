use std::fs::{File, TryLockError};

use super::super::{
    Artifact, ArtifactRequest, CheckedAgainst, ProgressSink, Resolver, parts::joined, verify,
};
use super::{Cache, Entry, EntryName, HeldError, Named, entry_lock};

/// Keeps an entry where it is, as far as the file system has locks: nobody takes it out meanwhile.
#[derive(Debug)]
pub struct Reader(#[allow(dead_code, reason = "held, not read")] Option<File>);

impl Resolver {
    /// The files of the entry `name`, verified, with nothing fetched and nothing written.
    ///
    /// # Errors
    /// [`HeldError`]: there is no such entry, it is of another source than `request` names, or it is damaged.
    pub async fn held(
        &self,
        request: &ArtifactRequest,
        name: &EntryName,
        progress: ProgressSink,
    ) -> Result<(Artifact, Reader), HeldError> {
        let folder = &request.cache_folder;
        let wanted = Named::of(request);
        let missing = || HeldError::Missing {
            folder: folder.clone(),
            name: name.clone(),
            source_named: wanted.to_string(),
        };
        let reader = reader(request, name).ok_or_else(missing)?;
        let entry = Entry::read(folder, name).ok_or_else(missing)?;
        if entry.named != wanted {
            let (held, wanted) = (entry.named.to_string(), wanted.to_string());
            return Err(HeldError::Another { name: name.clone(), held, wanted });
        }
        let cache = Cache::at(folder);
        let mut found = Vec::with_capacity(entry.blobs.len());
        for digest in entry.blobs {
            let (path, bytes) = cache.blob(&digest).ok_or_else(missing)?;
            // Others can write to the folder.
            let actual = verify::digest(&path, progress.clone()).await?;
            if actual != digest {
                return Err(HeldError::Damaged { digest, actual });
            }
            let checked_against = match request.digest {
                Some(_) => CheckedAgainst::Pin,
                None => CheckedAgainst::Source,
            };
            found.push(Artifact {
                path,
                further: Vec::new(),
                bytes,
                digest: Some(digest),
                checked_against,
                commit: None,
                fetched_bytes: 0,
            });
        }
        let artifact = match found.len() {
            1 => found.pop(),
            _ => joined(found),
        };
        Ok((artifact.ok_or_else(missing)?, reader))
    }
}

/// Holds the entry; `None` where it is on its way out, or was never there.
fn reader(request: &ArtifactRequest, name: &EntryName) -> Option<Reader> {
    let file = File::open(entry_lock(&request.cache_folder, name)).ok()?;
    match file.try_lock_shared() {
        Ok(()) => Some(Reader(Some(file))),
        Err(TryLockError::WouldBlock) => None,
        Err(TryLockError::Error(error)) => {
            tracing::warn!(%error, "the file system has no locks: the entry is held by the operator's word alone");
            Some(Reader(None))
        }
    }
}
