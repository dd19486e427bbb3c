//! Llama 2 and 3 (arXiv 2302.13971, 2407.21783), SmolLM2, and Mistral (arXiv 2310.06825), which sees a window.

use super::super::keys::Keys;
use super::super::pass::{Attention, AttentionSpec, FeedForward, Pass};
use super::super::plan::{Names, Planner};
use super::super::rotary::{ROTARY_KEYS, Rotary, RotaryFactors, RotarySpec};
use super::super::variants::{self, ATTENTION_CAP, LOGIT_CAP, Variant};
use super::super::{Dimensions, ModelError, TensorSource};
use super::shared::{self, Ends};
use super::{DecoderModel, PlannedModel};
use crate::kernels::attention::Sight;
use crate::kernels::elementwise::{Activation, Norm};
use crate::kernels::pool::WorkerPanicked;

/// Settings that change the numbers in ways that are not computed here.
const VARIANTS: &[Variant] = &[ATTENTION_CAP, LOGIT_CAP, Variant::off(("", "mlp_bias"))];

#[derive(Debug)]
struct Layer {
    attention_norm: Norm,
    attention: Attention,
    feed_forward_norm: Norm,
    feed_forward: FeedForward,
}

#[derive(Debug)]
struct Llama {
    dimensions: Dimensions,
    rotary: Rotary,
    spec: AttentionSpec,
    ends: Ends,
    layers: Vec<Layer>,
    output_norm: Norm,
}

/// Plans the Llama model of `source`.
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
    let divisors = planner.optional_vector("rope_freqs.weight", dimensions.head / 2)?;
    let rotary = RotarySpec {
        keys: ROTARY_KEYS,
        layout: shared::llama_pairs(&planner),
        head: dimensions.head,
        default_base: 10_000.0,
        context,
    };
    let rotary =
        Rotary::read(keys, rotary, RotaryFactors { divisors: divisors.as_deref(), short_long: None })?;
    let window = keys.window()?;
    let biased = planner.has("blk.0.attn_q.bias");
    let (ends, layers) = shared::ends(&mut planner, keys, &dimensions, false, |planner| {
        let mut layers = shared::reserve(&dimensions);
        for index in 0..dimensions.layers {
            let name = |part: &str| format!("blk.{index}.{part}.weight");
            layers.push(Layer {
                attention_norm: shared::norm(planner, &name("attn_norm"), dimensions.embedding, epsilon)?,
                attention: shared::attention(planner, &dimensions, index, biased)?,
                feed_forward_norm: shared::norm(planner, &name("ffn_norm"), dimensions.embedding, epsilon)?,
                feed_forward: shared::feed_forward(planner, &dimensions, index)?,
            });
        }
        Ok(layers)
    })?;
    let output_norm = shared::norm(&mut planner, "output_norm.weight", dimensions.embedding, epsilon)?;
    let spec = AttentionSpec {
        shape: shared::qkv_shape(&dimensions, shared::usual_scale(&dimensions)),
        sight: window.map_or(Sight::Causal, Sight::Window),
        soft_cap: None,
        rotary: 0,
    };
    let model = Llama { dimensions, rotary, spec, ends, layers, output_norm };
    Ok(PlannedModel { plan: planner.finish()?, model: Box::new(model) })
}

impl DecoderModel for Llama {
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
            pass.normalize(&layer.feed_forward_norm, &layer.feed_forward.gate_up)?;
            pass.add_feed_forward(&layer.feed_forward, Activation::Silu)?;
        }
        pass.logits(&self.output_norm, &self.ends.head, None)
    }
}
