//! Activations: `gate.cu`.

use bytemuck::{Pod, Zeroable};
use weighbridge_kernels::elementwise::Activation;

use super::{blocks, size};
use crate::launch::{Address, Launch};

/// `out = activation(gate) * up`, or `activation(input)`.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    /// float `[rows, 2 * columns]`, gates first; `[rows, columns]` where nothing is gated.
    pub input: Address,
    /// bfloat16 `[rows, out_stride]`.
    pub out: Address,
    /// Rows.
    pub rows: usize,
    /// Columns of the result.
    pub columns: usize,
    /// Columns from one row of it to the next, filled up with zeros.
    pub out_stride: usize,
    /// The function.
    pub activation: Activation,
    /// True when the input has ups behind its gates.
    pub gated: bool,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct GateParameters {
    input: Address,
    out: Address,
    columns: u32,
    out_stride: u32,
    activation: u32,
    gated: u32,
}
const _: () = assert!(size_of::<GateParameters>() == 32);

impl Gate {
    /// The launch.
    pub fn launch(&self) -> Launch {
        let parameters = GateParameters {
            input: self.input,
            out: self.out,
            columns: size(self.columns),
            out_stride: size(self.out_stride),
            activation: match self.activation {
                Activation::Silu => 0,
                Activation::GeluTanh => 1,
                Activation::Gelu => 2,
            },
            gated: u32::from(self.gated),
        };
        Launch::new("gate", [size(self.rows), blocks(self.out_stride, 512), 1], 256, &parameters)
    }
}
