//! The file that a person names with `-f`.

use std::fs::read_to_string;
use std::io;
use std::path::{Path, PathBuf};

use weighbridge_crds::manifest::{self, Manifest, ManifestError};

/// A file that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It can't be read.
    #[error("can't read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It holds something that can't be used.
    #[error("{}", path.display())]
    Manifest {
        path: PathBuf,
        #[source]
        source: ManifestError,
    },
}

/// Reads every object of `path`, or of stdin for `-`, as strictly as the apiserver would.
pub fn read(path: &Path) -> Result<Vec<Manifest>, FileError> {
    let text = if path == Path::new("-") { io::read_to_string(io::stdin()) } else { read_to_string(path) };
    let text = text.map_err(|source| FileError::Read { path: path.to_owned(), source })?;
    manifest::parse(&text).map_err(|source| FileError::Manifest { path: path.to_owned(), source })
}
