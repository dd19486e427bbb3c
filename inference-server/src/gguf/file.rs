//! An open file: its header in memory, its tensors mapped when they are asked for.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use super::mapping::FileBytes;
use super::parse::parse;
use super::{GgufError, Metadata, TensorInfo};

/// A GGUF file, its header checked. Its tensors are mapped read-only, once it is known that they fit in memory.
#[derive(Debug)]
pub struct GgufFile {
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    by_name: HashMap<String, usize>,
    data: FileBytes,
}

impl GgufFile {
    /// Opens and checks the file at `path`. Reads the header and maps nothing.
    ///
    /// # Errors
    /// [`GgufError`], naming the field that is wrong and what to do.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let io = |source| GgufError::Io { path: path.to_owned(), source };
        let data = FileBytes::new(File::open(path).map_err(io)?).map_err(io)?;
        let header = parse(BufReader::new(data.file()), data.len())?;
        let by_name = header.tensors.iter().enumerate().map(|(i, t)| (t.name.clone(), i)).collect();
        Ok(Self { metadata: header.metadata, tensors: header.tensors, by_name, data })
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

    /// A copy of the bytes of `tensor`, without mapping anything: for small ones.
    ///
    /// # Errors
    /// The system's.
    pub fn read(&self, tensor: &TensorInfo) -> io::Result<Vec<u8>> {
        self.data.read(tensor.range())
    }

    /// Maps the tensors.
    ///
    /// # Errors
    /// The system's.
    pub fn map(&self) -> io::Result<()> {
        self.data.map()
    }

    /// Whether the tensors are mapped.
    pub fn is_mapped(&self) -> bool {
        self.data.mapping().is_some()
    }

    /// The bytes of `tensor`, which must be of this file: of another, or of one that is not mapped, the slice is
    /// empty or meaningless.
    pub fn bytes(&self, tensor: &TensorInfo) -> &[u8] {
        self.data.mapping().and_then(|mapping| mapping.bytes().get(tensor.range())).unwrap_or_default()
    }

    /// Lets the kernel drop `tensor`'s pages from our resident set; reading them again is correct.
    pub fn release(&self, tensor: &TensorInfo) {
        if let Some(mapping) = self.data.mapping() {
            mapping.release(tensor.range());
        }
    }

    /// Length of the file, in bytes.
    pub fn len(&self) -> u64 {
        self.data.len()
    }

    /// True for a file without bytes; such a file does not open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
