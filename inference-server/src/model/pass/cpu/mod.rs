//! The passes of the CPU: every step computed as it is called.

mod encoder;
mod experts;
mod products;

pub(in crate::model) use products::resize;

use std::time::Instant;

use super::super::adapter::{self, Adapted, Adapter, AdapterBuffers, Point};
use super::super::profile::{Operation, Profile, Work};
use super::super::rotary::Rotary;
use super::{Attention, AttentionSpec, Experts, FeedForward, Pass, Step};
use crate::kernels::Isa;
use crate::kernels::activations::Activations;
use crate::kernels::attention::{AdditionOrder, AttentionShape, KvCache, attention};
use crate::kernels::elementwise::{
    Activation, Norm, QkvWeights, RotaryTable, add_normalized, add_rows, embed, gate, normalize, quantize,
    rotate_and_store, scale_capped,
};
use crate::kernels::matmul::{Output, matmul};
use crate::kernels::packed::PackedMatrix;
use crate::kernels::pool::{Pool, WorkerPanicked};
use products::{keep_rows, kinds, of_attention, of_products, project, side_by_side};

/// The threads and the instruction set to compute with.
#[derive(Debug)]
pub struct Device {
    /// Worker threads.
    pub pool: Pool,
    /// Kernels.
    pub isa: Isa,
    /// How attention adds up.
    pub order: AdditionOrder,
    /// Where time goes, while somebody wants to know.
    pub profile: Profile,
}

/// Intermediate values; grow to the largest step.
#[derive(Debug, Default)]
pub struct Buffers {
    /// Residual stream, `[rows, embedding]`.
    stream: Vec<f32>,
    /// What the products that read the stream take, `[rows, embedding]`.
    input: Activations,
    qkv: Vec<f32>,
    attended: Vec<f32>,
    attended_input: Activations,
    gate_up: Vec<f32>,
    gated: Activations,
    /// What a layer's part made before it joins the stream, `[rows, embedding]`.
    branch: Vec<f32>,
    rotary: Vec<RotaryTable>,
    experts: experts::ExpertBuffers,
    adapters: AdapterBuffers,
}

/// One step under way.
pub struct CpuPass<'a> {
    device: &'a mut Device,
    cache: &'a mut KvCache,
    step: &'a Step<'a>,
    buffers: &'a mut Buffers,
    /// Logits, scores or hidden states.
    out: &'a mut [f32],
    /// Rows that are still computed.
    rows: usize,
    embedding: usize,
    /// The layer that attended last.
    layer: usize,
    /// The step's, as rows are left behind.
    adapted: Adapted<'a>,
}

impl<'a> CpuPass<'a> {
    /// A pass over `step` that leaves in `out` what the model gives, which has its room.
    pub fn new(
        device: &'a mut Device,
        cache: &'a mut KvCache,
        adapters: &'a [Adapter],
        step: &'a Step<'a>,
        buffers: &'a mut Buffers,
        out: &'a mut [f32],
    ) -> Self {
        let (rows, adapted) = (step.tokens.len(), Adapted::new(adapters, &step.adapted));
        Self { device, cache, step, buffers, out, rows, embedding: 0, layer: 0, adapted }
    }

    /// Ends the span of a product with `matrix` that took all rows.
    fn end_product(&mut self, operation: Operation, began: Option<Instant>, matrix: &PackedMatrix) {
        let rows = self.rows;
        self.device.profile.end(operation, began, || of_products(std::slice::from_ref(matrix), rows));
    }

    /// Adds the branch, normalised, to the stream.
    fn add_branch(&mut self, norm: &Norm) -> Result<(), WorkerPanicked> {
        let b = &mut *self.buffers;
        let began = self.device.profile.begin();
        add_normalized(&mut self.device.pool, self.device.isa, &mut b.branch, norm, &mut b.stream)?;
        self.device.profile.end(Operation::Normalize, began, Work::default);
        Ok(())
    }

    fn quantize_attended(&mut self, reader: &PackedMatrix) -> Result<(), WorkerPanicked> {
        let b = &mut *self.buffers;
        let columns = reader.layout().columns();
        b.attended_input.reset(self.rows, columns, &kinds(std::slice::from_ref(reader)));
        quantize(&mut self.device.pool, self.device.isa, &b.attended, &mut b.attended_input)
    }

