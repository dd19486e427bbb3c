//! How weights lie in device memory: the forms of `kernels/forms.cuh`, by size.

use weighbridge_kernels::TensorType;

use crate::launch::Address;

/// Rows of a strip: what one block of a product reads.
pub const STRIP_ROWS: usize = 16;

/// Activations' rows are filled up with zeros to this many columns.
pub const INPUT_ALIGNMENT: usize = 128;

/// Columns of a row of activations that holds `columns`.
pub const fn input_stride(columns: usize) -> usize {
    columns.next_multiple_of(INPUT_ALIGNMENT)
}

/// A form of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// bfloat16, row by row.
    Bf16,
    /// IEEE halves, row by row.
    F16,
    /// 32-bit floats as two planes of bfloat16.
    F32,
    /// 8-bit floats with a scale a row and 128 columns.
    E4m3,
    /// ggml's `Q8_0`.
    Q8_0,
    /// ggml's `Q4_0`.
    Q4_0,
    /// ggml's `Q4_1`.
    Q4_1,
    /// Microscaling 4-bit floats.
    Mxfp4,
    /// ggml's `Q4_K`.
    Q4K,
    /// ggml's `Q6_K`.
    Q6K,
}

impl Form {
    /// Every form.
    pub const ALL: [Self; 10] = [
        Self::Bf16,
        Self::F16,
        Self::F32,
        Self::E4m3,
        Self::Q8_0,
        Self::Q4_0,
        Self::Q4_1,
        Self::Mxfp4,
        Self::Q4K,
        Self::Q6K,
    ];

    /// The form that keeps the bits of a stored type; `None` where there is none, and halves are made of it.
    pub fn of(kind: TensorType) -> Option<Self> {
        match kind {
            TensorType::BF16 => Some(Self::Bf16),
            TensorType::F16 => Some(Self::F16),
            TensorType::F32 => Some(Self::F32),
            TensorType::Q8_0 => Some(Self::Q8_0),
            TensorType::Q4_0 => Some(Self::Q4_0),
            TensorType::Q4_1 => Some(Self::Q4_1),
            TensorType::MXFP4 => Some(Self::Mxfp4),
            TensorType::Q4K => Some(Self::Q4K),
            TensorType::Q6K => Some(Self::Q6K),
            TensorType::Q5_0
            | TensorType::Q5_1
            | TensorType::Q2K
            | TensorType::Q3K
            | TensorType::Q5K
            | TensorType::IQ4NL
            | TensorType::IQ4XS => None,
        }
    }

    /// The stored type that it is packed from; `None` of E4M3, which ggml has not.
    pub fn stored(self) -> Option<TensorType> {
        TensorType::ALL.into_iter().find(|kind| Self::of(*kind) == Some(self))
    }

    /// Columns of a tile.
    pub fn tile_columns(self) -> usize {
        match self {
            Self::Bf16 | Self::F16 | Self::F32 | Self::Q8_0 | Self::Q4_0 | Self::Q4_1 | Self::Mxfp4 => 32,
            Self::E4m3 => 128,
            Self::Q4K | Self::Q6K => 256,
        }
    }

    /// Bytes of a tile of 16 rows.
    pub fn tile_bytes(self) -> usize {
        match self {
            Self::Bf16 | Self::F16 => 1024,
            Self::F32 => 2048,
            Self::E4m3 => 2048 + 64,
            Self::Q8_0 => 512 + 32,
            Self::Q4_0 => 256 + 32,
            Self::Q4_1 => 256 + 64,
            Self::Mxfp4 => 256 + 16,
            Self::Q4K => 2048 + 64 + 256,
            Self::Q6K => 2048 + 1024 + 256 + 32,
        }
    }

    /// Parts whose sum the weights are: how often cuBLASLt multiplies.
    pub fn parts(self) -> u32 {
        match self {
            Self::F16 | Self::F32 => 2,
            Self::Bf16
            | Self::E4m3
            | Self::Q8_0
            | Self::Q4_0
            | Self::Q4_1
            | Self::Mxfp4
            | Self::Q4K
            | Self::Q6K => 1,
        }
    }

    /// Bytes of a `[rows, columns]` matrix.
    pub fn bytes(self, rows: usize, columns: usize) -> u64 {
        let tiles = columns.div_ceil(self.tile_columns()) as u64;
        rows.div_ceil(STRIP_ROWS) as u64 * tiles * self.tile_bytes() as u64
    }
}

/// A matrix in device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// How it lies there.
    pub form: Form,
    /// Rows: what a product gives.
    pub rows: usize,
    /// Columns: what a product takes.
    pub columns: usize,
    /// Where.
    pub at: Address,
}

impl Matrix {
    /// Its bytes.
    pub fn bytes(&self) -> u64 {
        self.form.bytes(self.rows, self.columns)
    }
}
