//! Weights as files store them into a form: `repack.cu`.

use bytemuck::{Pod, Zeroable};

use super::{blocks, form_kernel, size};
use crate::form::{Form, Matrix, STRIP_ROWS};
use crate::launch::{Address, Launch};

/// E4M3's scales: float `[rows / of_rows, columns / of_columns]`, both rounded up.
#[derive(Clone, Copy, Debug)]
pub struct Scales {
    /// Where.
    pub at: Address,
    /// Rows that share one.
    pub of_rows: usize,
    /// Columns that share one; a multiple of 128, or all of a row.
    pub of_columns: usize,
}

/// Fills `out` with `rows` rows that lie in `stored` one after another.
#[derive(Clone, Copy, Debug)]
pub struct Repack<'a> {
    /// The matrix to fill, or whole strips of it.
    pub out: &'a Matrix,
    /// The rows as stored: ggml's blocks, or bytes of E4M3.
    pub stored: Address,
    /// Of E4M3 alone.
    pub scales: Option<Scales>,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct RepackParameters {
    stored: Address,
    out: Address,
    scales: Address,
    rows: u32,
    columns: u32,
    row_bytes: u32,
    scale_rows: u32,
    scale_columns: u32,
    unused: u32,
}
const _: () = assert!(size_of::<RepackParameters>() == 48);

/// Bytes of a row as a file stores it.
pub fn stored_row_bytes(form: Form, columns: usize) -> usize {
    form.stored().map_or(columns, |kind| columns / kind.block_elements() * kind.block_bytes())
}

impl Repack<'_> {
    /// The launch.
    pub fn launch(&self) -> Launch {
        let Matrix { form, rows, columns, at } = *self.out;
        let parameters = RepackParameters {
            stored: self.stored,
            out: at,
            scales: self.scales.map_or(Address::NULL, |scales| scales.at),
            rows: size(rows),
            columns: size(columns),
            row_bytes: size(stored_row_bytes(form, columns)),
            scale_rows: self.scales.map_or(1, |scales| size(scales.of_rows.max(1))),
            scale_columns: self.scales.map_or(1, |scales| size(scales.of_columns.max(1))),
            unused: 0,
        };
        let tiles = columns.div_ceil(form.tile_columns());
        let grid = [blocks(rows, STRIP_ROWS), blocks(tiles, 8).min(64), 1];
        Launch::new(form_kernel!(form, "repack_", ""), grid, 256, &parameters)
    }
}
