//! Tensor types and what the header says about a tensor.

use super::{GgufError, StoredType, TensorType};

/// Names of the types that are read, for messages.
pub(super) const SUPPORTED: &str =
    "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, MXFP4";

/// Name of a ggml type that is not read here, so that the refusal can say what it is.
pub(super) fn unsupported_name(number: u32) -> Option<&'static str> {
    Some(match number {
        9 => "Q8_1",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        21 => "IQ3_S",
        22 => "IQ2_S",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        40 => "NVFP4",
        _ => return None,
    })
}

/// One tensor as the header describes it, checked against the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) kind: StoredType,
    /// Offset of the first byte from the start of the file.
    pub(super) offset: usize,
    pub(super) bytes: usize,
}

impl TensorInfo {
    /// A tensor whose place in a file has been checked.
    pub(crate) fn new(
        name: String,
        shape: Vec<usize>,
        kind: impl Into<StoredType>,
        offset: usize,
        bytes: usize,
    ) -> Self {
        Self { name, shape, kind: kind.into(), offset, bytes }
    }

    /// Its bytes in its file.
    pub(crate) fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.bytes
    }

    /// The tensor's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Dimensions as GGUF orders them: the contiguous one (a matrix's columns) first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How elements are stored.
    pub fn kind(&self) -> StoredType {
        self.kind
    }

    /// Bytes in the file.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Bytes of a tensor, in checked arithmetic.
///
/// # Errors
/// [`GgufError::Shape`] when a dimension is zero, the row is no whole number of blocks, or a product
/// does not fit in 64 bits.
pub(super) fn tensor_bytes(name: &str, shape: &[u64], kind: TensorType) -> Result<u64, GgufError> {
    let refuse = |problem| GgufError::Shape { tensor: name.to_owned(), shape: shape.to_vec(), problem };
    let Some((&columns, outer)) = shape.split_first() else { return Err(refuse("it has no dimension")) };
    if shape.contains(&0) {
        return Err(refuse("a dimension is zero"));
    }
    let block = kind.block_elements() as u64;
    if columns % block != 0 {
        return Err(refuse("the first dimension is no multiple of the type's block"));
    }
    // llama.cpp CVE-2026-27940: unchecked products gave a small allocation and a large read.
    let row = (columns / block).checked_mul(kind.block_bytes() as u64);
    outer
        .iter()
        .fold(row, |bytes, &dimension| bytes.and_then(|bytes| bytes.checked_mul(dimension)))
        .ok_or_else(|| refuse("its size overflows"))
}
