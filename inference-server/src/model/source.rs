//! Where a model's tensors and settings come from.

use std::io;
use std::ops::Range;

use super::ModelError;
use super::keys::Keys;
use crate::gguf::{GgufFile, TensorInfo, TensorType};
use crate::kernels::e4m3::BlockScales;

/// How a file names its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// ggml's: `blk.0.attn_q.weight`.
    Ggml,
    /// The Hugging Face hub's: `model.layers.0.self_attn.q_proj.weight`.
    HuggingFace,
}

/// A file, or a folder of files, that holds a model.
pub trait TensorSource: Sync {
    /// How tensors are named.
    fn naming(&self) -> Naming;

    /// Its settings.
    ///
    /// # Errors
    /// The file's own words, when it does not even say what it holds.
    fn keys(&self) -> Result<Keys<'_>, ModelError>;

    /// The tensor called `name`.
    fn tensor(&self, name: &str) -> Option<&TensorInfo>;

    /// Names of all tensors.
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_>;

    /// What the matrix `tensor` with rows of `columns` is to be kept as on a CPU: as it is stored, unless it is quantised
    /// while loading, or E4M3, which becomes bfloat16.
    fn kept_as(&self, tensor: &TensorInfo, columns: usize) -> TensorType {
        let _ = columns;
        tensor.kind().kept()
    }

    /// A copy of the bytes of `tensor`, which must be of this source, before anything is mapped.
    ///
    /// # Errors
    /// The system's.
    fn read(&self, tensor: &TensorInfo) -> io::Result<Vec<u8>>;

    /// Maps the tensors, which are known to fit into memory.
    ///
    /// # Errors
    /// The system's.
    fn map(&self) -> io::Result<()>;

    /// The bytes of `tensor`, which must be of this source; none before [`Self::map`].
    fn bytes(&self, tensor: &TensorInfo) -> &[u8];

    /// Columns of the matrix `tensor` that share a scale, where it is stored as E4M3; known before anything is mapped.
    fn scale_columns(&self, tensor: &TensorInfo) -> Option<usize> {
        let _ = tensor;
        None
    }

    /// The scales of `tensor`, which must be of this source, where it is stored as E4M3; read once it is mapped.
    ///
    /// # Errors
    /// [`ModelError::Scale`] where one is no positive number.
    fn scales(&self, tensor: &TensorInfo) -> Result<Option<BlockScales>, ModelError> {
        let _ = tensor;
        Ok(None)
    }

    /// Lets the kernel drop the pages of these of `tensor`'s bytes from our resident set; reading them again is correct.
    fn release(&self, tensor: &TensorInfo, bytes: Range<usize>);
}

impl TensorSource for GgufFile {
    fn naming(&self) -> Naming {
        Naming::Ggml
    }

    fn keys(&self) -> Result<Keys<'_>, ModelError> {
        Keys::of_gguf(self.metadata())
    }

    fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensor(name)
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.tensors().iter().map(TensorInfo::name))
    }

    fn read(&self, tensor: &TensorInfo) -> io::Result<Vec<u8>> {
        self.read(tensor)
    }

    fn map(&self) -> io::Result<()> {
        self.map()
    }

    fn bytes(&self, tensor: &TensorInfo) -> &[u8] {
        self.bytes(tensor)
    }

    fn release(&self, tensor: &TensorInfo, bytes: Range<usize>) {
        self.release(tensor, bytes);
    }
}
