//! Feed-forward parts: one for all rows, or experts for each.

use weighbridge_cuda::device::DeviceError;
use weighbridge_cuda::form::{Matrix, input_stride};
use weighbridge_cuda::launch::Address;
use weighbridge_cuda::operations::{CombineExperts, Experts, Gate, Product, Route, SortByExpert, Width};

use super::super::adapters::Target;
use super::super::program::{ExpertMatrices, MixturePlan, NormPlan, Products};
use super::{Execution, Input, Out};
use crate::kernels::elementwise::Activation;
use crate::model::adapter::Point;

impl Execution<'_> {
    /// Gate, up and down of the input join the stream.
    pub(super) fn add_feed_forward(
        &mut self,
        layer: usize,
        gate_up: &Products,
        down: &Matrix,
        activation: Activation,
        norm: Option<&NormPlan>,
    ) -> Result<(), DeviceError> {
        let scratch = &self.memory.layout.scratch;
        let (input, both) = (self.stream_input(), self.scratch(scratch.gate_up));
        self.products(gate_up, input, both)?;
        self.adapt(Target { layer, point: Point::GateUp }, input, both, gate_up.width)?;
        let gated = Input { at: self.scratch(scratch.gated), stride: input_stride(down.columns) };
        self.gate(both, gated, self.rows, down.columns, activation)?;
        self.add_product(down, gated, None, norm, Target { layer, point: Point::Down })
    }

    fn gate(
        &mut self,
        input: Address,
        out: Input,
        rows: usize,
        columns: usize,
        activation: Activation,
    ) -> Result<(), DeviceError> {
        let gate =
            Gate { input, out: out.at, rows, columns, out_stride: out.stride, activation, gated: true };
        self.device.launch(&gate.launch())
    }

    /// Each row's chosen experts join the stream, weighted.
    pub(super) fn add_experts(&mut self, mixture: &MixturePlan) -> Result<(), DeviceError> {
        let scratch = &self.memory.layout.scratch;
        let (rows, chosen, experts) = (self.rows, mixture.chosen, mixture.router.rows);
        let input = self.stream_input();
        let scores = self.scratch(scratch.scores);
        self.product(&mixture.router, input, Out { at: scores, stride: experts, add: false }, None)?;
        let (choices, shares) = (self.scratch(scratch.choices), self.scratch(scratch.shares));
        let normalized = mixture.normalized;
        let route = Route { scores, rows, experts, chosen, normalized, choices, shares };
        self.device.launch(&route.launch())?;
        let sort = SortByExpert {
            choices,
            rows,
            chosen,
            experts,
            // Rows of one expert: a few while decoding, many in a prompt.
            width: if rows * chosen <= 8 * experts { Width::Eight } else { Width::SixtyFour },
            counts: self.scratch(scratch.counts),
            rows_of: self.scratch(scratch.rows_of),
            slots_of: self.scratch(scratch.slots_of),
            tiles: self.scratch(scratch.expert_tiles),
        };
        for launch in sort.launches() {
            self.device.launch(&launch)?;
        }
        let slots = rows * chosen;
        let width: usize = mixture.gate_up.iter().map(|part| part.first.rows).sum();
        let both = self.scratch(scratch.expert_gate_up);
        let mut column = 0;
        for part in &mixture.gate_up {
            let out = Out { at: both.offset((4 * column) as u64), stride: width, add: false };
            self.experts(part, &sort, input, sort.rows_of, slots, out)?;
            column += part.first.rows;
        }
        let inner = mixture.down.first.columns;
        let gated = Input { at: self.scratch(scratch.expert_gated), stride: input_stride(inner) };
        self.gate(both, gated, slots, inner, mixture.activation)?;
        let made = self.scratch(scratch.made);
        let out = Out { at: made, stride: self.embedding(), add: false };
        self.experts(&mixture.down, &sort, gated, Address::NULL, slots, out)?;
        let (stream, columns, slots_of) = (self.stream, self.embedding(), sort.slots_of);
        if !self.program.shard.is_first() {
            // The first brings the stream to the sum.
            self.device.fill(stream, 0, (4 * rows * columns) as u64)?;
        }
        let combine = CombineExperts { made, slots_of, shares, stream, rows, columns, chosen };
        self.device.launch(&combine.launch())?;
        self.sum(stream)
    }

    /// The product of each slot with its expert's matrix.
    fn experts(
        &mut self,
        matrices: &ExpertMatrices,
        sort: &SortByExpert,
        input: Input,
        input_rows: Address,
        slots: usize,
        out: Out,
    ) -> Result<(), DeviceError> {
        let weights = self.weights(&matrices.first);
        let product = Product {
            weights: &weights,
            input: input.at,
            input_stride: input.stride,
            tokens: slots,
            out: out.at,
            out_stride: out.stride,
            bias: Address::NULL,
            add: out.add,
            experts: Some(Experts {
                stride: matrices.stride,
                tiles: sort.tiles,
                tile_count: sort.tile_count(),
                width: sort.width,
                input_rows,
            }),
        };
        self.device.launch(&product.launch())
    }
}
