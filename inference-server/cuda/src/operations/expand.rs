//! A packed matrix as plain bfloat16: `expand.cu`.

use bytemuck::{Pod, Zeroable};

use super::{blocks, form_kernel, size};
use crate::form::{Matrix, STRIP_ROWS};
use crate::launch::{Address, Launch};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ExpandParameters {
    weights: Address,
    out: Address,
    rows: u32,
    columns: u32,
    out_stride: u32,
    part: u32,
}
const _: () = assert!(size_of::<ExpandParameters>() == 32);

/// Part `part` of `weights` into `out`, bfloat16 `[rows, out_stride]`; the stride is a multiple of 4.
pub fn expand(weights: &Matrix, part: u32, out: Address, out_stride: usize) -> Launch {
    let parameters = ExpandParameters {
        weights: weights.at,
        out,
        rows: size(weights.rows),
        columns: size(weights.columns),
        out_stride: size(out_stride),
        part,
    };
    let tiles = weights.columns.div_ceil(weights.form.tile_columns());
    let grid = [blocks(weights.rows, STRIP_ROWS), blocks(tiles, 8).min(64), 1];
    Launch::new(form_kernel!(weights.form, "expand_", ""), grid, 256, &parameters)
}
