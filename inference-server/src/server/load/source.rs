//! The opened model: one GGUF file, or a folder as the hub keeps models.

use std::path::{Path, PathBuf};

use crate::gguf::GgufFile;
use crate::model::TensorSource;
use crate::safetensors::SafetensorsFolder;
use crate::server::ServeError;

/// Weights and settings, mapped and checked.
#[derive(Debug)]
pub(super) enum Opened {
    /// A GGUF file.
    Gguf(Box<GgufFile>),
    /// A folder with `config.json`.
    Folder {
        /// Where it is.
        path: PathBuf,
        /// What it holds.
        folder: Box<SafetensorsFolder>,
    },
}

impl Opened {
    /// Opens what is at `path`.
    pub(super) fn at(path: &Path) -> Result<Self, ServeError> {
        if path.is_dir() {
            let folder = Box::new(SafetensorsFolder::open(path)?);
            return Ok(Self::Folder { path: path.to_owned(), folder });
        }
        Ok(Self::Gguf(Box::new(GgufFile::open(path)?)))
    }

    /// Its tensors and settings.
    pub(super) fn tensors(&self) -> &dyn TensorSource {
        match self {
            Self::Gguf(file) => &**file,
            Self::Folder { folder, .. } => &**folder,
        }
    }
}
