//! A pass that computes nothing: it writes down what a family calls.

use weighbridge_cuda::form::{Matrix, input_stride};
use weighbridge_cuda::operations::attention::{CacheKind, HeadShape, HeadWidth};

use super::program::{
    AttendPlan, ExpertMatrices, MixturePlan, NormPlan, Operation, Products, Program, RotaryPlan, Vector,
};
use super::shard::Shard;
use super::weights::WeightsPlan;
use crate::kernels::elementwise::{Activation, Norm, NormKind};
use crate::kernels::packed::PackedMatrix;
use crate::kernels::pool::WorkerPanicked;
use crate::model::DecoderModel;
use crate::model::pass::{Attention, AttentionSpec, Experts, FeedForward, Pass};
use crate::model::rotary::Rotary;

/// What a card can't compute of a model, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unserved(pub(super) String);

/// Writes down what `shard` does of the forward pass of `model`, whose matrices lie as `weights` says.
pub(super) fn record(
    model: &dyn DecoderModel,
    weights: &WeightsPlan,
    cache: CacheKind,
    shard: Shard,
) -> Result<Program, Unserved> {
    let program = Program { shard, ..Program::default() };
    let mut recorder = Recorder { weights, cache, program, layer: 0, unserved: None };
    // Nothing is computed, so that nothing panics.
    let _ = model.forward(&mut recorder);
    match recorder.unserved {
        Some(unserved) => Err(unserved),
        None => Ok(recorder.program),
    }
}

struct Recorder<'a> {
    weights: &'a WeightsPlan,
    cache: CacheKind,
    program: Program,
    layer: usize,
    /// The first thing that a card can't do.
    unserved: Option<Unserved>,
}

impl Recorder<'_> {
    fn refuse(&mut self, problem: String) {
        self.unserved.get_or_insert(Unserved(problem));
    }

    fn matrix(&mut self, packed: &PackedMatrix) -> Matrix {
        match self.weights.matrix(packed) {
            Some(matrix) => matrix,
            None => {
                self.refuse("a matrix of the model has no place in the plan of its weights".to_owned());
                self.weights.any()
            }
        }
    }

    fn vector(&mut self, values: &[f32]) -> Option<Vector> {
        let place = Vector(self.program.vectors.len());
        self.program.vectors.extend_from_slice(values);
        (!values.is_empty()).then_some(place)
    }

    fn norm(&mut self, norm: &Norm) -> NormPlan {
        NormPlan {
            weight: self.vector(&norm.weight).unwrap_or(Vector(0)),
            bias: self.vector(&norm.bias),
            layer: norm.kind == NormKind::Layer,
            epsilon: norm.epsilon,
        }
    }

    /// Norm of heads: root mean square is all that the kernel has.
    fn head_norm(&mut self, norm: Option<&Norm>) -> Option<Vector> {
        let norm = norm?;
        if norm.kind != NormKind::RootMeanSquare {
            self.refuse("heads are normalised by layer normalisation, which the kernel has not".to_owned());
        }
        self.vector(&norm.weight)
    }

    fn products(&mut self, matrices: &[PackedMatrix], bias: &[f32]) -> Products {
        let matrices: Vec<Matrix> = matrices.iter().map(|packed| self.multiplied(packed)).collect();
        let width = matrices.iter().map(|matrix| matrix.rows).sum();
        Products { matrices, bias: self.vector(bias), width }
    }

    /// A matrix that as many rows as a step has are multiplied with.
    fn multiplied(&mut self, packed: &PackedMatrix) -> Matrix {
        let matrix = self.matrix(packed);
        widen(&mut self.program.widths.plain, matrix.rows * input_stride(matrix.columns));
        matrix
    }

    fn experts(
        &mut self,
        experts: &[FeedForward],
        of: impl Fn(&FeedForward) -> &PackedMatrix,
    ) -> ExpertMatrices {
        let matrices: Vec<Matrix> = experts.iter().map(|expert| self.matrix(of(expert))).collect();
        let first = matrices.first().copied().unwrap_or_else(|| self.weights.any());
        let stride = matrices.get(1).map_or(0, |second| second.at.0 - first.at.0);
        let expected = |index: usize| Matrix { at: first.at.offset(index as u64 * stride), ..first };
        if matrices.iter().enumerate().any(|(index, matrix)| *matrix != expected(index)) {
            self.refuse("experts of one layer are stored as different types".to_owned());
        }
        ExpertMatrices { first, stride }
    }

    fn add_gated(&mut self, weights: &FeedForward, activation: Activation, norm: Option<&Norm>) {
        let gate_up = self.products(&weights.gate_up, &[]);
        let down = self.multiplied(&weights.down);
        let norm = norm.map(|norm| self.norm(norm));
        widen(&mut self.program.widths.gate_up, gate_up.width);
        widen(&mut self.program.widths.gated, down.columns);
        let layer = self.layer;
        self.program.operations.push(Operation::AddFeedForward { layer, gate_up, down, activation, norm });
    }

    fn add_output(&mut self, output: &PackedMatrix, bias: &[f32], norm: Option<&Norm>) {
        // Each card adds a part of the product, and one of them the bias.
        let bias = if self.program.shard.is_first() { bias } else { &[] };
        let (output, bias) = (self.multiplied(output), self.vector(bias));
        let norm = norm.map(|norm| self.norm(norm));
        self.program.operations.push(Operation::AddAttended { layer: self.layer, output, bias, norm });
    }
}

fn widen(width: &mut usize, found: usize) {
    *width = found.max(*width);
}

