//! An open file: its header in memory, its tensors mapped.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use super::mapping::Mapping;
use super::parse::parse;
use super::{GgufError, Metadata, TensorInfo};

/// A GGUF file, checked and mapped read-only.
#[derive(Debug)]
pub struct GgufFile {
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    by_name: HashMap<String, usize>,
    mapping: Mapping,
}

impl GgufFile {
    /// Opens, maps and checks the file at `path`. Reads the header only; tensors are paged in on use.
    ///
    /// # Errors
    /// [`GgufError`], naming the field that is wrong and what to do.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let io = |source| GgufError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        let mapping = Mapping::open(&file).map_err(io)?;
        let header = parse(mapping.bytes())?;
        let by_name = header.tensors.iter().enumerate().map(|(i, t)| (t.name.clone(), i)).collect();
        Ok(Self { metadata: header.metadata, tensors: header.tensors, by_name, mapping })
    }

    /// The file's key-value pairs.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Every tensor, in the file's order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor called `name`.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(*self.by_name.get(name)?)
    }

    /// The bytes of `tensor`, which must be of this file: of another, the slice is empty or meaningless.
    pub fn bytes(&self, tensor: &TensorInfo) -> &[u8] {
        self.mapping.bytes().get(tensor.offset..tensor.offset + tensor.bytes).unwrap_or_default()
    }

    /// Lets the kernel drop `tensor`'s pages from our resident set; reading them again is correct.
    pub fn release(&self, tensor: &TensorInfo) {
        self.mapping.release(tensor.offset..tensor.offset + tensor.bytes);
    }

    /// Length of the file, in bytes.
    pub fn len(&self) -> usize {
        self.mapping.bytes().len()
    }

    /// True for a file without bytes; such a file does not open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
