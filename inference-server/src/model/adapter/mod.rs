//! LoRA adapters (arXiv 2106.09685): low-rank additions to a model's matrices, unmerged, each for the rows of a step that
//! ask for it: `y += scale * B (A x)`.
//!
//! - `source`: a PEFT folder or a GGUF file, opened; `peft` and `gguf`: its settings, checked, and its pairs of tensors.
//! - `plan`: the pairs' places in a base model, checked before a tensor is read; then read and packed.
//! - `apply`: the arithmetic, which [`super::pass`] calls after each product.
//!
//! No family knows of adapters, and what none can honour is refused by name.

mod apply;
mod error;
mod gguf;
mod peft;
mod plan;
mod source;
#[cfg(test)]
mod tests;

pub(super) use apply::{Adapted, AdapterBuffers, add};
pub use error::AdapterError;
pub use plan::{AdapterPlan, Base};
pub use source::AdapterFile;

use crate::kernels::packed::PackedMatrix;

/// Which product of a layer is added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Point {
    /// Queries, keys and values.
    Projections,
    /// The output of attention.
    Output,
    /// Gate and up.
    GateUp,
    /// The end of the feed-forward part.
    Down,
}

impl Point {
    /// Every product.
    pub(crate) const ALL: [Self; 4] = [Self::Projections, Self::Output, Self::GateUp, Self::Down];
}

/// What is added to some columns of a product.
#[derive(Debug)]
pub(crate) struct Addition {
    /// `[rank, columns]`.
    pub(crate) a: PackedMatrix,
    /// `[rows, rank]`.
    pub(crate) b: PackedMatrix,
    /// First column of the product that is added to.
    pub(crate) column: usize,
    /// Factor.
    pub(crate) scale: f32,
}

/// One layer's additions, by [`Point`].
#[derive(Debug, Default)]
struct Layer {
    projections: Vec<Addition>,
    output: Vec<Addition>,
    gate_up: Vec<Addition>,
    down: Vec<Addition>,
}

/// A loaded adapter.
#[derive(Debug)]
pub struct Adapter {
    layers: Vec<Layer>,
    bytes: u64,
}

impl Adapter {
    /// Bytes that it holds in memory.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Layers of the model that it was loaded for.
    pub(crate) fn layers(&self) -> usize {
        self.layers.len()
    }

    /// What it adds to a product.
    pub(crate) fn at(&self, layer: usize, point: Point) -> &[Addition] {
        let Some(layer) = self.layers.get(layer) else { return &[] };
        match point {
            Point::Projections => &layer.projections,
            Point::Output => &layer.output,
            Point::GateUp => &layer.gate_up,
            Point::Down => &layer.down,
        }
    }
}

impl Layer {
    fn at_mut(&mut self, point: Point) -> &mut Vec<Addition> {
        match point {
            Point::Projections => &mut self.projections,
            Point::Output => &mut self.output,
            Point::GateUp => &mut self.gate_up,
            Point::Down => &mut self.down,
        }
    }
}
