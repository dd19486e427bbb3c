//! The cache folder: who holds it, what is whole in it, and how a file becomes whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{ArtifactError, CacheError, Clock, Digest, Phase, Progress, ProgressSink};

/// How often a held lock is tried again.
const LOCK_POLL: Duration = Duration::from_millis(250);
/// Left free on the disk beside the download itself, for its state and everybody else's last writes.
const SPARE_BYTES: u64 = 64 << 20;

/// A cache folder, made and writable.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    folder: PathBuf,
}

/// Written last beside a blob: without it the blob does not exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    pub bytes: u64,
    pub digest: Digest,
}

/// What a source and revision meant when its server was last asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SourceRecord {
    pub digest: Digest,
    pub etag: Option<String>,
    pub commit: Option<String>,
}

/// Held while one source is fetched; freed by the system if the process dies.
pub(super) struct Lock(#[allow(dead_code, reason = "held, not read")] File);

impl Cache {
    /// A folder that is only read.
    pub(super) fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    pub(super) async fn open(folder: &Path) -> Result<Self, ArtifactError> {
        let cache = Self { folder: folder.to_owned() };
        let made = cache.clone();
        blocking(move || {
            for part in ["blobs", "sources", "partial", "beginnings", "locks"] {
                let path = made.folder.join(part);
                fs::create_dir_all(&path).map_err(io_error("making", &path))?;
            }
            Ok(())
        })
        .await
        .map_err(ArtifactError::Cache)?;
        Ok(cache)
    }

    /// Waits until no other process fetches `key`.
    pub(super) async fn lock(
        &self,
        key: &Digest,
        clock: &dyn Clock,
        progress: &ProgressSink,
    ) -> Result<Lock, CacheError> {
        let path = self.folder.join("locks").join(format!("{}.lock", key.hex()));
        let open = OpenOptions::new().create(true).append(true).open(&path);
        let file = open.map_err(io_error("opening", &path))?;
        let mut said = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock(file)),
                Err(fs::TryLockError::WouldBlock) => {
                    if !said {
                        tracing::info!("another process fetches the same file: waiting for it");
                        said = true;
                    }
                    progress(Progress { phase: Phase::Wait, bytes: 0, total: 0 });
                    clock.pause(LOCK_POLL).await;
                }
                Err(fs::TryLockError::Error(source)) => return Err(io_error("locking", &path)(source)),
            }
        }
    }

    /// Path of the file with `digest`, when it is whole.
    pub(super) fn blob(&self, digest: &Digest) -> Option<(PathBuf, u64)> {
        let folder = self.blob_folder(digest);
        let marker: Marker = read_json(&folder.join("complete.json"))?;
        let content = folder.join("content");
        let length = fs::metadata(&content).ok()?.len();
        (marker.digest == *digest && marker.bytes == length).then_some((content, length))
    }

    /// Forgets a blob whose bytes are no longer what its name says.
    pub(super) fn discard(&self, digest: &Digest) -> Result<(), CacheError> {
        let folder = self.blob_folder(digest);
        fs::remove_dir_all(&folder).map_err(io_error("removing", &folder))
    }

    /// Gives a verified partial file its final name; the marker comes last.
    pub(super) async fn keep(&self, part: PathBuf, digest: &Digest) -> Result<(PathBuf, u64), CacheError> {
        let (folder, digest) = (self.blob_folder(digest), digest.clone());
        blocking(move || {
            fs::create_dir_all(&folder).map_err(io_error("making", &folder))?;
            let file = File::open(&part).map_err(io_error("opening", &part))?;
            file.sync_all().map_err(io_error("syncing", &part))?;
            let bytes = file.metadata().map_err(io_error("reading", &part))?.len();
            let content = folder.join("content");
            fs::rename(&part, &content).map_err(io_error("renaming", &part))?;
            sync_folder(&folder)?;
            write_json(&folder.join("complete.json"), &Marker { bytes, digest })?;
            if let Some(parent) = folder.parent() {
                sync_folder(parent)?;
            }
            Ok((content, bytes))
        })
        .await
    }

    pub(super) fn source(&self, key: &Digest) -> Option<SourceRecord> {
        read_json(&self.source_path(key))
    }

    pub(super) async fn record_source(&self, key: &Digest, record: SourceRecord) -> Result<(), CacheError> {
        let path = self.source_path(key);
        blocking(move || write_json(&path, &record)).await
    }

    /// Where a download of `key` is written until it is verified.
    pub(super) fn partial(&self, key: &Digest) -> PathBuf {
        self.folder.join("partial").join(format!("{}.part", key.hex()))
    }

    /// Keeps `beginning`, of a file of `length` bytes, as a file as long, of which the rest is a hole.
    pub(super) async fn keep_beginning(
        &self,
        key: &Digest,
        beginning: Vec<u8>,
        length: u64,
    ) -> Result<PathBuf, CacheError> {
        let path = self.folder.join("beginnings").join(key.hex());
        blocking(move || {
            let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
            let written = (|| {
                let mut file = File::create(&temporary)?;
                file.write_all(&beginning)?;
                file.set_len(length)?;
                fs::rename(&temporary, &path)
            })();
            written.map_err(io_error("writing", &path))?;
            Ok(path)
        })
        .await
    }

    /// Fails unless the disk has room for `needed` more bytes.
    pub(super) fn ensure_space(&self, needed: u64) -> Result<(), CacheError> {
        let stat = rustix::fs::statvfs(&self.folder)
            .map_err(|errno| io_error("measuring", &self.folder)(io::Error::from(errno)))?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if free >= needed.saturating_add(SPARE_BYTES) {
            return Ok(());
        }
        Err(CacheError::NoSpace { folder: self.folder.clone(), needed, free })
    }

    fn blob_folder(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs").join(digest.hex())
    }

    fn source_path(&self, key: &Digest) -> PathBuf {
        self.folder.join("sources").join(format!("{}.json", key.hex()))
    }
}

/// A name for what `parts` say together; no part can imitate another's boundary.
pub(super) fn key(parts: &[&str]) -> Digest {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update((part.len() as u64).to_le_bytes());
        sha.update(part);
    }
    Digest::of_hash(&sha.finalize())
}

/// Runs `work` where blocking is allowed.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CacheError> + Send + 'static,
) -> Result<T, CacheError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(CacheError::Stopped))
}

pub(super) fn io_error(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CacheError {
    let path = path.to_owned();
    move |source| CacheError::Io { act, path, source }
}

/// Absent and unreadable alike are `None`: what is lost is a download, never a wrong file.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Writes a small file so that a reader sees the old one or the new one, also after a crash.
pub(super) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), CacheError> {
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = (|| {
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    written.map_err(io_error("writing", path))?;
    path.parent().map_or(Ok(()), sync_folder)
}

fn sync_folder(folder: &Path) -> Result<(), CacheError> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(io_error("syncing", folder))
}
