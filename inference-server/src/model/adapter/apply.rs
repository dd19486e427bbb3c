//! `y += scale * B (A x)`, for some rows of a product.

use super::{Adapter, Point};
use crate::kernels::activations::{ActivationKind, Activations};
use crate::kernels::matmul::{Output, Product, matmul};
use crate::kernels::pool::WorkerPanicked;
use crate::model::pass::AdaptedRows;
use crate::model::pass::cpu::{Device, resize};
use crate::model::profile::{Operation, Work};

/// Intermediate values; grow to the largest step.
#[derive(Debug, Default)]
pub struct AdapterBuffers {
    /// The rows that an adapter reads, `[rows, columns]`.
    input: Activations,
    /// `A x`, `[rows, rank]`.
    reduced: Vec<f32>,
    reduced_input: Activations,
    /// `B (A x)`, `[rows, rows of B]`.
    added: Vec<f32>,
}

/// A step's adapted rows, as rows are left behind.
#[derive(Debug)]
pub struct Adapted<'a> {
    adapters: &'a [Adapter],
    rows: Vec<AdaptedRows>,
}

impl<'a> Adapted<'a> {
    /// The rows that some of `adapters` add to.
    pub fn new(adapters: &'a [Adapter], rows: &[AdaptedRows]) -> Self {
        Self { adapters, rows: rows.to_vec() }
    }

    /// Leaves behind all rows but `wanted`, ascending, which move to the front.
    pub fn keep(&mut self, wanted: &[usize]) {
        for adapted in &mut self.rows {
            let kept = |(to, from)| adapted.rows.binary_search(from).is_ok().then_some(to);
            adapted.rows = wanted.iter().enumerate().filter_map(kept).collect();
        }
    }
}

/// Adds what `adapted` add to `out`, `[tokens, width]`, at `point` of `layer`, whose product read `input`. No other row is
/// touched, and a row's sum does not depend on how many are computed beside it.
pub(in crate::model) fn add(
    device: &mut Device,
    buffers: &mut AdapterBuffers,
    adapted: &Adapted<'_>,
    (layer, point): (usize, Point),
    input: &Activations,
    out: &mut [f32],
    width: usize,
) -> Result<(), WorkerPanicked> {
    let Device { pool, isa, order: _, profile } = device;
    let (isa, columns) = (*isa, input.columns());
    let float = [ActivationKind::Float];
    for AdaptedRows { adapter, rows } in &adapted.rows {
        let Some(adapter) = adapted.adapters.get(*adapter) else { continue };
        let additions = adapter.at(layer, point);
        if additions.is_empty() || rows.is_empty() {
            continue;
        }
        let began = profile.begin();
        buffers.input.reset(rows.len(), columns, &float);
        buffers.input.gather(isa, input.floats(), rows.iter().copied());
        for addition in additions {
            let (rank, height) = (addition.a.layout().rows(), addition.b.layout().rows());
            resize(&mut buffers.reduced, rows.len() * rank);
            let a = [Product { weights: &addition.a, column: 0 }];
            matmul(pool, isa, &a, &buffers.input, &mut buffers.reduced, rank, Output::Replace)?;
            buffers.reduced.iter_mut().for_each(|x| *x *= addition.scale);
            buffers.reduced_input.reset(rows.len(), rank, &float);
            buffers.reduced_input.set(isa, &buffers.reduced);
            resize(&mut buffers.added, rows.len() * height);
            let b = [Product { weights: &addition.b, column: 0 }];
            matmul(pool, isa, &b, &buffers.reduced_input, &mut buffers.added, height, Output::Replace)?;
            for (row, added) in rows.iter().zip(buffers.added.chunks_exact(height)) {
                let start = row * width + addition.column;
                let Some(out) = out.get_mut(start..start + height) else { continue };
                out.iter_mut().zip(added).for_each(|(to, more)| *to += more);
            }
        }
        profile.end(Operation::Adapters, began, || {
            let matrices =
                || additions.iter().flat_map(|addition| [addition.a.layout(), addition.b.layout()]);
            Work {
                bytes: matrices().map(|layout| layout.bytes() as u64).sum(),
                multiplications: matrices().map(|m| (m.rows() * m.columns() * rows.len()) as u64).sum(),
            }
        });
    }
    Ok(())
}
