//! Every operation in plain safe Rust, in the obvious order, as slow as that is.
//!
//! Fast kernels are tested against these; models are tested against a forward pass made of these.
//! Nothing here is ever optimised.

mod attention;
mod dequantize;
mod elementwise;
mod matmul;
mod quantize;

pub use attention::attention;
pub use dequantize::dequantize;
pub(super) use dequantize::{IQ4_VALUES, MXFP4_VALUES, iq4_xs_scales, q3_k_scales, two_bits};
pub use elementwise::{activate, layer_norm, rms_norm, rotate, softmax, swiglu};
pub use matmul::{matmul, matmul_quantized};
pub use quantize::{QuantizedRow, quantize_blocks_of_32, quantize_blocks_of_256};