impl Pass for Recorder<'_> {
    fn begin(&mut self, table: &PackedMatrix, scale: f32) -> Result<(), WorkerPanicked> {
        let table = self.matrix(table);
        self.program.widths.embedding = table.columns;
        self.program.operations.push(Operation::Embed { table, scale });
        Ok(())
    }

    fn turn_by(&mut self, rotaries: &[&Rotary]) {
        for rotary in rotaries {
            let (first, pairs) = (self.program.frequencies.len(), rotary.frequencies.len());
            self.program.frequencies.extend_from_slice(&rotary.frequencies);
            let (magnitude, layout) = (rotary.magnitude, rotary.layout);
            self.program.rotaries.push(RotaryPlan { first, pairs, magnitude, layout });
        }
        self.program.widths.pairs = self.program.frequencies.len();
    }

    fn normalize(&mut self, norm: &Norm, _readers: &[PackedMatrix]) -> Result<(), WorkerPanicked> {
        let norm = self.norm(norm);
        self.program.operations.push(Operation::Normalize(norm));
        Ok(())
    }

    fn attend(
        &mut self,
        layer: usize,
        weights: &Attention,
        spec: &AttentionSpec,
    ) -> Result<(), WorkerPanicked> {
        self.layer = layer;
        let Shard { of, rank: _ } = self.program.shard;
        let (heads, kv_heads, head) = (spec.shape.heads / of, spec.shape.kv_heads / of, spec.shape.head);
        let width = HeadWidth::of(head).unwrap_or_else(|| {
            self.refuse(format!("its heads have {head} elements, and the kernel's at most 256"));
            HeadWidth::W256
        });
        let shape = HeadShape { heads, kv_heads, head, width, cache: self.cache };
        if *self.program.heads.get_or_insert(shape) != shape {
            self.refuse("its layers have heads of different sizes".to_owned());
        }
        let sight = match self.program.sights.iter().position(|known| *known == spec.sight) {
            Some(sight) => sight,
            None => {
                self.program.sights.push(spec.sight);
                self.program.sights.len() - 1
            }
        };
        let parts = self.program.shard.projections(&spec.shape);
        let bias: Vec<f32> =
            parts.iter().filter_map(|part| weights.bias.get(part.clone())).flatten().copied().collect();
        let projections = self.products(&weights.projections, &bias);
        let widths = &mut self.program.widths;
        widen(&mut widths.qkv, projections.width);
        widen(&mut widths.queries, heads * width.elements());
        widen(&mut widths.attended, heads * head);
        let norms = [weights.query_norm.as_ref(), weights.key_norm.as_ref()];
        let epsilon = norms.iter().flatten().next().map_or(0.0, |norm| norm.epsilon);
        let [query_norm, key_norm] = norms.map(|norm| self.head_norm(norm));
        self.program.operations.push(Operation::Attend(AttendPlan {
            layer,
            projections,
            shape,
            query_scale: spec.shape.query_scale,
            query_norm,
            key_norm,
            norm_epsilon: epsilon,
            rotary: spec.rotary,
            sight,
            soft_cap: spec.soft_cap,
        }));
        Ok(())
    }

    fn keep_wanted(&mut self) {
        self.program.operations.push(Operation::KeepWanted);
    }

    fn add_attended(&mut self, weights: &Attention) -> Result<(), WorkerPanicked> {
        self.add_output(&weights.output, &weights.output_bias, None);
        Ok(())
    }

    fn add_attended_normalized(&mut self, output: &PackedMatrix, norm: &Norm) -> Result<(), WorkerPanicked> {
        self.add_output(output, &[], Some(norm));
        Ok(())
    }

    fn add_feed_forward(
        &mut self,
        weights: &FeedForward,
        activation: Activation,
    ) -> Result<(), WorkerPanicked> {
        self.add_gated(weights, activation, None);
        Ok(())
    }

    fn add_feed_forward_normalized(
        &mut self,
        weights: &FeedForward,
        activation: Activation,
        norm: &Norm,
    ) -> Result<(), WorkerPanicked> {
        self.add_gated(weights, activation, Some(norm));
        Ok(())
    }

    fn add_experts(&mut self, weights: &Experts, activation: Activation) -> Result<(), WorkerPanicked> {
        let Experts { router, experts, chosen, normalized } = weights;
        let router = self.multiplied(router);
        let parts = experts.first().map_or(0, |expert| expert.gate_up.len());
        let gate_up: Vec<_> = (0..parts)
            .map(|part| self.experts(experts, |expert| expert.gate_up.get(part).unwrap_or(&expert.down)))
            .collect();
        let down = self.experts(experts, |expert| &expert.down);
        let widths = &mut self.program.widths;
        widen(&mut widths.experts, experts.len());
        widen(&mut widths.chosen, *chosen);
        widen(&mut widths.expert_gate_up, gate_up.iter().map(|part| part.first.rows).sum());
        widen(&mut widths.expert_gated, down.first.columns);
        let (chosen, normalized) = (*chosen, *normalized);
        let mixture = MixturePlan { router, gate_up, down, chosen, normalized, activation };
        self.program.operations.push(Operation::AddExperts(mixture));
        Ok(())
    }

    fn logits(
        &mut self,
        norm: &Norm,
        head: &PackedMatrix,
        soft_cap: Option<f32>,
    ) -> Result<(), WorkerPanicked> {
        if !self.program.shard.is_first() {
            return Ok(());
        }
        self.normalize(norm, std::slice::from_ref(head))?;
        let head = self.matrix(head);
        self.program.widths.vocabulary = head.rows;
        self.program.operations.push(Operation::Logits { head, soft_cap });
        Ok(())
    }
}
