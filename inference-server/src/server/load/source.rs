//! The opened model: a GGUF file, whole or in parts, or a folder as the hub keeps models.

use std::path::PathBuf;

use crate::gguf::GgufFile;
use crate::model::TensorSource;
use crate::safetensors::SafetensorsFolder;
use crate::server::ServeError;

/// Where a model is on this machine.
#[derive(Debug)]
pub(super) struct Found {
    /// A file or a folder.
    pub(super) path: PathBuf,
    /// The other parts of a split file, in order, where they don't lie beside it under their own names.
    pub(super) further: Vec<PathBuf>,
}

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
    /// Opens what was found.
    pub(super) fn at(found: &Found) -> Result<Self, ServeError> {
        let Found { path, further } = found;
        if path.is_dir() {
            let folder = Box::new(SafetensorsFolder::open(path)?);
            return Ok(Self::Folder { path: path.to_owned(), folder });
        }
        let file = match further.as_slice() {
            [] => GgufFile::open(path)?,
            further => {
                let parts: Vec<PathBuf> = std::iter::once(path).chain(further).cloned().collect();
                GgufFile::open_parts(&parts)?
            }
        };
        Ok(Self::Gguf(Box::new(file)))
    }

    /// Its tensors and settings.
    pub(super) fn tensors(&self) -> &dyn TensorSource {
        match self {
            Self::Gguf(file) => &**file,
            Self::Folder { folder, .. } => &**folder,
        }
    }
}
