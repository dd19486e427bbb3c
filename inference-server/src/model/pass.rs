//! The steps that forward passes are written in: one step of the engine, on one device.
//!
//! A step's tokens, of whatever sequences, are rows of one matrix, the stream; only attention tells sequences
//! apart. A family's forward pass is a short list of calls here, in the order of its paper.

use std::time::Instant;

use super::adapter::{self, AdaptedRows, AdapterBuffers, Point};
use super::profile::{Operation, Profile, Work};
use super::rotary::Rotary;
use crate::kernels::Isa;
use crate::kernels::activations::{ActivationKind, Activations};
use crate::kernels::attention::{AdditionOrder, AttentionShape, KvCache, SequenceQueries, Sight, attention};
use crate::kernels::elementwise::{
    Activation, Norm, QkvShape, QkvWeights, RotaryTable, add_normalized, add_rows, embed, gate, normalize,
    quantize, rotate_and_store, scale_capped,
};
use crate::kernels::matmul::{Output, Product, matmul};
use crate::kernels::packed::PackedMatrix;
use crate::kernels::pool::{Pool, WorkerPanicked};
use crate::kv::{BLOCK_SIZE, BlockId};

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

/// What a step computes: rows of all sequences, one after another.
#[derive(Debug, Default)]
pub struct Step<'a> {
    /// `[rows]` token ids, below the vocabulary's size.
    pub tokens: Vec<u32>,
    /// `[rows]` positions.
    pub positions: Vec<usize>,
    /// `[rows]` block and slot that a row's key and value go to.
    pub places: Vec<(BlockId, usize)>,
    /// Sequences; their rows follow one another.
    pub sequences: Vec<SequenceQueries<'a>>,
    /// Rows whose logits are wanted, ascending.
    pub wanted: Vec<usize>,
    /// Rows that adapters add to; a row is of one adapter or of none.
    pub adapted: Vec<AdaptedRows<'a>>,
}

/// Weights of one attention.
#[derive(Debug)]
pub struct Attention {
    /// Queries, keys and values, in this order: three matrices, or one that holds all.
    pub projections: Vec<PackedMatrix>,
    /// Added to all three, `[(heads + 2 * kv_heads) * head]`; empty where there is none.
    pub bias: Vec<f32>,
    /// Of each query head.
    pub query_norm: Option<Norm>,
    /// Of each key head.
    pub key_norm: Option<Norm>,
    /// `[embedding, heads * head]`.
    pub output: PackedMatrix,
    /// Added to the result, `[embedding]`; empty where there is none.
    pub output_bias: Vec<f32>,
}

/// How one layer attends.
#[derive(Clone, Copy, Debug)]
pub struct AttentionSpec {
    /// Heads, and the factor on queries.
    pub shape: QkvShape,
    /// What a token sees.
    pub sight: Sight,
    /// Cap on scores.
    pub soft_cap: Option<f32>,
    /// Which of the pass' rotary embeddings turns it.
    pub rotary: usize,
}

/// A gated feed-forward part.
#[derive(Debug)]
pub struct FeedForward {
    /// Gate, then up: two matrices `[feed_forward, embedding]`, or one that holds both.
    pub gate_up: Vec<PackedMatrix>,
    /// `[embedding, feed_forward]`.
    pub down: PackedMatrix,
}

/// Intermediate values; grow to the largest step.
#[derive(Debug, Default)]
pub struct Buffers {
    /// Residual stream, `[rows, embedding]`.
    pub(super) stream: Vec<f32>,
    /// What the products that read the stream take, `[rows, embedding]`.
    pub(super) input: Activations,
    pub(super) qkv: Vec<f32>,
    attended: Vec<f32>,
    attended_input: Activations,
    pub(super) gate_up: Vec<f32>,
    pub(super) gated: Activations,
    /// What a layer's part made before it joins the stream, `[rows, embedding]`.
    pub(super) branch: Vec<f32>,
    rotary: Vec<RotaryTable>,
    pub(super) experts: super::families::ExpertBuffers,
    adapters: AdapterBuffers,
}

/// One step under way.
pub struct Pass<'a> {
    /// What computes.
    pub device: &'a mut Device,
    cache: &'a mut KvCache,
    pub(super) step: &'a Step<'a>,
    pub(super) buffers: &'a mut Buffers,
    /// Rows that are still computed.
    pub(super) rows: usize,
    pub(super) embedding: usize,
    /// The layer that attended last.
    layer: usize,
    /// The step's, as rows are left behind.
    adapted: Vec<AdaptedRows<'a>>,
}

impl<'a> Pass<'a> {
    /// Begins `step`: the stream holds its tokens' embeddings, times `scale`.
    ///
    /// # Errors
    /// [`WorkerPanicked`], as from everything here: then neither cache nor logits are to be used.
    pub fn begin(
        device: &'a mut Device,
        cache: &'a mut KvCache,
        step: &'a Step<'a>,
        buffers: &'a mut Buffers,
        table: &PackedMatrix,
        scale: f32,
    ) -> Result<Self, WorkerPanicked> {
        let (rows, embedding) = (step.tokens.len(), table.layout().columns());
        resize(&mut buffers.stream, rows * embedding);
        let began = device.profile.begin();
        embed(&mut device.pool, table, &step.tokens, scale, &mut buffers.stream)?;
        let row = table.layout().stored_row_bytes();
        device
            .profile
            .end(Operation::Embed, began, || Work { bytes: (rows * row) as u64, ..Work::default() });
        Ok(Self { device, cache, step, buffers, rows, embedding, layer: 0, adapted: step.adapted.clone() })
    }

