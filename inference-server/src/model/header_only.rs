use std::io;
use std::ops::Range;

use super::keys::Keys;
use super::{ModelError, Naming, TensorSource};
use crate::gguf::{StoredType, TensorInfo, TensorType};
use crate::kernels::e4m3::BlockScales;

/// A source of whose tensors nothing but the header is read: where a number is asked for it is 1, which norms, biases and
/// divisors of frequencies may be. A model can be planned with it, and not loaded.
pub struct HeaderOnly<'a>(pub &'a dyn TensorSource);

impl TensorSource for HeaderOnly<'_> {
    fn naming(&self) -> Naming {
        self.0.naming()
    }

    fn keys(&self) -> Result<Keys<'_>, ModelError> {
        self.0.keys()
    }

    fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.0.tensor(name)
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        self.0.names()
    }

    fn kept_as(&self, tensor: &TensorInfo, columns: usize) -> TensorType {
        self.0.kept_as(tensor, columns)
    }

    fn read(&self, tensor: &TensorInfo) -> io::Result<Vec<u8>> {
        let one: &[u8] = match tensor.kind() {
            StoredType::Ggml(TensorType::F32) => &1_f32.to_le_bytes(),
            StoredType::Ggml(TensorType::F16) => &half::f16::ONE.to_le_bytes(),
            StoredType::Ggml(TensorType::BF16) => &half::bf16::ONE.to_le_bytes(),
            StoredType::Ggml(_) | StoredType::E4M3 => &[0],
        };
        Ok(one.iter().copied().cycle().take(tensor.bytes()).collect())
    }

    fn map(&self) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "only the header of this model is read"))
    }

    fn bytes(&self, _: &TensorInfo) -> &[u8] {
        &[]
    }

    fn scale_columns(&self, tensor: &TensorInfo) -> Option<usize> {
        self.0.scale_columns(tensor)
    }

    fn scales(&self, _: &TensorInfo) -> Result<Option<BlockScales>, ModelError> {
        Ok(None)
    }

    fn release(&self, _: &TensorInfo, _: Range<usize>) {}
}
