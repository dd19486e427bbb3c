//! Low-rank adapters: `lora.cu`.

use bytemuck::{Pod, Zeroable};

use super::{blocks, size};
use crate::launch::{Address, Launch};

/// Marks a row without an adapter.
pub const NO_ADAPTER: u32 = u32::MAX;

/// What an adapter has for one matrix, as kernels read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Adapter {
    /// float `[rank, columns]`; null where it has nothing for the matrix.
    pub down: Address,
    /// float `[rank, rows]`: the file's, turned.
    pub up: Address,
    /// Its rank.
    pub rank: u32,
    /// Factor.
    pub scale: f32,
}

/// `out += scale * up * (down * input)`, each row with its own adapter.
#[derive(Clone, Copy, Debug)]
pub struct Lora {
    /// `[adapters]` of [`Adapter`].
    pub adapters: Address,
    /// u32 `[rows]`: an adapter, or [`NO_ADAPTER`].
    pub of_row: Address,
    /// Rows of the input.
    pub rows: usize,
    /// bfloat16 `[rows, input_stride]`.
    pub input: Address,
    /// Columns of the input.
    pub columns: usize,
    /// Columns from one row of it to the next.
    pub input_stride: usize,
    /// float `[rows, rank]`, of the largest rank.
    pub inner: Address,
    /// The largest rank.
    pub rank: usize,
    /// float `[rows, out_stride]`.
    pub out: Address,
    /// Columns from one row of it to the next.
    pub out_stride: usize,
    /// The matrix' first column of a row of the result.
    pub out_column: usize,
    /// The matrix' rows.
    pub matrix_rows: usize,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct LoraParameters {
    adapters: Address,
    of_row: Address,
    input: Address,
    inner: Address,
    out: Address,
    columns: u32,
    input_stride: u32,
    inner_stride: u32,
    rows: u32,
    out_stride: u32,
    out_column: u32,
}
const _: () = assert!(size_of::<LoraParameters>() == 64);

impl Lora {
    /// The two launches, in order.
    pub fn launches(&self) -> [Launch; 2] {
        let parameters = LoraParameters {
            adapters: self.adapters,
            of_row: self.of_row,
            input: self.input,
            inner: self.inner,
            out: self.out,
            columns: size(self.columns),
            input_stride: size(self.input_stride),
            inner_stride: size(self.rank),
            rows: size(self.matrix_rows),
            out_stride: size(self.out_stride),
            out_column: size(self.out_column),
        };
        let rows = size(self.rows);
        [
            Launch::new("lora_down", [rows, blocks(self.rank, 8), 1], 256, &parameters),
            Launch::new("lora_up", [rows, blocks(self.matrix_rows, 256), 1], 256, &parameters),
        ]
    }
}
