//! Normalisation of rows: `norm.cu`.

use bytemuck::{Pod, Zeroable};

use super::size;
use crate::launch::{Address, Launch};

/// Normalises rows of floats.
#[derive(Clone, Copy, Debug)]
pub struct Normalize {
    /// float `[rows, columns]`.
    pub input: Address,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// float `[columns]`.
    pub weight: Address,
    /// float `[columns]`, or null.
    pub bias: Address,
    /// True when the mean is taken off (layer normalisation).
    pub layer: bool,
    /// Added to the variance.
    pub epsilon: f32,
    /// float `[rows, columns]`, or null; may be the input.
    pub out: Address,
    /// True when the result is added to `out`.
    pub add: bool,
    /// bfloat16 `[rows, rounded_stride]`, or null.
    pub rounded: Address,
    /// Columns from one row of it to the next.
    pub rounded_stride: usize,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct NormParameters {
    input: Address,
    weight: Address,
    bias: Address,
    out: Address,
    rounded: Address,
    columns: u32,
    rounded_stride: u32,
    layer: u32,
    add: u32,
    epsilon: f32,
    unused: u32,
}
const _: () = assert!(size_of::<NormParameters>() == 64);

impl Normalize {
    /// The launch. A row's threads depend on its columns alone, and so does the order of its sums.
    pub fn launch(&self) -> Launch {
        let parameters = NormParameters {
            input: self.input,
            weight: self.weight,
            bias: self.bias,
            out: self.out,
            rounded: self.rounded,
            columns: size(self.columns),
            rounded_stride: size(self.rounded_stride),
            layer: u32::from(self.layer),
            add: u32::from(self.add),
            epsilon: self.epsilon,
            unused: 0,
        };
        let threads = size(self.columns.div_ceil(4).next_multiple_of(32).clamp(32, 1024));
        Launch::new("normalize", [size(self.rows), 1, 1], threads, &parameters)
    }
}
