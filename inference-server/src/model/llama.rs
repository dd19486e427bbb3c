//! The Llama forward pass: Llama 2 and 3, SmolLM2, Mistral.
//!
//! A step's tokens, of whatever sequences, are rows of one matrix; only attention tells sequences apart.

use super::LlamaConfig;
use super::weights::PackedWeights;
use crate::kernels::Isa;
use crate::kernels::activations::{ActivationKind, Activations};
use crate::kernels::attention::{AttentionShape, KvCache, SequenceQueries, attention};
use crate::kernels::elementwise::{
    QkvShape, RotaryTable, embed, quantize, rms_norm, rotate_and_store, swiglu,
};
use crate::kernels::matmul::{Output, Product, matmul};
use crate::kernels::packed::PackedMatrix;
use crate::kernels::pool::{Pool, WorkerPanicked};
use crate::kv::BlockId;

/// The threads and the instruction set to compute with.
#[derive(Debug)]
pub struct Device {
    /// Worker threads.
    pub pool: Pool,
    /// Kernels.
    pub isa: Isa,
}

/// One step: rows of all sequences, one after another.
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
}

/// A model, its weights packed, with the memory its steps need.
#[derive(Debug)]
pub struct Llama {
    config: LlamaConfig,
    weights: PackedWeights,
    frequencies: Vec<f64>,
    scratch: Scratch,
}

/// Intermediate values; grows to the largest step.
#[derive(Debug, Default)]
struct Scratch {
    /// Residual stream, `[rows, embedding]`.
    stream: Vec<f32>,
    /// Input of the products that read the stream, `[rows, embedding]`.
    normed: Activations,
    /// Queries, keys and values, `[rows, (heads + 2 * kv_heads) * head]`.
    qkv: Vec<f32>,
    /// Attention's results, `[rows, heads * head]`.
    attended: Vec<f32>,
    /// The same, quantised.
    attended_input: Activations,
    /// Gates, then ups, `[rows, 2 * feed_forward]`.
    gate_up: Vec<f32>,
    /// `silu(gate) * up`, `[rows, feed_forward]`.
    gated: Activations,
    rotary: RotaryTable,
}

impl Llama {
    /// A model of `config` with `weights` of its shapes.
    pub fn new(config: LlamaConfig, weights: PackedWeights) -> Self {
        let frequencies = config.rotary_frequencies(weights.rope_factors.as_deref());
        Self { config, weights, frequencies, scratch: Scratch::default() }
    }

    /// Its dimensions.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// Length of a row of logits.
    pub fn vocabulary(&self) -> usize {
        self.weights.embedding.layout().rows()
    }

    /// Runs `step`: stores its keys and values in `cache`, writes `[wanted, vocabulary]` logits.
    ///
    /// # Errors
    /// [`WorkerPanicked`], when cache and logits are not to be used.
    pub fn forward(
        &mut self,
        device: &mut Device,
        cache: &mut KvCache,
        step: &Step<'_>,
        logits: &mut [f32],
    ) -> Result<(), WorkerPanicked> {
        let Self { config, weights, frequencies, scratch: s } = self;
        let Device { pool, isa } = device;
        let isa = *isa;
        let mut rows = step.tokens.len();
        let (embedding, queries, kv) = (config.embedding, config.query_width(), config.kv_width());
        let qkv_shape = QkvShape {
            heads: config.heads,
            kv_heads: config.kv_heads,
            head: config.head,
            query_scale: 1.0 / (config.head as f32).sqrt(),
        };
        let attention_shape =
            AttentionShape { heads: config.heads, query_width: qkv_shape.width(), out_width: queries };

        s.resize(config, rows);
        embed(pool, &weights.embedding, &step.tokens, &mut s.stream)?;
        s.rotary.fill(step.positions.iter().copied(), frequencies);

        for (index, layer) in weights.layers.iter().enumerate() {
            s.normed.reset(rows, embedding, &kinds(&[&layer.query, &layer.key, &layer.value]));
            rms_norm(pool, isa, &s.stream, &layer.attention_norm, config.epsilon, &mut s.normed)?;
            let qkv = [
                Product { weights: &layer.query, column: 0 },
                Product { weights: &layer.key, column: queries },
                Product { weights: &layer.value, column: queries + kv },
            ];
            matmul(pool, isa, &qkv, &s.normed, &mut s.qkv, qkv_shape.width(), Output::Replace)?;
            rotate_and_store(pool, isa, qkv_shape, &s.rotary, &step.places, &mut s.qkv, cache, index)?;
            attention(pool, isa, attention_shape, &step.sequences, cache, index, &s.qkv, &mut s.attended)?;

            // After the last attention a row only matters to its own logits.
            if index + 1 == weights.layers.len() {
                keep_rows(&mut s.stream, embedding, &step.wanted);
                keep_rows(&mut s.attended, queries, &step.wanted);
                rows = step.wanted.len();
            }

            s.attended_input.reset(rows, queries, &kinds(&[&layer.attention_output]));
            quantize(pool, isa, &s.attended, &mut s.attended_input)?;
            let output = [Product { weights: &layer.attention_output, column: 0 }];
            matmul(pool, isa, &output, &s.attended_input, &mut s.stream, embedding, Output::Add)?;

            s.normed.reset(rows, embedding, &kinds(&[&layer.gate, &layer.up]));
            rms_norm(pool, isa, &s.stream, &layer.feed_forward_norm, config.epsilon, &mut s.normed)?;
            let gate_up = [
                Product { weights: &layer.gate, column: 0 },
                Product { weights: &layer.up, column: config.feed_forward },
            ];
            let width = 2 * config.feed_forward;
            matmul(pool, isa, &gate_up, &s.normed, &mut s.gate_up, width, Output::Replace)?;
            s.gated.reset(rows, config.feed_forward, &kinds(&[&layer.down]));
            swiglu(pool, isa, &s.gate_up, &mut s.gated)?;
            let down = [Product { weights: &layer.down, column: 0 }];
            matmul(pool, isa, &down, &s.gated, &mut s.stream, embedding, Output::Add)?;
        }

        let head = weights.head();
        s.normed.reset(rows, embedding, &kinds(&[head]));
        rms_norm(pool, isa, &s.stream, &weights.output_norm, config.epsilon, &mut s.normed)?;
        let product = [Product { weights: head, column: 0 }];
        matmul(pool, isa, &product, &s.normed, logits, head.layout().rows(), Output::Replace)
    }
}

impl Scratch {
    fn resize(&mut self, config: &LlamaConfig, rows: usize) {
        self.stream.resize(rows * config.embedding, 0.0);
        self.qkv.resize(rows * (config.query_width() + 2 * config.kv_width()), 0.0);
        self.attended.resize(rows * config.query_width(), 0.0);
        self.gate_up.resize(rows * 2 * config.feed_forward, 0.0);
    }
}

/// What the input of `matrices` must be quantised to.
fn kinds<const N: usize>(matrices: &[&PackedMatrix; N]) -> [ActivationKind; N] {
    matrices.map(|matrix| ActivationKind::of(matrix.layout().kind()))
}

/// Moves rows `kept`, ascending, to the front of `matrix`, `[_, width]`.
fn keep_rows(matrix: &mut [f32], width: usize, kept: &[usize]) {
    for (to, &from) in kept.iter().enumerate() {
        if to != from && (from + 1) * width <= matrix.len() {
            matrix.copy_within(from * width..(from + 1) * width, to * width);
        }
    }
}
