//! Products of few rows: `product.cu`.

use bytemuck::{Pod, Zeroable};

use super::{blocks, form_kernel, size};
use crate::form::{Matrix, STRIP_ROWS};
use crate::launch::{Address, Launch};

/// Rows of activations that one block takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// Up to 8.
    Eight,
    /// Up to 16.
    Sixteen,
    /// Up to 64.
    SixtyFour,
}

impl Width {
    /// The least that holds `rows`, or the most there is.
    pub fn of(rows: usize) -> Self {
        match rows {
            0..=8 => Self::Eight,
            9..=16 => Self::Sixteen,
            _ => Self::SixtyFour,
        }
    }

    /// In rows.
    pub fn rows(self) -> usize {
        match self {
            Self::Eight => 8,
            Self::Sixteen => 16,
            Self::SixtyFour => 64,
        }
    }
}

/// The rows of a product that go to different matrices of one form and size.
#[derive(Clone, Copy, Debug)]
pub struct Experts {
    /// Bytes from one matrix to the next.
    pub stride: u64,
    /// `[tile_count]` of [`super::ExpertTile`].
    pub tiles: Address,
    /// Tiles, of `width` rows each.
    pub tile_count: usize,
    /// Rows of a tile.
    pub width: Width,
    /// The input's row of each slot; null where they are the same.
    pub input_rows: Address,
}

/// `out[m, n] = sum over k of input[m, k] * weights[n, k]`.
#[derive(Clone, Copy, Debug)]
pub struct Product<'a> {
    /// `[rows, columns]`; the first of the experts'.
    pub weights: &'a Matrix,
    /// bfloat16 `[tokens, input_stride]`, filled up with zeros as [`crate::form::input_stride`] says.
    pub input: Address,
    /// Columns from one row of the input to the next.
    pub input_stride: usize,
    /// Rows.
    pub tokens: usize,
    /// float `[tokens, out_stride]`.
    pub out: Address,
    /// Columns from one row of the result to the next.
    pub out_stride: usize,
    /// `[rows]`, or null.
    pub bias: Address,
    /// True when the product is added to what is there.
    pub add: bool,
    /// Where rows go to different matrices.
    pub experts: Option<Experts>,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ProductParameters {
    weights: Address,
    input: Address,
    out: Address,
    bias: Address,
    tiles: Address,
    input_rows: Address,
    expert_bytes: u64,
    rows: u32,
    columns: u32,
    tokens: u32,
    input_stride: u32,
    out_stride: u32,
    add: u32,
}
const _: () = assert!(size_of::<ProductParameters>() == 80);

impl Product<'_> {
    /// The launch.
    pub fn launch(&self) -> Launch {
        let width = self.experts.map_or(Width::of(self.tokens), |experts| experts.width);
        let kernel = match width {
            Width::Eight => form_kernel!(self.weights.form, "product_", "_8"),
            Width::Sixteen => form_kernel!(self.weights.form, "product_", "_16"),
            Width::SixtyFour => form_kernel!(self.weights.form, "product_", "_64"),
        };
        let parameters = ProductParameters {
            weights: self.weights.at,
            input: self.input,
            out: self.out,
            bias: self.bias,
            tiles: self.experts.map_or(Address::NULL, |experts| experts.tiles),
            input_rows: self.experts.map_or(Address::NULL, |experts| experts.input_rows),
            expert_bytes: self.experts.map_or(0, |experts| experts.stride),
            rows: size(self.weights.rows),
            columns: size(self.weights.columns),
            tokens: size(self.tokens),
            input_stride: size(self.input_stride),
            out_stride: size(self.out_stride),
            add: u32::from(self.add),
        };
        let tiles =
            self.experts.map_or(blocks(self.tokens, width.rows()), |experts| blocks(experts.tile_count, 1));
        Launch::new(kernel, [blocks(self.weights.rows, STRIP_ROWS), tiles, 1], 256, &parameters)
    }
}