    /// Makes the tables of the model's rotary embeddings for the step's positions.
    pub fn turn_by(&mut self, rotaries: &[&Rotary]) {
        self.buffers.rotary.resize_with(rotaries.len(), RotaryTable::default);
        for (table, rotary) in self.buffers.rotary.iter_mut().zip(rotaries) {
            let positions = self.step.positions.iter().copied();
            table.fill(rotary.layout, positions, &rotary.frequencies, rotary.magnitude);
        }
    }

    /// Input of `readers`: the stream, normalised.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn normalize(&mut self, norm: &Norm, readers: &[PackedMatrix]) -> Result<(), WorkerPanicked> {
        let b = &mut *self.buffers;
        let began = self.device.profile.begin();
        b.input.reset(self.rows, self.embedding, &kinds(readers));
        normalize(&mut self.device.pool, self.device.isa, &b.stream, norm, &mut b.input)?;
        self.device.profile.end(Operation::Normalize, began, Work::default);
        Ok(())
    }

    /// Attention of `layer`: reads the input, stores keys and values, leaves the result to be projected.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn attend(
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

    /// Keeps only the rows whose logits are wanted: after the last attention, others matter to nothing.
    pub fn keep_wanted(&mut self) {
        let b = &mut *self.buffers;
        let width = b.attended.len() / self.rows.max(1);
        keep_rows(&mut b.stream, self.embedding, &self.step.wanted);
        keep_rows(&mut b.attended, width, &self.step.wanted);
        self.rows = self.step.wanted.len();
        resize(&mut b.stream, self.rows * self.embedding);
        resize(&mut b.attended, self.rows * width);
        for adapted in &mut self.adapted {
            let kept = |(to, from)| adapted.rows.binary_search(from).is_ok().then_some(to);
            adapted.rows = self.step.wanted.iter().enumerate().filter_map(kept).collect();
        }
    }

    /// Adds what was attended, through the output's matrix, to the stream.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn add_attended(&mut self, weights: &Attention) -> Result<(), WorkerPanicked> {
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

    /// As [`Self::add_attended`], normalised by `norm` before it joins the stream.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn add_attended_normalized(
        &mut self,
        output: &PackedMatrix,
        norm: &Norm,
    ) -> Result<(), WorkerPanicked> {
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

    /// Adds the feed-forward part of the input to the stream.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn add_feed_forward(
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

    /// As [`Self::add_feed_forward`], normalised by `norm` before it joins the stream.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn add_feed_forward_normalized(
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

    /// Writes `[wanted, vocabulary]` logits of the stream, capped where there is a cap.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn logits(
        &mut self,
        norm: &Norm,
        head: &PackedMatrix,
        soft_cap: Option<f32>,
        logits: &mut [f32],
    ) -> Result<(), WorkerPanicked> {
        self.normalize(norm, std::slice::from_ref(head))?;
        let began = self.device.profile.begin();
        project(self.device, head, &self.buffers.input, logits, Output::Replace)?;
        self.end_product(Operation::Head, began, head);
        match soft_cap {
            None => Ok(()),
            Some(cap) => {
                let vocabulary = head.layout().rows();
                scale_capped(&mut self.device.pool, self.device.isa, logits, vocabulary, cap)
            }
        }
    }

    /// The stream, `[rows, embedding]`.
    pub(super) fn stream(&mut self) -> &mut [f32] {
        &mut self.buffers.stream
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

/// Work of products of `rows` rows with each of `matrices`.
pub(super) fn of_products(matrices: &[PackedMatrix], rows: usize) -> Work {
    let layouts = || matrices.iter().map(PackedMatrix::layout);
    Work {
        bytes: layouts().map(|layout| layout.bytes() as u64).sum(),
        multiplications: layouts().map(|layout| (layout.rows() * layout.columns() * rows) as u64).sum(),
    }
}

/// Keys and values of one layer that `sequences` see, each once.
fn of_attention(sequences: &[SequenceQueries<'_>], cache: &KvCache, sight: Sight) -> Work {
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
pub(super) fn project(
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
pub(super) fn side_by_side(matrices: &[PackedMatrix]) -> Vec<Product<'_>> {
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
pub(super) fn kinds(matrices: &[PackedMatrix]) -> Vec<ActivationKind> {
    matrices.iter().map(|matrix| ActivationKind::of(matrix.layout().kind())).collect()
}

pub(super) fn resize(buffer: &mut Vec<f32>, length: usize) {
    buffer.resize(length, 0.0);
}

/// Moves rows `kept`, ascending, to the front of `matrix`, `[_, width]`.
fn keep_rows(matrix: &mut [f32], width: usize, kept: &[usize]) {
    for (to, &from) in kept.iter().enumerate() {
        if to != from && (from + 1) * width <= matrix.len() {
            matrix.copy_within(from * width..(from + 1) * width, to * width);
        }
    }
}
