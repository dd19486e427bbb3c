//! Matrices as files store them: in ggml's blocks, or in E4M3 beside scales that lie elsewhere in the file.

use crate::TensorType;
use crate::e4m3::BlockScales;
use crate::reference::dequantize;

/// How a file stores a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoredType {
    /// One of ggml's types.
    Ggml(TensorType),
    /// 8-bit floats, each to be multiplied by its block's scale. ggml has no such type.
    E4M3,
}

impl StoredType {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ggml(kind) => kind.name(),
            Self::E4M3 => "E4M3",
        }
    }

    /// Elements that are stored together.
    pub fn block_elements(self) -> usize {
        match self {
            Self::Ggml(kind) => kind.block_elements(),
            Self::E4M3 => 1,
        }
    }

    /// Bytes of one block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::Ggml(kind) => kind.block_bytes(),
            Self::E4M3 => 1,
        }
    }

    /// ggml's type, where it is one.
    pub fn ggml(self) -> Option<TensorType> {
        match self {
            Self::Ggml(kind) => Some(kind),
            Self::E4M3 => None,
        }
    }

    /// What a CPU keeps a matrix as that is not quantised while loading. E4M3 times its scale, rounded to bfloat16, is what
    /// transformers computes with where it dequantises.
    pub fn kept(self) -> TensorType {
        self.ggml().unwrap_or(TensorType::BF16)
    }
}

impl From<TensorType> for StoredType {
    fn from(kind: TensorType) -> Self {
        Self::Ggml(kind)
    }
}

impl std::fmt::Display for StoredType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A whole matrix as a file stores it, row by row.
#[derive(Clone, Copy, Debug)]
pub enum StoredRows<'a> {
    /// In blocks of a type of ggml's.
    Ggml {
        /// The type.
        kind: TensorType,
        /// The blocks.
        bytes: &'a [u8],
    },
    /// In E4M3.
    E4M3 {
        /// An element each.
        bytes: &'a [u8],
        /// What they are multiplied by.
        scales: &'a BlockScales,
    },
}

impl<'a> StoredRows<'a> {
    /// `bytes`, stored as `kind`; `None` for E4M3 without scales.
    pub fn new(kind: StoredType, bytes: &'a [u8], scales: Option<&'a BlockScales>) -> Option<Self> {
        match kind {
            StoredType::Ggml(kind) => Some(Self::Ggml { kind, bytes }),
            StoredType::E4M3 => Some(Self::E4M3 { bytes, scales: scales? }),
        }
    }

    /// Dequantises row `row` into `out`, which is a row long; false, and nothing is written, past the last row.
    pub fn dequantize_row(self, row: usize, out: &mut [f32]) -> bool {
        let columns = out.len();
        match self {
            Self::Ggml { kind, bytes } => {
                let size = columns / kind.block_elements() * kind.block_bytes();
                let Some(stored) = bytes.get(row * size..(row + 1) * size) else { return false };
                dequantize(kind, stored, out);
            }
            Self::E4M3 { bytes, scales } => {
                let Some(stored) = bytes.get(row * columns..(row + 1) * columns) else { return false };
                scales.dequantize(row, stored, out);
            }
        }
        true
    }
}
