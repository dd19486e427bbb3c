use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::super::cache::{self, SourceRecord};
use super::super::{CacheError, Clock, Digest, silent};
use super::{Entry, EntryName, HeldError, entry_lock, entry_path, list_of_entries, open};

/// What nobody has touched for so long, nobody goes on with: half of a download, or a blob that no entry names.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// What became of entries that were to go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Evicted {
    /// Those that are gone.
    pub evicted: Vec<String>,
    /// Those that somebody reads.
    pub kept: Vec<String>,
    /// Bytes that are free now.
    pub freed_bytes: u64,
}

/// Takes the entries `names` out of the cache at `folder`, with the blobs that no other entry names; and with them what was
/// abandoned there: where any are `known`, an old entry that is none of them too.
///
/// # Guarantees
/// An entry that a process reads stays, where the file system has locks. A blob goes after the entries that name it, and never
/// while a fetch writes its entry.
///
/// # Errors
/// [`HeldError::Cache`]: the folder does not work.
pub async fn evict(
    folder: &Path,
    names: &[EntryName],
    known: &[EntryName],
    clock: &dyn Clock,
) -> Result<Evicted, HeldError> {
    let cache = open(folder).await?;
    let _lock = cache.lock(&list_of_entries(), clock, &silent()).await.map_err(HeldError::Cache)?;
    let (folder, mut names, known, now) = (folder.to_owned(), names.to_vec(), known.to_vec(), clock.now());
    let taken = cache::blocking(move || {
        let mut unknown = unknown(&folder, &known, now)?;
        unknown.retain(|name| !names.contains(name));
        names.append(&mut unknown);
        take_out(&folder, &names, now)
    });
    taken.await.map_err(HeldError::Cache)
}

/// Entries that nobody knows of: of a cache of the same name before this one, say.
fn unknown(folder: &Path, known: &[EntryName], now: SystemTime) -> Result<Vec<EntryName>, CacheError> {
    if known.is_empty() {
        return Ok(Vec::new());
    }
    let old = files(&folder.join("entries"))?.into_iter().filter(|path| is_old(path, now));
    let names = old.filter_map(|path| path.file_name()?.to_str()?.strip_suffix(".json")?.parse().ok());
    Ok(names.filter(|name| !known.contains(name)).collect())
}

fn take_out(folder: &Path, names: &[EntryName], now: SystemTime) -> Result<Evicted, CacheError> {
    let mut evicted = Evicted::default();
    let mut loose = BTreeSet::new();
    // Until the blobs are gone too.
    let mut locks = Vec::new();
    for name in names {
        match alone(&entry_lock(folder, name))? {
            Some(lock) => locks.push(lock),
            None => {
                evicted.kept.push(name.to_string());
                continue;
            }
        }
        if let Some(entry) = Entry::read(folder, name) {
            loose.extend(entry.blobs);
        }
        remove(&entry_path(folder, name))?;
        evicted.evicted.push(name.to_string());
    }
    let named = named_blobs(folder)?;
    loose.extend(abandoned_blobs(folder, now)?);
    for digest in loose.difference(&named) {
        evicted.freed_bytes = evicted.freed_bytes.saturating_add(remove_blob(folder, digest)?);
    }
    for path in files(&folder.join("partial"))?.into_iter().filter(|path| is_old(path, now)) {
        evicted.freed_bytes = evicted.freed_bytes.saturating_add(length(&path));
        remove(&path)?;
    }
    for path in files(&folder.join("sources"))? {
        let record: Option<SourceRecord> = cache::read_json(&path);
        if record.is_some_and(|record| loose.contains(&record.digest) && !named.contains(&record.digest)) {
            remove(&path)?;
        }
    }
    Ok(evicted)
}

/// The lock of an entry that nobody reads.
fn alone(path: &Path) -> Result<Option<File>, CacheError> {
    let open = OpenOptions::new().create(true).append(true).open(path);
    let file = open.map_err(cache::io_error("opening", path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => {
            tracing::warn!(%error, "the file system has no locks: the operator's word alone says that nobody reads the entry");
            Ok(Some(file))
        }
    }
}

/// Blobs of the entries that are there. One that can't be read stops the whole: what it names is not known.
fn named_blobs(folder: &Path) -> Result<BTreeSet<Digest>, CacheError> {
    let mut named = BTreeSet::new();
    for path in files(&folder.join("entries"))? {
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = fs::read(&path).map_err(cache::io_error("reading", &path))?;
        let entry: Result<Entry, _> = serde_json::from_slice(&text);
        let entry = entry.map_err(std::io::Error::from).map_err(cache::io_error("reading", &path))?;
        named.extend(entry.blobs);
    }
    Ok(named)
}

fn abandoned_blobs(folder: &Path, now: SystemTime) -> Result<Vec<Digest>, CacheError> {
    let blobs = files(&folder.join("blobs"))?.into_iter().filter(|path| is_old(path, now));
    Ok(blobs.filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect())
}

/// The marker first: without it the blob does not exist.
fn remove_blob(folder: &Path, digest: &Digest) -> Result<u64, CacheError> {
    let blob = folder.join("blobs").join(digest.hex());
    let bytes = length(&blob.join("content"));
    remove(&blob.join("complete.json"))?;
    match fs::remove_dir_all(&blob) {
        Ok(()) => Ok(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(cache::io_error("removing", &blob)(error)),
    }
}

fn remove(path: &Path) -> Result<(), CacheError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(cache::io_error("removing", path)(error)),
    }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, CacheError> {
    let listed = fs::read_dir(folder).and_then(|all| all.map(|one| Ok(one?.path())).collect());
    listed.map_err(cache::io_error("listing", folder))
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn is_old(path: &Path, now: SystemTime) -> bool {
    let changed = fs::metadata(path).and_then(|metadata| metadata.modified());
    changed.is_ok_and(|changed| now.duration_since(changed).is_ok_and(|since| since >= ABANDONED))
}
