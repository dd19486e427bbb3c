//! A file that is being fetched: its bytes, and beside it which of them are there.

use std::fs::{File, OpenOptions, remove_file};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::super::CacheError;
use super::super::cache::{blocking, io_error, read_json, write_json};
use super::lookup::RemoteFile;
use super::ranges::Ranges;

/// Written down after each range, so that the next process goes on from there.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    bytes: u64,
    /// The server's identity of the content: another one means another file.
    etag: Option<String>,
    /// Entity tag of the server that sends the bytes, for `If-Range`.
    validator: Option<String>,
    done: Ranges,
}

/// A partial file, held under the source's lock.
pub(super) struct Partial {
    path: PathBuf,
    state_path: PathBuf,
    file: Arc<File>,
    state: Mutex<State>,
    saving: tokio::sync::Mutex<()>,
}

impl Partial {
    /// Goes on with what is there of `remote`, or starts anew when that was another file.
    pub(super) async fn open(path: PathBuf, remote: &RemoteFile) -> Result<Self, CacheError> {
        let (bytes, etag) = (remote.bytes, remote.etag.clone());
        blocking(move || {
            let state_path = path.with_extension("json");
            let open = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
            let file = open.map_err(io_error("opening", &path))?;
            let held = file.metadata().map_err(io_error("reading", &path))?.len();
            // Without an identity nothing tells an old half from a new one.
            let resumed = read_json::<State>(&state_path).filter(|state| {
                state.etag.is_some() && state.etag == etag && state.bytes == bytes && state.done.fits(held)
            });
            let state = resumed.unwrap_or_else(|| State { bytes, etag, ..State::default() });
            if state.done.total() == 0 {
                file.set_len(0).map_err(io_error("emptying", &path))?;
            }
            let (state, saving) = (Mutex::new(state), tokio::sync::Mutex::default());
            Ok(Self { path, state_path, file: Arc::new(file), state, saving })
        })
        .await
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn bytes(&self) -> u64 {
        self.state().bytes
    }

    pub(super) fn done_bytes(&self) -> u64 {
        self.state().done.total()
    }

    pub(super) fn missing_bytes(&self) -> u64 {
        let state = self.state();
        state.bytes.saturating_sub(state.done.total())
    }

    pub(super) fn missing(&self, piece: u64) -> Vec<Range<u64>> {
        let state = self.state();
        state.done.missing(state.bytes, piece)
    }

    pub(super) fn validator(&self) -> Option<String> {
        self.state().validator.clone()
    }

    pub(super) fn set_validator(&self, validator: String) {
        self.state().validator = Some(validator);
    }

    /// Forgets every byte: the whole file is fetched in one go.
    pub(super) fn start_over(&self) {
        self.state().done = Ranges::default();
    }

    /// Puts `data` at `offset`.
    pub(super) async fn write(&self, offset: u64, data: Bytes) -> Result<(), CacheError> {
        let (file, path, end) = (Arc::clone(&self.file), self.path.clone(), offset + data.len() as u64);
        blocking(move || file.write_all_at(&data, offset).map_err(io_error("writing", &path))).await?;
        self.state().done.insert(offset..end);
        Ok(())
    }

    /// Writes down what is there. The bytes reach the disk first: a state never speaks of bytes that a
    /// power cut could take away.
    pub(super) async fn save(&self) -> Result<(), CacheError> {
        let _one_at_a_time = self.saving.lock().await;
        let state = self.state().clone();
        let (file, path, state_path) = (Arc::clone(&self.file), self.path.clone(), self.state_path.clone());
        blocking(move || {
            file.sync_data().map_err(io_error("syncing", &path))?;
            write_json(&state_path, &state)
        })
        .await
    }

    /// Removes the bytes and the state.
    pub(super) async fn remove(self) -> Result<(), CacheError> {
        let path = self.path.clone();
        blocking(move || remove(&path)).await?;
        self.remove_state().await
    }

    /// Removes the state, once the bytes have their final name.
    pub(super) async fn remove_state(self) -> Result<(), CacheError> {
        blocking(move || remove(&self.state_path)).await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is a single assignment: a panic elsewhere can't leave half of one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove(path: &Path) -> Result<(), CacheError> {
    match remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("removing", path)(error)),
        _ => Ok(()),
    }
}
