//! Entries of a cache that several pods share: what a ModelCache's claim holds.
//!
//! `fill` fetches a source into it and writes its entry last; `read` finds the files of an entry with nothing but a look at the
//! folder, which may be mounted read-only; `evict` takes entries out, and with them the blobs that no other one names. May
//! not live here: how a source is fetched.
//!
//! ```text
//! entries/<name>.json          what an entry is of, and the blobs that it is made of; written once they are all whole
//! locks/entry-<name>.lock      held, shared, by whoever reads the entry; by whoever takes it out, alone
//! ```

mod evict;
mod fill;
mod read;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::cache::{self, Cache};
use super::{ArtifactError, ArtifactRequest, CacheError, Digest};

pub use evict::{Evicted, evict};
pub use fill::Filled;
pub use read::Reader;

/// Why an entry could not be made, read or taken out.
#[derive(Debug, thiserror::Error)]
pub enum HeldError {
    /// The source gave nothing.
    #[error("{}", .0.in_words())]
    Artifact(#[from] ArtifactError),
    /// The folder does not work.
    #[error(transparent)]
    Cache(CacheError),
    /// Nothing is there.
    #[error("source: the cache at {} does not hold {source_named} as entry {name}: it is to be fetched first", folder.display())]
    Missing {
        /// The folder.
        folder: PathBuf,
        /// The entry.
        name: EntryName,
        /// What was looked for.
        source_named: String,
    },
    /// The entry is of another source.
    #[error(
        "source: entry {name} of the cache is of {held}, and {wanted} is asked for: ask for it under another name"
    )]
    Another {
        /// The entry.
        name: EntryName,
        /// What it is of.
        held: String,
        /// What was asked for.
        wanted: String,
    },
    /// The bytes are not what the entry says.
    #[error(
        "digest: blob {digest} of the cache is damaged, it has {actual}: take the entry out of the cache, so that it is fetched again"
    )]
    Damaged {
        /// What the blob is called by.
        digest: Digest,
        /// What it is.
        actual: Digest,
    },
    /// A source whose files are none of the cache's blobs.
    #[error("source: {} is no blob of the cache, so that it can't be held there", path.display())]
    NotABlob {
        /// The file.
        path: PathBuf,
    },
    /// Whatever was fetched is taken out again, each time.
    #[error(
        "the weights were taken out of the cache while they were fetched, {0} times: raise maxSize of the ModelCache"
    )]
    TakenOut(u32),
}

/// Name of an entry: 1 to 64 of `a-z0-9`, so that it is safe as a file name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryName(String);

/// Text that names no entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of an entry: write 1 to 64 of a-z and 0-9")]
pub struct InvalidEntryName(String);

impl FromStr for EntryName {
    type Err = InvalidEntryName;

    fn from_str(given: &str) -> Result<Self, InvalidEntryName> {
        let plain = given.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if plain && (1..=64).contains(&given.len()) {
            Ok(Self(given.to_owned()))
        } else {
            Err(InvalidEntryName(given.to_owned()))
        }
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an entry is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Named {
    source: String,
    revision: Option<String>,
    pinned: Option<Digest>,
    endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    region: Option<String>,
}

impl Named {
    fn of(request: &ArtifactRequest) -> Self {
        Self {
            source: request.source.to_string(),
            revision: request.revision.clone(),
            pinned: request.digest.clone(),
            // A source is of one kind, and has one server.
            endpoint: request
                .hub
                .endpoint
                .as_ref()
                .or(request.storage.endpoint.as_ref())
                .map(ToString::to_string),
            region: request.storage.region.clone(),
        }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, revision, pinned, endpoint, region } = self;
        f.write_str(source)?;
        let parts = [
            ("at", revision),
            ("with", &pinned.as_ref().map(ToString::to_string)),
            ("from", endpoint),
            ("in", region),
        ];
        parts.into_iter().try_for_each(|(word, part)| match part {
            Some(part) => write!(f, " {word} {part}"),
            None => Ok(()),
        })
    }
}

/// An entry as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    named: Named,
    /// In the order of the parts.
    blobs: Vec<Digest>,
}

impl Entry {
    fn read(folder: &Path, name: &EntryName) -> Option<Self> {
        cache::read_json(&entry_path(folder, name))
    }
}

fn entry_path(folder: &Path, name: &EntryName) -> PathBuf {
    folder.join("entries").join(format!("{name}.json"))
}

fn entry_lock(folder: &Path, name: &EntryName) -> PathBuf {
    folder.join("locks").join(format!("entry-{name}.lock"))
}

/// What stands for the list of entries in the folder of locks.
fn list_of_entries() -> Digest {
    cache::key(&["entries"])
}

/// A cache with a place for entries.
async fn open(folder: &Path) -> Result<Cache, HeldError> {
    let cache = Cache::open(folder).await?;
    let entries = folder.join("entries");
    std::fs::create_dir_all(&entries)
        .map_err(cache::io_error("making", &entries))
        .map_err(HeldError::Cache)?;
    Ok(cache)
}
