use std::io;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard};

use crate::gguf::{GgufFile, TensorInfo};
use crate::model::keys::Keys;
use crate::model::{ModelError, Naming, TensorSource};
use crate::synth::{SynthSpec, WriteOptions};

/// A synthetic model in a file of its own, which takes note of what is read and of what is given back.
pub(crate) struct NotedFile {
    pub(crate) file: GgufFile,
    read: Mutex<Vec<String>>,
    released: Mutex<Vec<(String, Range<usize>)>>,
    _folder: tempfile::TempDir,
}

impl NotedFile {
    pub(crate) fn new(spec: &SynthSpec) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        spec.write(&path, WriteOptions::default()).unwrap();
        let file = GgufFile::open(&path).unwrap();
        Self { file, read: Mutex::default(), released: Mutex::default(), _folder: folder }
    }

    /// Tensors that were copied.
    pub(crate) fn tensors_read(&self) -> Vec<String> {
        self.read.lock().unwrap().clone()
    }

    /// Tensors, and which of their bytes were given back.
    pub(crate) fn released(&self) -> MutexGuard<'_, Vec<(String, Range<usize>)>> {
        self.released.lock().unwrap()
    }
}

impl TensorSource for NotedFile {
    fn naming(&self) -> Naming {
        self.file.naming()
    }

    fn keys(&self) -> Result<Keys<'_>, ModelError> {
        self.file.keys()
    }

    fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.file.tensor(name)
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        self.file.names()
    }

    fn read(&self, tensor: &TensorInfo) -> io::Result<Vec<u8>> {
        self.read.lock().unwrap().push(tensor.name().to_owned());
        self.file.read(tensor)
    }

    fn map(&self) -> io::Result<()> {
        self.file.map()
    }

    fn bytes(&self, tensor: &TensorInfo) -> &[u8] {
        self.file.bytes(tensor)
    }

    fn release(&self, tensor: &TensorInfo, bytes: Range<usize>) {
        self.released.lock().unwrap().push((tensor.name().to_owned(), bytes));
    }
}
