//! What several steps of a pass do with matrices and rows.

use super::super::super::profile::Work;
use super::Device;
use crate::kernels::activations::{ActivationKind, Activations};
use crate::kernels::attention::{KvCache, SequenceQueries, Sight};
use crate::kernels::matmul::{Output, Product, matmul};
use crate::kernels::packed::PackedMatrix;
use crate::kernels::pool::WorkerPanicked;
use crate::kv::BLOCK_SIZE;

/// Work of products of `rows` rows with each of `matrices`.
pub(in crate::model) fn of_products(matrices: &[PackedMatrix], rows: usize) -> Work {
    let layouts = || matrices.iter().map(PackedMatrix::layout);
    Work {
        bytes: layouts().map(|layout| layout.bytes() as u64).sum(),
        multiplications: layouts().map(|layout| (layout.rows() * layout.columns() * rows) as u64).sum(),
    }
}

/// Keys and values of one layer that `sequences` see, each once.
pub(super) fn of_attention(sequences: &[SequenceQueries<'_>], cache: &KvCache, sight: Sight) -> Work {
    let shape = cache.shape();
    let block = shape.block_bytes().unwrap_or_default() / shape.layers.max(1);
    let seen = |sequence: &SequenceQueries<'_>| {
        let all = sequence.start + sequence.tokens;
        match sight {
            Sight::Window(window) => all.min(window + sequence.tokens - 1),
            Sight::Causal | Sight::Whole => all,
        }
    };
    let positions: usize = sequences.iter().map(seen).sum();
    Work { bytes: (positions * block / BLOCK_SIZE) as u64, ..Work::default() }
}

/// One matrix' product into rows of its own width.
pub(in crate::model) fn project(
    device: &mut Device,
    matrix: &PackedMatrix,
    input: &Activations,
    out: &mut [f32],
    mode: Output,
) -> Result<(), WorkerPanicked> {
    let product = [Product { weights: matrix, column: 0 }];
    matmul(&mut device.pool, device.isa, &product, input, out, matrix.layout().rows(), mode)
}

/// Products whose results lie side by side.
pub(in crate::model) fn side_by_side(matrices: &[PackedMatrix]) -> Vec<Product<'_>> {
    let mut column = 0;
    let place = |weights: &PackedMatrix| {
        let start = column;
        column += weights.layout().rows();
        start
    };
    matrices
        .iter()
        .zip(matrices.iter().map(place))
        .map(|(weights, column)| Product { weights, column })
        .collect()
}

/// What the input of `matrices` must be quantised to.
pub(in crate::model) fn kinds(matrices: &[PackedMatrix]) -> Vec<ActivationKind> {
    matrices.iter().map(|matrix| ActivationKind::of(matrix.layout().kind())).collect()
}

pub(in crate::model) fn resize(buffer: &mut Vec<f32>, length: usize) {
    buffer.resize(length, 0.0);
}

/// Moves rows `kept`, ascending, to the front of `matrix`, `[_, width]`.
pub(super) fn keep_rows(matrix: &mut [f32], width: usize, kept: &[usize]) {
    for (to, &from) in kept.iter().enumerate() {
        if to != from && (from + 1) * width <= matrix.len() {
            matrix.copy_within(from * width..(from + 1) * width, to * width);
        }
    }
}
