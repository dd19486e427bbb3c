//! Copies and conversions of rows: `rows.cu`.

use bytemuck::{Pod, Zeroable};

use super::{blocks, size};
use crate::launch::{Address, Launch};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ConvertParameters {
    input: Address,
    out: Address,
    columns: u32,
    input_stride: u32,
    out_stride: u32,
    unused: u32,
}
const _: () = assert!(size_of::<ConvertParameters>() == 32);

/// Floats `[rows, columns]` to bfloat16 `[rows, out_stride]`, filled up with zeros.
pub fn convert_rows(input: Address, out: Address, rows: usize, columns: usize, out_stride: usize) -> Launch {
    let (columns, out_stride) = (size(columns), size(out_stride));
    let parameters = ConvertParameters { input, out, columns, input_stride: columns, out_stride, unused: 0 };
    Launch::new("convert_rows", [size(rows), 1, 1], 256, &parameters)
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct GatherParameters {
    input: Address,
    out: Address,
    index: Address,
    words: u32,
    unused: u32,
}
const _: () = assert!(size_of::<GatherParameters>() == 32);

/// `out[i] = input[index[i]]` for rows of `words` of 32 bits; `index` is `[rows]` of u32.
pub fn gather_rows(input: Address, out: Address, index: Address, rows: usize, words: usize) -> Launch {
    let parameters = GatherParameters { input, out, index, words: size(words), unused: 0 };
    Launch::new("gather_rows", [size(rows), 1, 1], 256, &parameters)
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct CapParameters {
    values: Address,
    columns: u32,
    cap: f32,
}
const _: () = assert!(size_of::<CapParameters>() == 16);

/// `values = cap * tanh(values / cap)`, float `[rows, columns]`.
pub fn cap_rows(values: Address, rows: usize, columns: usize, cap: f32) -> Launch {
    let parameters = CapParameters { values, columns: size(columns), cap };
    Launch::new("cap_rows", [size(rows), blocks(columns, 1024), 1], 256, &parameters)
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct BiasParameters {
    values: Address,
    bias: Address,
    columns: u32,
    stride: u32,
}
const _: () = assert!(size_of::<BiasParameters>() == 24);

/// `values[row] += bias`, float `[rows, columns]` in rows of `stride`.
pub fn add_bias(values: Address, bias: Address, rows: usize, columns: usize, stride: usize) -> Launch {
    let parameters = BiasParameters { values, bias, columns: size(columns), stride: size(stride) };
    Launch::new("add_bias", [size(rows), blocks(columns, 1024), 1], 256, &parameters)
}
