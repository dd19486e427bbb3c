//! Reading a folder's small files within bounds.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde_json::{Map, Value};

use super::SafetensorsError;

/// Largest file that is read whole: an index names some thousand tensors in about a megabyte, and the largest
/// tokenizers have 35.
const LIMIT: u64 = 64 << 20;

/// The bytes of the file at `path`.
pub(super) fn read_bytes(path: &Path) -> Result<Vec<u8>, SafetensorsError> {
    let io = |source| SafetensorsError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    let bytes = file.metadata().map_err(io)?.len();
    if bytes > LIMIT {
        return Err(SafetensorsError::TooLong { path: path.to_owned(), bytes, limit: LIMIT });
    }
    let mut text = Vec::new();
    file.take(LIMIT).read_to_end(&mut text).map_err(io)?;
    Ok(text)
}

/// The object in the JSON file at `path`.
pub(super) fn read_object(path: &Path) -> Result<Map<String, Value>, SafetensorsError> {
    read(path)
}

/// The same, where there is such a file.
pub(super) fn read_optional(path: &Path) -> Result<Option<Map<String, Value>>, SafetensorsError> {
    if path.is_file() { read_object(path).map(Some) } else { Ok(None) }
}

/// What the JSON file at `path` holds.
pub(super) fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, SafetensorsError> {
    serde_json::from_slice(&read_bytes(path)?)
        .map_err(|error| SafetensorsError::Json { path: path.to_owned(), problem: error.to_string() })
}
