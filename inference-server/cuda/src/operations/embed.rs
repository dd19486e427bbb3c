//! Rows of a packed table: `embed.cu`.

use bytemuck::{Pod, Zeroable};

use super::{form_kernel, size};
use crate::form::Matrix;
use crate::launch::{Address, Launch};

/// `out[i] = table[ids[i] + first_id] * scale`.
#[derive(Clone, Copy, Debug)]
pub struct Embed<'a> {
    /// `[ids, columns]`.
    pub table: &'a Matrix,
    /// `[rows]` of u32; a row whose id is outside the table is left alone.
    pub ids: Address,
    /// Rows.
    pub rows: usize,
    /// float `[rows, columns]`.
    pub out: Address,
    /// Factor.
    pub scale: f32,
    /// True when rows are added to what is there.
    pub add: bool,
    /// Added to every id.
    pub first_id: usize,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct EmbedParameters {
    table: Address,
    ids: Address,
    out: Address,
    table_rows: u32,
    columns: u32,
    out_stride: u32,
    add: u32,
    first_id: u32,
    scale: f32,
}
const _: () = assert!(size_of::<EmbedParameters>() == 48);

impl Embed<'_> {
    /// The launch.
    pub fn launch(&self) -> Launch {
        let columns = size(self.table.columns);
        let parameters = EmbedParameters {
            table: self.table.at,
            ids: self.ids,
            out: self.out,
            table_rows: size(self.table.rows),
            columns,
            out_stride: columns,
            add: u32::from(self.add),
            first_id: size(self.first_id),
            scale: self.scale,
        };
        Launch::new(form_kernel!(self.table.form, "embed_", ""), [size(self.rows), 1, 1], 256, &parameters)
    }
}
