//! An adapter's files, and the pairs of tensors in them.

use std::collections::BTreeMap;
use std::path::Path;

use super::{AdapterError, gguf, peft};
use crate::gguf::{GgufFile, TensorInfo};
use crate::model::TensorSource;
use crate::safetensors::SafetensorsFolder;

/// An adapter, opened: headers are read, no tensor is.
#[derive(Debug)]
pub enum AdapterFile {
    /// A folder as PEFT writes it.
    Peft(Box<SafetensorsFolder>),
    /// A file as llama.cpp's converter writes it.
    Gguf(Box<GgufFile>),
}

/// The two halves of an addition.
#[derive(Debug)]
pub(super) struct Pair {
    /// Layer of the model.
    pub(super) layer: usize,
    /// What it adds to, as the file's format names it: `self_attn.q_proj` or `attn_q`.
    pub(super) part: String,
    /// `[rank, columns]`.
    pub(super) a: TensorInfo,
    /// `[rows, rank]`.
    pub(super) b: TensorInfo,
    pub(super) scale: f32,
}

/// Both halves of each module, by its name.
pub(super) type Halves<'a> = BTreeMap<String, (Option<&'a TensorInfo>, Option<&'a TensorInfo>)>;

impl AdapterFile {
    /// Opens the adapter at `path`: a folder with `adapter_config.json`, or a GGUF file.
    ///
    /// # Errors
    /// [`AdapterError`]: it cannot be read.
    pub fn open(path: &Path) -> Result<Self, AdapterError> {
        if path.is_dir() {
            return Ok(Self::Peft(Box::new(SafetensorsFolder::open_adapter(path)?)));
        }
        Ok(Self::Gguf(Box::new(GgufFile::open(path)?)))
    }

    pub(super) fn tensors(&self) -> &dyn TensorSource {
        match self {
            Self::Peft(folder) => &**folder,
            Self::Gguf(file) => &**file,
        }
    }

    /// The pairs, of an adapter for `architecture` in ggml's words.
    pub(super) fn pairs(&self, architecture: &str) -> Result<Vec<Pair>, AdapterError> {
        let pairs = match self {
            Self::Peft(folder) => peft::pairs(folder)?,
            Self::Gguf(file) => gguf::pairs(file, architecture)?,
        };
        if pairs.is_empty() { Err(AdapterError::Empty) } else { Ok(pairs) }
    }
}

/// Both halves, or which is missing; and the rank, which must be theirs.
pub(super) fn whole(
    module: &str,
    halves: (Option<&TensorInfo>, Option<&TensorInfo>),
) -> Result<(TensorInfo, TensorInfo, usize), AdapterError> {
    let (Some(a), Some(b)) = halves else {
        let missing = if halves.0.is_none() { "A" } else { "B" };
        let problem =
            format!("its lora_{missing} is missing; the file is incomplete: fetch or convert it again");
        return Err(AdapterError::Tensor { tensor: module.to_owned(), problem });
    };
    let (&[_, rank], &[inner, _]) = (a.shape(), b.shape()) else {
        let problem = "lora_A and lora_B must be matrices".to_owned();
        return Err(AdapterError::Tensor { tensor: module.to_owned(), problem });
    };
    if rank != inner || rank == 0 {
        let problem =
            format!("lora_A has rank {rank} and lora_B {inner}; the two must agree: convert it again");
        return Err(AdapterError::Tensor { tensor: module.to_owned(), problem });
    }
    Ok((a.clone(), b.clone(), rank))
}
