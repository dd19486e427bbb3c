//! Mixtral (arXiv 2401.04088): Llama with a mixture of experts in place of the feed-forward part.

use super::super::keys::Keys;
use super::super::pass::{Attention, AttentionSpec, Experts, FeedForward, Pass};
use super::super::plan::{Names, Part, Planner};
use super::super::rotary::{ROTARY_KEYS, Rotary, RotaryFactors, RotarySpec};
use super::super::variants::{self, ATTENTION_CAP, LOGIT_CAP, Variant};
use super::super::{Dimensions, ModelError, TensorSource};
use super::experts::{self, MAX_EXPERTS};
use super::shared::{self, Ends};
use super::{DecoderModel, PlannedModel};
use crate::kernels::attention::Sight;
use crate::kernels::elementwise::{Activation, Norm};
use crate::kernels::pool::WorkerPanicked;

/// Mixtral's own name in safetensors.
const PARTS: &[Part] = &[("ffn_gate_inp", "block_sparse_moe.gate")];

/// Settings that change the numbers in ways that are not computed here, beside those of all mixtures.
const VARIANTS: &[Variant] = &[ATTENTION_CAP, LOGIT_CAP];

#[derive(Debug)]
struct Layer {
    attention_norm: Norm,
    attention: Attention,
    feed_forward_norm: Norm,
    experts: Experts,
}

#[derive(Debug)]
struct Mixtral {
    dimensions: Dimensions,
    rotary: Rotary,
    spec: AttentionSpec,
    ends: Ends,
    layers: Vec<Layer>,
    output_norm: Norm,
}

/// Plans the Mixtral model of `source`.
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
    let mut planner = Planner::new(source, Names::decoder(PARTS));
    let rotary = RotarySpec {
        keys: ROTARY_KEYS,
        layout: shared::llama_pairs(&planner),
        head: dimensions.head,
        default_base: 1_000_000.0,
        context,
    };
    let rotary = Rotary::read(keys, rotary, RotaryFactors::default())?;
    let window = keys.window()?;
    let spec = AttentionSpec {
        shape: shared::qkv_shape(&dimensions, shared::usual_scale(&dimensions)),
        sight: window.map_or(Sight::Causal, Sight::Window),
        soft_cap: None,
        rotary: 0,
    };
    let (ends, layers) = shared::ends(&mut planner, keys, &dimensions, false, |planner| {
        let mut layers = shared::reserve(&dimensions);
        for index in 0..dimensions.layers {
            let name = |part: &str| format!("blk.{index}.{part}.weight");
            layers.push(Layer {
                attention_norm: shared::norm(planner, &name("attn_norm"), dimensions.embedding, epsilon)?,
                attention: shared::attention(planner, &dimensions, index, false)?,
                feed_forward_norm: shared::norm(planner, &name("ffn_norm"), dimensions.embedding, epsilon)?,
                experts: mixture(planner, keys, &dimensions, index)?,
            });
        }
        Ok(layers)
    })?;
    let output_norm = shared::norm(&mut planner, "output_norm.weight", dimensions.embedding, epsilon)?;
    let model = Mixtral { dimensions, rotary, spec, ends, layers, output_norm };
    Ok(PlannedModel { plan: planner.finish()?, model: Box::new(model) })
}

fn mixture(
    planner: &mut Planner<'_>,
    keys: &Keys<'_>,
    dimensions: &Dimensions,
    layer: usize,
) -> Result<Experts, ModelError> {
    let (embedding, inner) = (dimensions.embedding, dimensions.feed_forward);
    let count = keys.count(("expert_count", "num_local_experts"), MAX_EXPERTS)?;
    let chosen = keys.count(("expert_used_count", "num_experts_per_tok"), MAX_EXPERTS)?.min(count);
    let router = planner.matrix(&format!("blk.{layer}.ffn_gate_inp.weight"), count, embedding)?;
    let mut matrices = |part: &str, stored: &str, rows, columns| {
        let name = format!("blk.{layer}.{part}.weight");
        let stored =
            |expert| format!("model.layers.{layer}.block_sparse_moe.experts.{expert}.{stored}.weight");
        planner.experts(&name, stored, count, rows, columns)
    };
    let gates = matrices("ffn_gate_exps", "w1", inner, embedding)?;
    let ups = matrices("ffn_up_exps", "w3", inner, embedding)?;
    let downs = matrices("ffn_down_exps", "w2", embedding, inner)?;
    let experts = gates.into_iter().zip(ups).zip(downs);
    let experts = experts.map(|((gate, up), down)| FeedForward { gate_up: vec![gate, up], down }).collect();
    Ok(Experts { router, experts, chosen, normalized: true })
}

impl DecoderModel for Mixtral {
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
            pass.attend(index, &layer.attention, &self.spec)?;
            if index + 1 == self.layers.len() {
                pass.keep_wanted();
            }
            pass.add_attended(&layer.attention)?;
            pass.normalize(&layer.feed_forward_norm, &layer.experts.readers())?;
            pass.add_experts(&layer.experts, Activation::Silu)?;
        }
        pass.logits(&self.output_norm, &self.ends.head, None)
    }
}
