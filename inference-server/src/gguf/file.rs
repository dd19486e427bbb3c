//! An open file: its header in memory, its tensors mapped when they are asked for.

use std::fs::File;
use std::io::{self, BufReader};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::mapping::FileBytes;
use super::parse::{Header, parse};
use super::{GgufError, Metadata, Shards, TensorInfo, split};

/// A GGUF file, whole or in parts, its headers checked. Its tensors are mapped read-only, once it is known that they
/// fit in memory.
#[derive(Debug)]
pub struct GgufFile {
    /// The first part's, which are the model's.
    metadata: Metadata,
    shards: Shards,
}

impl GgufFile {
    /// Opens and checks the file at `path`, and with a first part (`…-00001-of-00003.gguf`) the others beside it. Reads
    /// headers and maps nothing.
    ///
    /// # Errors
    /// [`GgufError`], naming the field that is wrong and what to do.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        Self::open_parts(&split::paths(path))
    }

    /// Opens and checks the parts at `paths`, which are in order.
    ///
    /// # Errors
    /// [`GgufError`], naming the part or the field that is wrong and what to do.
    pub fn open_parts(paths: &[PathBuf]) -> Result<Self, GgufError> {
        let mut model: Option<Metadata> = None;
        let mut shards = Shards::default();
        for (index, path) in paths.iter().enumerate() {
            let io = |source| GgufError::Io { path: path.clone(), source };
            let data = FileBytes::new(File::open(path).map_err(io)?).map_err(io)?;
            let Header { metadata, tensors } = parse(BufReader::new(data.file()), data.len())?;
            split::check_part(&metadata, path, index, paths.len())?;
            shards.add_file(data);
            for tensor in tensors {
                let name = tensor.name.clone();
                if !shards.add_tensor(tensor) {
                    let problem = format!("tensor {name} is in an earlier part too: fetch the parts again");
                    return Err(GgufError::Part { path: path.clone(), problem });
                }
            }
            model.get_or_insert(metadata);
        }
        let metadata = model.unwrap_or_default();
        if let [first, _, ..] = paths {
            split::check_total(&metadata, first, shards.tensors().len())?;
        }
        Ok(Self { metadata, shards })
    }

    /// The file's key-value pairs.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Every tensor, in the order of its parts.
    pub fn tensors(&self) -> &[TensorInfo] {
        self.shards.tensors()
    }

    /// The tensor called `name`.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.shards.tensor(name)
    }

    /// A copy of the bytes of `tensor`, without mapping anything: for small ones.
    ///
    /// # Errors
    /// The system's.
    pub fn read(&self, tensor: &TensorInfo) -> io::Result<Vec<u8>> {
        self.shards.read(tensor)
    }

    /// Maps the tensors.
    ///
    /// # Errors
    /// The system's.
    pub fn map(&self) -> io::Result<()> {
        self.shards.map()
    }

    /// Whether the tensors are mapped.
    pub fn is_mapped(&self) -> bool {
        self.shards.is_mapped()
    }

    /// The bytes of `tensor`, which must be of this file: of another, or of one that is not mapped, the slice is
    /// empty or meaningless.
    pub fn bytes(&self, tensor: &TensorInfo) -> &[u8] {
        self.shards.bytes(tensor)
    }

    /// Lets the kernel drop the pages of these of `tensor`'s bytes from our resident set; reading them again is correct.
    pub fn release(&self, tensor: &TensorInfo, bytes: Range<usize>) {
        self.shards.release(tensor, bytes);
    }

    /// Length of all its parts, in bytes.
    pub fn len(&self) -> u64 {
        self.shards.len()
    }

    /// True for a file without bytes; such a file does not open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
