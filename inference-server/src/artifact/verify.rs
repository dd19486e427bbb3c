//! Hashing a file, off the async threads.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest as _, Sha256};

use super::{ArtifactError, CheckedAgainst, Digest, Phase, Progress, ProgressSink};

/// One read, and one report of progress.
const STEP: usize = 1 << 20;

/// The digest of `path`. Dropping the future stops the hashing within one step.
pub(super) async fn digest(path: &Path, progress: ProgressSink) -> Result<Digest, ArtifactError> {
    let stop = StopOnDrop(Arc::default());
    let (stopped, path) = (Arc::clone(&stop.0), path.to_owned());
    let read = |path: &PathBuf, source| ArtifactError::Read { path: path.clone(), source };
    let hashed = tokio::task::spawn_blocking({
        let path = path.clone();
        move || hash(&path, &stopped, &progress)
    });
    match hashed.await {
        Ok(result) => result.map_err(|source| read(&path, source)),
        Err(stopped) => Err(read(&path, std::io::Error::other(stopped))),
    }
}

/// Fails unless `actual` is `expected`.
pub(super) fn compare(
    file: &str,
    expected: &Digest,
    actual: &Digest,
    against: CheckedAgainst,
) -> Result<(), ArtifactError> {
    if expected == actual {
        return Ok(());
    }
    let (expected, actual) = (expected.clone(), actual.clone());
    Err(ArtifactError::DigestMismatch { file: file.to_owned(), expected, actual, against })
}

fn hash(path: &Path, stopped: &AtomicBool, progress: &ProgressSink) -> std::io::Result<Digest> {
    let mut file = File::open(path)?;
    let total = file.metadata()?.len();
    let (mut sha, mut buffer, mut bytes) = (Sha256::new(), vec![0; STEP], 0);
    loop {
        if stopped.load(Ordering::Relaxed) {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        let read = file.read(&mut buffer)?;
        let Some(filled) = buffer.get(..read).filter(|filled| !filled.is_empty()) else { break };
        sha.update(filled);
        bytes += read as u64;
        progress(Progress { phase: Phase::Verify, bytes, total });
    }
    Ok(Digest::of_hash(&sha.finalize()))
}

struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
