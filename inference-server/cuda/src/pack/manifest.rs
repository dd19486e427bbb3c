//! What a pack says of itself.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{PackError, at};
use crate::compile::{Architecture, Usage};
use crate::sources::digest;

/// Its name within a pack.
pub const MANIFEST: &str = "manifest.json";

/// The way packs are written now.
pub(super) const FORMAT: u32 = 2;

/// A pack's files. Written last, so that a folder with a manifest is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The way it is written.
    pub format: u32,
    /// What it was compiled of: [`crate::sources::digest`].
    pub sources: String,
    /// One for each module and architecture.
    pub files: Vec<File>,
}

/// One file of code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// What it is for.
    pub architecture: Architecture,
    /// The file of kernels that it is of.
    pub module: String,
    /// Where it lies within the pack.
    pub path: String,
    /// Its hash, in hex.
    pub sha256: String,
    /// What each kernel takes; none of PTX.
    pub kernels: Vec<Usage>,
}

impl Manifest {
    /// True when it is of this program's kernels, and written as they are now.
    pub fn is_ours(&self) -> bool {
        self.format == FORMAT && self.sources == digest()
    }

    /// Reads the manifest of the pack in `folder`.
    ///
    /// # Errors
    /// [`PackError::Io`] or [`PackError::Manifest`].
    pub fn read(folder: &Path) -> Result<Self, PackError> {
        let path = folder.join(MANIFEST);
        let text = std::fs::read(&path).map_err(at(&path))?;
        serde_json::from_slice(&text).map_err(|source| PackError::Manifest { path, source })
    }

    pub(super) fn write(&self, folder: &Path) -> Result<(), PackError> {
        let path = folder.join(MANIFEST);
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|source| PackError::Manifest { path: path.clone(), source })?;
        text.push(b'\n');
        std::fs::write(&path, text).map_err(at(&path))
    }
}
