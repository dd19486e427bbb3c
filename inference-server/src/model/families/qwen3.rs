//! Qwen3 (arXiv 2505.09388): every query and key head is normalised before it is turned.

use super::super::keys::Keys;
use super::super::pass::{Attention, AttentionSpec, FeedForward, Pass};
use super::super::plan::{Names, Planner};
use super::super::rotary::{Rotary, RotaryFactors};
use super::super::variants::{self, ATTENTION_CAP, LOGIT_CAP, Variant};
use super::super::{Dimensions, ModelError, TensorSource};
use super::shared::{self, Ends};
use super::{DecoderModel, PlannedModel};
use crate::kernels::elementwise::{Activation, Norm};
use crate::kernels::pool::WorkerPanicked;

/// Settings that change the numbers in ways that are not computed here.
const VARIANTS: &[Variant] = &[ATTENTION_CAP, LOGIT_CAP];

#[derive(Debug)]
struct Layer {
    attention_norm: Norm,
    attention: Attention,
    spec: AttentionSpec,
    feed_forward_norm: Norm,
    feed_forward: FeedForward,
}

#[derive(Debug)]
struct Qwen3 {
    dimensions: Dimensions,
    rotary: Rotary,
    ends: Ends,
    layers: Vec<Layer>,
    output_norm: Norm,
}

/// Plans the Qwen3 model of `source`.
pub(super) fn plan(
    source: &dyn TensorSource,
    keys: &Keys<'_>,
    context: usize,
) -> Result<PlannedModel<dyn DecoderModel>, ModelError> {
    variants::refuse(keys, VARIANTS)?;
    shared::expect_activation(keys, "hidden_act", "silu")?;
    let dimensions = Dimensions::read(keys)?;
    let epsilon = dimensions.epsilon;
    let mut planner = Planner::new(source, Names::decoder(&[]));
    let rotary = shared::rotary(keys, &dimensions, 1_000_000.0, context, RotaryFactors::default())?;
    let sights = super::qwen2::sights(keys, dimensions.layers)?;
    let shape = shared::qkv_shape(&dimensions, shared::usual_scale(&dimensions));
    let (ends, layers) = shared::ends(&mut planner, keys, &dimensions, false, |planner| {
        let mut layers = shared::reserve(&dimensions);
        for (index, &sight) in sights.iter().enumerate() {
            let name = |part: &str| format!("blk.{index}.{part}.weight");
            layers.push(Layer {
                attention_norm: shared::norm(planner, &name("attn_norm"), dimensions.embedding, epsilon)?,
                attention: attention(planner, &dimensions, index)?,
                spec: AttentionSpec { shape, sight, soft_cap: None, rotary: 0 },
                feed_forward_norm: shared::norm(planner, &name("ffn_norm"), dimensions.embedding, epsilon)?,
                feed_forward: shared::feed_forward(planner, &dimensions, index)?,
            });
        }
        Ok(layers)
    })?;
    let output_norm = shared::norm(&mut planner, "output_norm.weight", dimensions.embedding, epsilon)?;
    let model = Qwen3 { dimensions, rotary, ends, layers, output_norm };
    Ok(PlannedModel { plan: planner.finish()?, model: Box::new(model) })
}

/// Attention with its two normalisations of heads, and a bias where the file has one.
pub(super) fn attention(
    planner: &mut Planner<'_>,
    dimensions: &Dimensions,
    layer: usize,
) -> Result<Attention, ModelError> {
    let biased = planner.has(&format!("blk.{layer}.attn_q.bias"));
    let mut head_norm = |part: &str| {
        let name = format!("blk.{layer}.{part}.weight");
        shared::norm(planner, &name, dimensions.head, dimensions.epsilon).map(Some)
    };
    let (query_norm, key_norm) = (head_norm("attn_q_norm")?, head_norm("attn_k_norm")?);
    Ok(Attention { query_norm, key_norm, ..shared::attention(planner, dimensions, layer, biased)? })
}

impl DecoderModel for Qwen3 {
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
            pass.normalize(&layer.feed_forward_norm, &layer.feed_forward.gate_up)?;
            pass.add_feed_forward(&layer.feed_forward, Activation::Silu)?;
        }
        pass.logits(&self.output_norm, &self.ends.head, None)
    }
}
