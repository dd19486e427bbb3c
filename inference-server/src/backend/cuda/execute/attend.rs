//! Attention, and its way back to the stream.

use weighbridge_cuda::device::DeviceError;
use weighbridge_cuda::form::{Matrix, input_stride};
use weighbridge_cuda::operations::RotateAndStore;
use weighbridge_cuda::operations::attention::Attention;

use super::super::adapters::Target;
use super::super::program::{AttendPlan, NormPlan, Vector};
use super::{Execution, Input, Out};
use crate::model::adapter::Point;

impl Execution<'_> {
    /// Attention of the input: projected, stored, and what was attended left in its place.
    pub(super) fn attend(&mut self, plan: &AttendPlan) -> Result<(), DeviceError> {
        let (scratch, program) = (&self.memory.layout.scratch, self.program);
        let (input, qkv) = (self.stream_input(), self.scratch(scratch.qkv));
        self.products(&plan.projections, input, qkv)?;
        let target = Target { layer: plan.layer, point: Point::Projections };
        self.adapt(target, input, qkv, plan.projections.width)?;
        let queries = self.scratch(scratch.queries);
        let keys = self.memory.cache.offset(2 * plan.layer as u64 * self.memory.layer_bytes);
        let values = keys.offset(self.memory.layer_bytes);
        let store = RotateAndStore {
            shape: plan.shape,
            qkv,
            rows: self.rows,
            query_norm: self.vector(plan.query_norm),
            key_norm: self.vector(plan.key_norm),
            epsilon: plan.norm_epsilon,
            query_scale: plan.query_scale,
            table: self.rotary(plan.rotary),
            layout: program.rotaries[plan.rotary].layout,
            places: self.input_place(self.memory.layout.inputs.places),
            queries,
            keys,
            values,
        };
        self.device.launch(&store.launch())?;
        let attention = Attention {
            shape: plan.shape,
            sight: program.sights[plan.sight],
            soft_cap: plan.soft_cap,
            queries,
            keys,
            values,
            tables: self.input_place(self.memory.layout.inputs.tables),
            out: self.attended,
            out_stride: input_stride(program.widths.attended),
            partials: self.scratch(scratch.partials),
        };
        let [split, rows, combine] =
            self.memory.layout.inputs.tiles[plan.sight].map(|at| self.input_place(at));
        let [splits, row_tiles, combines] = self.shape.tiles[plan.sight];
        if splits > 0 {
            self.device.launch(&attention.split(split, splits))?;
        }
        if row_tiles > 0 {
            self.device.launch(&attention.rows(rows, row_tiles))?;
        }
        if combines > 0 {
            self.device.launch(&attention.combine(combine, combines))?;
        }
        Ok(())
    }

    /// What was attended, projected, joins the stream.
    pub(super) fn add_attended(
        &mut self,
        layer: usize,
        output: &Matrix,
        bias: Option<Vector>,
        norm: Option<&NormPlan>,
    ) -> Result<(), DeviceError> {
        let input = Input { at: self.attended, stride: input_stride(self.program.widths.attended) };
        let target = Target { layer, point: Point::Output };
        self.add_product(output, input, bias, norm, target)
    }

    /// A product that joins the stream, normalised first where there is a norm. Each card has a part of the product: the
    /// first adds its to the stream, the others' are in their place, and the sum is everyone's stream.
    pub(super) fn add_product(
        &mut self,
        matrix: &Matrix,
        input: Input,
        bias: Option<Vector>,
        norm: Option<&NormPlan>,
        target: Target,
    ) -> Result<(), DeviceError> {
        let stride = self.embedding();
        let (at, add) = match norm {
            None => (self.stream, self.program.shard.is_first()),
            Some(_) => (self.scratch(self.memory.layout.scratch.branch), false),
        };
        self.product(matrix, input, Out { at, stride, add }, bias)?;
        self.adapt(target, input, at, stride)?;
        self.sum(at)?;
        match norm {
            Some(norm) => self.add_branch(norm),
            None => Ok(()),
        }
    }
}
