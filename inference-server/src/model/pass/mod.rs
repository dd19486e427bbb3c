//! The steps that forward passes are written in: one step of the engine, on one device.
//!
//! A step's tokens, of whatever sequences, are rows of one matrix, the stream; only attention tells sequences
//! apart. A family's forward pass is a short list of calls here, in the order of its paper, and knows no device:
//! [`cpu`] computes them, others may write them down.

pub mod cpu;
mod step;

pub use step::{AdaptedRows, Step};

use super::rotary::Rotary;
use crate::kernels::attention::Sight;
use crate::kernels::elementwise::{Activation, Norm, QkvShape};
use crate::kernels::packed::PackedMatrix;
use crate::kernels::pool::WorkerPanicked;

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

/// A matrix with a bias.
#[derive(Debug)]
pub struct Linear {
    /// `[rows, columns]`.
    pub matrix: PackedMatrix,
    /// `[rows]`.
    pub bias: Vec<f32>,
}

/// A layer's experts.
#[derive(Debug)]
pub struct Experts {
    /// `[experts, embedding]`.
    pub router: PackedMatrix,
    /// All of one size.
    pub experts: Vec<FeedForward>,
    /// Experts that a row is sent to.
    pub chosen: usize,
    /// True when the chosen experts' weights are scaled to sum to 1.
    pub normalized: bool,
}

impl Experts {
    /// Every matrix that reads the input: what it must be quantised for.
    pub fn readers(&self) -> Vec<PackedMatrix> {
        let gate_up = self.experts.first().map_or(&[][..], |expert| &expert.gate_up);
        std::iter::once(&self.router).chain(gate_up).cloned().collect()
    }
}

/// One step under way, on whatever device: what decoders' forward passes are written in.
///
/// The stream is `[rows, embedding]`; what the last normalisation left is the input of the next product. Each call is
/// computed, or written down to be computed; a pass that is only written down never fails.
pub trait Pass {
    /// Begins the step: the stream holds its tokens' embeddings in `table`, times `scale`.
    ///
    /// # Errors
    /// [`WorkerPanicked`], as from everything here: then neither cache nor logits are to be used.
    fn begin(&mut self, table: &PackedMatrix, scale: f32) -> Result<(), WorkerPanicked>;

    /// Makes the tables of the model's rotary embeddings for the step's positions.
    fn turn_by(&mut self, rotaries: &[&Rotary]);

    /// Input of `readers`: the stream, normalised.
    ///
    /// # Errors
    /// As [`Self::begin`].
    fn normalize(&mut self, norm: &Norm, readers: &[PackedMatrix]) -> Result<(), WorkerPanicked>;

    /// Attention of `layer`: reads the input, stores keys and values, leaves the result to be projected.
    ///
    /// # Errors
    /// As [`Self::begin`].
    fn attend(
        &mut self,
        layer: usize,
        weights: &Attention,
        spec: &AttentionSpec,
    ) -> Result<(), WorkerPanicked>;

    /// Keeps only the rows whose logits are wanted: after the last attention, others matter to nothing.
    fn keep_wanted(&mut self);

    /// Adds what was attended, through the output's matrix, to the stream.
    ///
    /// # Errors
    /// As [`Self::begin`].
    fn add_attended(&mut self, weights: &Attention) -> Result<(), WorkerPanicked>;

    /// As [`Self::add_attended`], normalised by `norm` before it joins the stream.
    ///
    /// # Errors
    /// As [`Self::begin`].
    fn add_attended_normalized(&mut self, output: &PackedMatrix, norm: &Norm) -> Result<(), WorkerPanicked>;

    /// Adds the feed-forward part of the input to the stream.
    ///
    /// # Errors
    /// As [`Self::begin`].
    fn add_feed_forward(
        &mut self,
        weights: &FeedForward,
        activation: Activation,
    ) -> Result<(), WorkerPanicked>;

    /// As [`Self::add_feed_forward`], normalised by `norm` before it joins the stream.
    ///
    /// # Errors
    /// As [`Self::begin`].
    fn add_feed_forward_normalized(
        &mut self,
        weights: &FeedForward,
        activation: Activation,
        norm: &Norm,
    ) -> Result<(), WorkerPanicked>;

    /// Adds each row's chosen experts, weighted, to the stream.
    ///
    /// # Errors
    /// As [`Self::begin`].
    fn add_experts(&mut self, weights: &Experts, activation: Activation) -> Result<(), WorkerPanicked>;

    /// Gives `[wanted, vocabulary]` logits of the stream, capped where there is a cap.
    ///
    /// # Errors
    /// As [`Self::begin`].
    fn logits(
        &mut self,
        norm: &Norm,
        head: &PackedMatrix,
        soft_cap: Option<f32>,
    ) -> Result<(), WorkerPanicked>;
}

/// The same for encoders, whose normalisations come after each part.
pub trait EncoderPass: Pass {
    /// Adds to each row of the stream its position's row of `table`, which has `first` rows before position 0.
    ///
    /// # Errors
    /// As [`Pass::begin`].
    fn add_positions(&mut self, table: &PackedMatrix, first: usize) -> Result<(), WorkerPanicked>;

    /// Adds to each row of the stream its token type's row of `table`.
    ///
    /// # Errors
    /// As [`Pass::begin`].
    fn add_types(&mut self, table: &PackedMatrix) -> Result<(), WorkerPanicked>;

    /// Normalises the stream.
    ///
    /// # Errors
    /// As [`Pass::begin`].
    fn normalize_stream(&mut self, norm: &Norm) -> Result<(), WorkerPanicked>;

    /// Input of `readers`: the stream as it is.
    ///
    /// # Errors
    /// As [`Pass::begin`].
    fn read_stream(&mut self, readers: &[PackedMatrix]) -> Result<(), WorkerPanicked>;

    /// Adds a feed-forward part without a gate to the stream.
    ///
    /// # Errors
    /// As [`Pass::begin`].
    fn add_plain_feed_forward(
        &mut self,
        up: &Linear,
        down: &Linear,
        activation: Activation,
    ) -> Result<(), WorkerPanicked>;

    /// Gives `[sequences, labels]` scores of each sequence's first token: dense, tanh, then scores.
    ///
    /// # Errors
    /// As [`Pass::begin`].
    fn classify(&mut self, dense: &Linear, scores: &Linear) -> Result<(), WorkerPanicked>;

    /// Gives the stream, `[rows, embedding]`.
    ///
    /// # Errors
    /// As [`Pass::begin`].
    fn hidden_states(&mut self) -> Result<(), WorkerPanicked>;
}