    fn gate(&mut self, weights: &FeedForward, activation: Activation) -> Result<(), WorkerPanicked> {
        let Device { pool, isa, order: _, profile } = &mut *self.device;
        let b = &mut *self.buffers;
        let columns = weights.down.layout().columns();
        resize(&mut b.gate_up, self.rows * 2 * columns);
        let products = side_by_side(&weights.gate_up);
        let began = profile.begin();
        matmul(pool, *isa, &products, &b.input, &mut b.gate_up, 2 * columns, Output::Replace)?;
        profile.end(Operation::GateUp, began, || of_products(&weights.gate_up, self.rows));
        let place = (self.layer, Point::GateUp);
        adapter::add(
            self.device,
            &mut b.adapters,
            &self.adapted,
            place,
            &b.input,
            &mut b.gate_up,
            2 * columns,
        )?;
        let Device { pool, isa, order: _, profile } = &mut *self.device;
        let isa = *isa;
        let began = profile.begin();
        b.gated.reset(self.rows, columns, &kinds(std::slice::from_ref(&weights.down)));
        gate(pool, isa, activation, &b.gate_up, &mut b.gated)?;
        profile.end(Operation::Gate, began, Work::default);
        Ok(())
    }
}

impl Pass for CpuPass<'_> {
    fn begin(&mut self, table: &PackedMatrix, scale: f32) -> Result<(), WorkerPanicked> {
        self.embedding = table.layout().columns();
        let b = &mut *self.buffers;
        resize(&mut b.stream, self.rows * self.embedding);
        let began = self.device.profile.begin();
        embed(&mut self.device.pool, table, &self.step.tokens, scale, &mut b.stream)?;
        let bytes = (self.rows * table.layout().stored_row_bytes()) as u64;
        self.device.profile.end(Operation::Embed, began, || Work { bytes, ..Work::default() });
        Ok(())
    }

    fn turn_by(&mut self, rotaries: &[&Rotary]) {
        self.buffers.rotary.resize_with(rotaries.len(), RotaryTable::default);
        for (table, rotary) in self.buffers.rotary.iter_mut().zip(rotaries) {
            let positions = self.step.positions.iter().copied();
            table.fill(rotary.layout, positions, &rotary.frequencies, rotary.magnitude);
        }
    }

    fn normalize(&mut self, norm: &Norm, readers: &[PackedMatrix]) -> Result<(), WorkerPanicked> {
        let b = &mut *self.buffers;
        let began = self.device.profile.begin();
        b.input.reset(self.rows, self.embedding, &kinds(readers));
        normalize(&mut self.device.pool, self.device.isa, &b.stream, norm, &mut b.input)?;
        self.device.profile.end(Operation::Normalize, began, Work::default);
        Ok(())
    }

    fn attend(
        &mut self,
        layer: usize,
        weights: &Attention,
        spec: &AttentionSpec,
    ) -> Result<(), WorkerPanicked> {
        let (width, out_width) = (spec.shape.width(), spec.shape.query_width());
        self.layer = layer;
        let Device { pool, isa, order: _, profile } = &mut *self.device;
        let b = &mut *self.buffers;
        resize(&mut b.qkv, self.rows * width);
        resize(&mut b.attended, self.rows * out_width);
        let began = profile.begin();
        matmul(
            pool,
            *isa,
            &side_by_side(&weights.projections),
            &b.input,
            &mut b.qkv,
            width,
            Output::Replace,
        )?;
        profile.end(Operation::Projections, began, || of_products(&weights.projections, self.rows));
        let place = (layer, Point::Projections);
        adapter::add(self.device, &mut b.adapters, &self.adapted, place, &b.input, &mut b.qkv, width)?;
        let Device { pool, isa, order, profile } = &mut *self.device;
        let (isa, order) = (*isa, *order);
        let before = QkvWeights {
            bias: &weights.bias,
            query_norm: weights.query_norm.as_ref(),
            key_norm: weights.key_norm.as_ref(),
        };
        let table = &b.rotary[spec.rotary];
        let (places, shape) = (&self.step.places, spec.shape);
        let began = profile.begin();
        rotate_and_store(pool, isa, shape, before, table, places, &mut b.qkv, self.cache, layer)?;
        profile.end(Operation::Store, began, Work::default);
        let shape = AttentionShape {
            heads: spec.shape.heads,
            query_width: width,
            out_width,
            sight: spec.sight,
            soft_cap: spec.soft_cap,
            order,
        };
        let sequences = &self.step.sequences;
        let began = profile.begin();
        attention(pool, isa, shape, sequences, self.cache, layer, &b.qkv, &mut b.attended)?;
        profile.end(Operation::Attention, began, || of_attention(sequences, self.cache, spec.sight));
        Ok(())
    }

    fn keep_wanted(&mut self) {
        let b = &mut *self.buffers;
        let width = b.attended.len() / self.rows.max(1);
        keep_rows(&mut b.stream, self.embedding, &self.step.wanted);
        keep_rows(&mut b.attended, width, &self.step.wanted);
        self.rows = self.step.wanted.len();
        resize(&mut b.stream, self.rows * self.embedding);
        resize(&mut b.attended, self.rows * width);
        self.adapted.keep(&self.step.wanted);
    }

    fn add_attended(&mut self, weights: &Attention) -> Result<(), WorkerPanicked> {
        let began = self.device.profile.begin();
        self.quantize_attended(&weights.output)?;
        let b = &mut *self.buffers;
        add_rows(&mut b.stream, &weights.output_bias);
        project(self.device, &weights.output, &b.attended_input, &mut b.stream, Output::Add)?;
        self.end_product(Operation::AttentionOutput, began, &weights.output);
        let (b, place) = (&mut *self.buffers, (self.layer, Point::Output));
        let (input, out) = (&b.attended_input, &mut b.stream);
        adapter::add(self.device, &mut b.adapters, &self.adapted, place, input, out, self.embedding)
    }

    fn add_attended_normalized(&mut self, output: &PackedMatrix, norm: &Norm) -> Result<(), WorkerPanicked> {
        let began = self.device.profile.begin();
        self.quantize_attended(output)?;
        let b = &mut *self.buffers;
        resize(&mut b.branch, self.rows * self.embedding);
        project(self.device, output, &b.attended_input, &mut b.branch, Output::Replace)?;
        self.end_product(Operation::AttentionOutput, began, output);
        let (b, place) = (&mut *self.buffers, (self.layer, Point::Output));
        let (input, out) = (&b.attended_input, &mut b.branch);
        adapter::add(self.device, &mut b.adapters, &self.adapted, place, input, out, self.embedding)?;
        self.add_branch(norm)
    }

    fn add_feed_forward(
        &mut self,
        weights: &FeedForward,
        activation: Activation,
    ) -> Result<(), WorkerPanicked> {
        self.gate(weights, activation)?;
        let b = &mut *self.buffers;
        let began = self.device.profile.begin();
        project(self.device, &weights.down, &b.gated, &mut b.stream, Output::Add)?;
        self.end_product(Operation::Down, began, &weights.down);
        let (b, place) = (&mut *self.buffers, (self.layer, Point::Down));
        adapter::add(
            self.device,
            &mut b.adapters,
            &self.adapted,
            place,
            &b.gated,
            &mut b.stream,
            self.embedding,
        )
    }

    fn add_feed_forward_normalized(
        &mut self,
        weights: &FeedForward,
        activation: Activation,
        norm: &Norm,
    ) -> Result<(), WorkerPanicked> {
        self.gate(weights, activation)?;
        let b = &mut *self.buffers;
        resize(&mut b.branch, self.rows * self.embedding);
        let began = self.device.profile.begin();
        project(self.device, &weights.down, &b.gated, &mut b.branch, Output::Replace)?;
        self.end_product(Operation::Down, began, &weights.down);
        let (b, place) = (&mut *self.buffers, (self.layer, Point::Down));
        let (input, out) = (&b.gated, &mut b.branch);
        adapter::add(self.device, &mut b.adapters, &self.adapted, place, input, out, self.embedding)?;
        self.add_branch(norm)
    }

    fn logits(
        &mut self,
        norm: &Norm,
        head: &PackedMatrix,
        soft_cap: Option<f32>,
    ) -> Result<(), WorkerPanicked> {
        self.normalize(norm, std::slice::from_ref(head))?;
        let began = self.device.profile.begin();
        project(self.device, head, &self.buffers.input, self.out, Output::Replace)?;
        self.end_product(Operation::Head, began, head);
        match soft_cap {
            None => Ok(()),
            Some(cap) => {
                let vocabulary = head.layout().rows();
                scale_capped(&mut self.device.pool, self.device.isa, self.out, vocabulary, cap)
            }
        }
    }

    fn add_experts(&mut self, weights: &Experts, activation: Activation) -> Result<(), WorkerPanicked> {
        self.add_routed(weights, activation)
    }
}
