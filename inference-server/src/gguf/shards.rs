//! Tensors that lie in one file or in several, each found by its name.

use std::collections::HashMap;
use std::io;
use std::ops::Range;

use super::TensorInfo;
use super::mapping::{FileBytes, Mapping};

/// A model's files, and which of them holds which tensor.
#[derive(Debug, Default)]
pub(crate) struct Shards {
    files: Vec<FileBytes>,
    tensors: Vec<TensorInfo>,
    /// File of each tensor.
    homes: Vec<usize>,
    by_name: HashMap<String, usize>,
}

impl Shards {
    /// Adds a file; tensors that are added from now on are its own.
    pub(crate) fn add_file(&mut self, file: FileBytes) {
        self.files.push(file);
    }

    /// Adds a tensor of the latest file; false, and nothing is added, where one of its name is there.
    #[must_use]
    pub(crate) fn add_tensor(&mut self, tensor: TensorInfo) -> bool {
        if self.by_name.contains_key(tensor.name()) {
            return false;
        }
        self.by_name.insert(tensor.name().to_owned(), self.tensors.len());
        self.tensors.push(tensor);
        self.homes.push(self.files.len().saturating_sub(1));
        true
    }

    /// Every tensor, in the files' order.
    pub(crate) fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    pub(crate) fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(*self.by_name.get(name)?)
    }

    /// A copy of the bytes of `tensor`, without mapping anything.
    pub(crate) fn read(&self, tensor: &TensorInfo) -> io::Result<Vec<u8>> {
        self.home(tensor).ok_or(io::ErrorKind::NotFound)?.read(tensor.range())
    }

    /// Maps every file.
    pub(crate) fn map(&self) -> io::Result<()> {
        self.files.iter().try_for_each(FileBytes::map)
    }

    /// Whether any file is mapped.
    pub(crate) fn is_mapped(&self) -> bool {
        self.files.iter().any(|file| file.mapping().is_some())
    }

    /// The bytes of `tensor`; none before [`Self::map`].
    pub(crate) fn bytes(&self, tensor: &TensorInfo) -> &[u8] {
        self.mapping(tensor).and_then(|mapping| mapping.bytes().get(tensor.range())).unwrap_or_default()
    }

    /// Lets the kernel drop the pages of these of `tensor`'s bytes from our resident set.
    pub(crate) fn release(&self, tensor: &TensorInfo, bytes: Range<usize>) {
        let Range { start, end } = tensor.range();
        if let Some(mapping) = self.mapping(tensor) {
            mapping.release(start + bytes.start.min(end - start)..start + bytes.end.min(end - start));
        }
    }

    /// Length of all files, in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.files.iter().map(FileBytes::len).sum()
    }

    fn home(&self, tensor: &TensorInfo) -> Option<&FileBytes> {
        let index = *self.by_name.get(tensor.name())?;
        self.files.get(*self.homes.get(index)?)
    }

    fn mapping(&self, tensor: &TensorInfo) -> Option<&Mapping> {
        self.home(tensor).and_then(FileBytes::mapping)
    }
}
