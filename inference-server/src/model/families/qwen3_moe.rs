//! Qwen3 with a mixture of experts (arXiv 2505.09388) in place of the feed-forward part.

use super::super::dimensions::MAX_DIMENSION;
use super::super::keys::Keys;
use super::super::pass::{Attention, AttentionSpec, Experts, FeedForward, Pass};
use super::super::plan::{Names, Planner};
use super::super::rotary::{Rotary, RotaryFactors};
use super::super::variants::{self, ATTENTION_CAP, LOGIT_CAP, Variant};
use super::super::{Dimensions, ModelError, TensorSource};
use super::experts::{self, MAX_EXPERTS};
use super::shared::{self, Ends};
use super::{DecoderModel, PlannedModel};
use crate::kernels::attention::Sight;
use crate::kernels::elementwise::{Activation, Norm};
use crate::kernels::pool::WorkerPanicked;

/// Settings that change the numbers in ways that are not computed here, beside those of all mixtures.
const VARIANTS: &[Variant] = &[ATTENTION_CAP, LOGIT_CAP];

#[derive(Debug)]
struct Layer {
    attention_norm: Norm,
    attention: Attention,
    spec: AttentionSpec,
    feed_forward_norm: Norm,
    mixture: Mixture,
}

#[derive(Debug)]
enum Mixture {
    Sparse(Experts),
    Dense(FeedForward),
}

#[derive(Debug)]
struct Qwen3Moe {
    dimensions: Dimensions,
    rotary: Rotary,
    ends: Ends,
    layers: Vec<Layer>,
    output_norm: Norm,
}

/// Plans the Qwen3Moe model of `source`.
pub(super) fn plan(
    source: &dyn TensorSource,
    keys: &Keys<'_>,
    context: usize,
) -> Result<PlannedModel<dyn DecoderModel>, ModelError> {
    variants::refuse(keys, VARIANTS)?;
    variants::refuse(keys, experts::VARIANTS)?;
    shared::expect_activation(keys, "hidden_act", "silu")?;
    let dimensions = Dimensions::read(keys)?;
    let epsilon = dimensions.epsilon;
    let mut planner = Planner::new(source, Names::decoder(&[]));
    let rotary = shared::rotary(keys, &dimensions, 1_000_000.0, context, RotaryFactors::default())?;
    let sight = super::qwen2::window(keys)?.map_or(Sight::Causal, Sight::Window);
    let shape = shared::qkv_shape(&dimensions, shared::usual_scale(&dimensions));
    let (ends, layers) = shared::ends(&mut planner, keys, &dimensions, false, |planner| {
        let mut layers = shared::reserve(&dimensions);
        for index in 0..dimensions.layers {
            let name = |part: &str| format!("blk.{index}.{part}.weight");
            layers.push(Layer {
                attention_norm: shared::norm(planner, &name("attn_norm"), dimensions.embedding, epsilon)?,
                attention: super::qwen3::attention(planner, &dimensions, index)?,
                spec: AttentionSpec { shape, sight, soft_cap: None, rotary: 0 },
                feed_forward_norm: shared::norm(planner, &name("ffn_norm"), dimensions.embedding, epsilon)?,
                mixture: feed_forward(planner, keys, &dimensions, index)?,
            });
        }
        Ok(layers)
    })?;
    let output_norm = shared::norm(&mut planner, "output_norm.weight", dimensions.embedding, epsilon)?;
    let model = Qwen3Moe { dimensions, rotary, ends, layers, output_norm };
    Ok(PlannedModel { plan: planner.finish()?, model: Box::new(model) })
}

/// The experts of `layer`, or its feed-forward part where it is dense.
fn feed_forward(
    planner: &mut Planner<'_>,
    keys: &Keys<'_>,
    dimensions: &Dimensions,
    layer: usize,
) -> Result<Mixture, ModelError> {
    if !is_sparse(keys, layer)? {
        return Ok(Mixture::Dense(shared::feed_forward(planner, dimensions, layer)?));
    }
    let embedding = dimensions.embedding;
    // transformers 5 names it as Mixtral does.
    let count = match keys.optional_count(("", "num_local_experts"), MAX_EXPERTS)? {
        Some(count) => count,
        None => keys.count(("expert_count", "num_experts"), MAX_EXPERTS)?,
    };
    let chosen = keys.count(("expert_used_count", "num_experts_per_tok"), MAX_EXPERTS)?.min(count);
    let inner = keys.count(("expert_feed_forward_length", "moe_intermediate_size"), MAX_DIMENSION)?;
    let router = planner.matrix(&format!("blk.{layer}.ffn_gate_inp.weight"), count, embedding)?;
    let mut matrices = |part: &str, stored: &str, rows, columns| {
        let name = format!("blk.{layer}.{part}.weight");
        let stored = |expert| format!("model.layers.{layer}.mlp.experts.{expert}.{stored}.weight");
        planner.experts(&name, stored, count, rows, columns)
    };
    let gates = matrices("ffn_gate_exps", "gate_proj", inner, embedding)?;
    let ups = matrices("ffn_up_exps", "up_proj", inner, embedding)?;
    let downs = matrices("ffn_down_exps", "down_proj", embedding, inner)?;
    let experts = gates.into_iter().zip(ups).zip(downs);
    let experts = experts.map(|((gate, up), down)| FeedForward { gate_up: vec![gate, up], down }).collect();
    // GGUF has no key for it: every such model in that format normalises.
    let normalized = match keys {
        Keys::Gguf { .. } => true,
        Keys::Json { .. } => keys.optional_bool(("", "norm_topk_prob"))?.unwrap_or(false),
    };
    Ok(Mixture::Sparse(Experts { router, experts, chosen, normalized }))
}

fn is_sparse(keys: &Keys<'_>, layer: usize) -> Result<bool, ModelError> {
    let step = keys.optional_count(("", "decoder_sparse_step"), u32::MAX)?.unwrap_or(1);
    let dense = keys.optional_numbers(("", "mlp_only_layers"))?.unwrap_or_default();
    Ok((layer + 1).is_multiple_of(step) && !dense.contains(&(layer as f32)))
}

impl DecoderModel for Qwen3Moe {
    fn dimensions(&self) -> &Dimensions {
        &self.dimensions
    }

    fn vocabulary(&self) -> usize {
        self.ends.embedding.layout().rows()
    }

    fn forward(&self, pass: &mut dyn Pass) -> Result<(), WorkerPanicked> {
        pass.begin(&self.ends.embedding, 1.0)?;
        pass.turn_by(&[&self.rotary]);
        for (index, layer) in self.layers.iter().enumerate() {
            pass.normalize(&layer.attention_norm, &layer.attention.projections)?;
            pass.attend(index, &layer.attention, &layer.spec)?;
            if index + 1 == self.layers.len() {
                pass.keep_wanted();
            }
            pass.add_attended(&layer.attention)?;
            match &layer.mixture {
                Mixture::Sparse(experts) => {
                    pass.normalize(&layer.feed_forward_norm, &experts.readers())?;
                    pass.add_experts(experts, Activation::Silu)?;
                }
                Mixture::Dense(dense) => {
                    pass.normalize(&layer.feed_forward_norm, &dense.gate_up)?;
                    pass.add_feed_forward(dense, Activation::Silu)?;
                }
            }
        }
        pass.logits(&self.output_norm, &self.ends.head, None)
    }
}
