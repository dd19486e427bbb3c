//! A model's forward pass, written down once: what is launched, over matrices and vectors by their places. It says
//! nothing of a step's size.

use weighbridge_cuda::form::Matrix;
use weighbridge_cuda::operations::attention::HeadShape;

use super::shard::Shard;
use crate::kernels::attention::Sight;
use crate::kernels::elementwise::{Activation, PairLayout};

/// Place of a vector among the program's floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vector(pub(super) usize);

/// A normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct NormPlan {
    pub(super) weight: Vector,
    pub(super) bias: Option<Vector>,
    pub(super) layer: bool,
    pub(super) epsilon: f32,
}

/// Matrices that read one input and whose results lie side by side.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Products {
    pub(super) matrices: Vec<Matrix>,
    /// Of all of them, one after another.
    pub(super) bias: Option<Vector>,
    /// Columns of all results.
    pub(super) width: usize,
}

/// One layer's attention, up to what is projected back.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct AttendPlan {
    pub(super) layer: usize,
    pub(super) projections: Products,
    pub(super) shape: HeadShape,
    pub(super) query_scale: f32,
    pub(super) query_norm: Option<Vector>,
    pub(super) key_norm: Option<Vector>,
    pub(super) norm_epsilon: f32,
    /// Index among the program's rotary embeddings.
    pub(super) rotary: usize,
    /// Index among the program's sights.
    pub(super) sight: usize,
    pub(super) soft_cap: Option<f32>,
}

/// The experts' matrices of one kind: the first, and how far the next is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ExpertMatrices {
    pub(super) first: Matrix,
    pub(super) stride: u64,
}

/// A mixture of experts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct MixturePlan {
    pub(super) router: Matrix,
    /// Gate and up, or one that holds both.
    pub(super) gate_up: Vec<ExpertMatrices>,
    pub(super) down: ExpertMatrices,
    pub(super) chosen: usize,
    pub(super) normalized: bool,
    pub(super) activation: Activation,
}

/// What one call of a pass becomes. Matrices' addresses are places in the weights' memory.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operation {
    /// The stream is the tokens' embeddings.
    Embed { table: Matrix, scale: f32 },
    /// The input is the stream, normalised.
    Normalize(NormPlan),
    /// Attention of the input.
    Attend(AttendPlan),
    /// Only rows whose logits are wanted go on.
    KeepWanted,
    /// What was attended joins the stream, normalised first where there is a norm.
    AddAttended { layer: usize, output: Matrix, bias: Option<Vector>, norm: Option<NormPlan> },
    /// A gated feed-forward part of the input joins the stream.
    AddFeedForward {
        layer: usize,
        gate_up: Products,
        down: Matrix,
        activation: Activation,
        norm: Option<NormPlan>,
    },
    /// Experts of the input join the stream.
    AddExperts(MixturePlan),
    /// Logits of the input.
    Logits { head: Matrix, soft_cap: Option<f32> },
}

/// A rotary embedding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RotaryPlan {
    /// Place of the first among the program's frequencies.
    pub(super) first: usize,
    pub(super) pairs: usize,
    pub(super) magnitude: f64,
    pub(super) layout: PairLayout,
}

/// The widest of what lies between operations; columns, where nothing else is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Widths {
    pub(super) embedding: usize,
    pub(super) qkv: usize,
    /// Of queries as attention reads them.
    pub(super) queries: usize,
    pub(super) attended: usize,
    pub(super) gate_up: usize,
    pub(super) gated: usize,
    pub(super) vocabulary: usize,
    /// Experts of a mixture.
    pub(super) experts: usize,
    /// Experts of a row.
    pub(super) chosen: usize,
    pub(super) expert_gate_up: usize,
    pub(super) expert_gated: usize,
    /// Pairs of all rotary embeddings.
    pub(super) pairs: usize,
    /// Elements of the largest matrix that many rows are multiplied with, as plain rows.
    pub(super) plain: usize,
}

/// A forward pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Program {
    pub(super) operations: Vec<Operation>,
    /// Norms and biases.
    pub(super) vectors: Vec<f32>,
    pub(super) frequencies: Vec<f64>,
    pub(super) rotaries: Vec<RotaryPlan>,
    /// Every sight that a layer has, each once.
    pub(super) sights: Vec<Sight>,
    /// Heads of all layers: of one size.
    pub(super) heads: Option<HeadShape>,
    pub(super) widths: Widths,
    /// The card's part: matrices and heads are of it alone.
    pub(super) shard: Shard,
}
