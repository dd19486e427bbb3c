//! The opened model: a GGUF file, whole or in parts, or a folder as the hub keeps models.

use std::path::PathBuf;
use std::sync::Arc;

use weighbridge_crds::Quantization;

use crate::gguf::{GgufFile, TensorType};
use crate::model::TensorSource;
use crate::safetensors::SafetensorsFolder;
use crate::server::{ServeError, ServerConfig};

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
    Gguf(Arc<GgufFile>),
    /// A folder with `config.json`.
    Folder {
        /// Where it is.
        path: PathBuf,
        /// What it holds.
        folder: Arc<SafetensorsFolder>,
    },
}

impl Opened {
    /// Opens what was found, its matrices to be quantised while they are loaded.
    pub(super) fn at(found: &Found, quantize: Option<Quantization>) -> Result<Self, ServeError> {
        let kind = quantize.map(|kind| match kind {
            Quantization::Q8_0 => TensorType::Q8_0,
            Quantization::Q4K => TensorType::Q4K,
        });
        let Found { path, further } = found;
        if path.is_dir() {
            let folder = Arc::new(SafetensorsFolder::open(path)?.quantized(kind));
            return Ok(Self::Folder { path: path.to_owned(), folder });
        }
        if let Some(kind) = kind {
            let problem = format!(
                "{kind} is asked for, and the model is GGUF, which is served as it is stored: leave it out, or name a \
                 folder of safetensors"
            );
            return Err(ServeError::Config { field: ServerConfig::QUANTIZE, problem });
        }
        let file = match further.as_slice() {
            [] => GgufFile::open(path)?,
            further => {
                let parts: Vec<PathBuf> = std::iter::once(path).chain(further).cloned().collect();
                GgufFile::open_parts(&parts)?
            }
        };
        Ok(Self::Gguf(Arc::new(file)))
    }

    /// The same as [`Self::tensors`], for whoever needs it longer.
    pub(super) fn shared(&self) -> Arc<dyn TensorSource + Send> {
        match self {
            Self::Gguf(file) => Arc::clone(file) as Arc<_>,
            Self::Folder { path: _, folder } => Arc::clone(folder) as Arc<_>,
        }
    }

    /// Its tensors and settings.
    pub(super) fn tensors(&self) -> &dyn TensorSource {
        match self {
            Self::Gguf(file) => &**file,
            Self::Folder { folder, .. } => &**folder,
        }
    }
}
