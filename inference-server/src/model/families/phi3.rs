//! Phi-3 (arXiv 2404.14219) and Phi-4 (arXiv 2412.08905): one matrix for queries, keys and values, one for gate and
//! up; LongRoPE.

use super::super::dimensions::MAX_HEAD;
use super::super::keys::Keys;
use super::super::pass::{Attention, AttentionSpec, FeedForward, Pass};
use super::super::plan::{Names, Part, Planner};
use super::super::rotary::{Rotary, RotaryFactors};
use super::super::variants::{self, ATTENTION_CAP, LOGIT_CAP, Variant};
use super::super::{Dimensions, ModelError, TensorSource};
use super::shared::{self, Ends};
use super::{DecoderModel, PlannedModel};
use crate::kernels::attention::Sight;
use crate::kernels::elementwise::{Activation, Norm};
use crate::kernels::pool::WorkerPanicked;

/// Phi's own name in safetensors.
const PARTS: &[Part] = &[("ffn_up", "mlp.gate_up_proj")];

/// Settings that change the numbers in ways that are not computed here.
const VARIANTS: &[Variant] = &[ATTENTION_CAP, LOGIT_CAP];

#[derive(Debug)]
struct Layer {
    attention_norm: Norm,
    attention: Attention,
    feed_forward_norm: Norm,
    feed_forward: FeedForward,
}

#[derive(Debug)]
struct Phi3 {
    dimensions: Dimensions,
    rotary: Rotary,
    spec: AttentionSpec,
    ends: Ends,
    layers: Vec<Layer>,
    output_norm: Norm,
}

/// Plans the Phi-3 model of `source`.
pub(super) fn plan(
    source: &dyn TensorSource,
    keys: &Keys<'_>,
    context: usize,
) -> Result<PlannedModel<dyn DecoderModel>, ModelError> {
    variants::refuse(keys, VARIANTS)?;
    shared::expect_activation(keys, "hidden_act", "silu")?;
    let dimensions = Dimensions::read(keys)?;
    let (embedding, epsilon) = (dimensions.embedding, dimensions.epsilon);
    let (queries, kv) = (dimensions.query_width(), dimensions.kv_width());
    let mut planner = Planner::new(source, Names::decoder(PARTS));
    let short_long = if planner.has("rope_factors_short.weight") {
        let pairs = keys.count(("rope.dimension_count", ""), MAX_HEAD)? / 2;
        let short = planner.vector("rope_factors_short.weight", pairs)?;
        Some((short, planner.vector("rope_factors_long.weight", pairs)?))
    } else {
        None
    };
    let short_long = short_long.as_ref().map(|(short, long)| (short.as_slice(), long.as_slice()));
    let factors = RotaryFactors { divisors: None, short_long };
    let rotary = shared::rotary(keys, &dimensions, 10_000.0, context, factors)?;
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
            let attention_norm = shared::norm(planner, &name("attn_norm"), embedding, epsilon)?;
            let qkv = planner.matrix(&name("attn_qkv"), queries + 2 * kv, embedding)?;
            let output = planner.matrix(&name("attn_output"), embedding, queries)?;
            let feed_forward_norm = shared::norm(planner, &name("ffn_norm"), embedding, epsilon)?;
            let gate_up = planner.matrix(&name("ffn_up"), 2 * dimensions.feed_forward, embedding)?;
            let down = planner.matrix(&name("ffn_down"), embedding, dimensions.feed_forward)?;
            layers.push(Layer {
                attention_norm,
                attention: Attention {
                    projections: vec![qkv],
                    bias: Vec::new(),
                    query_norm: None,
                    key_norm: None,
                    output,
                    output_bias: Vec::new(),
                },
                feed_forward_norm,
                feed_forward: FeedForward { gate_up: vec![gate_up], down },
            });
        }
        Ok(layers)
    })?;
    let output_norm = shared::norm(&mut planner, "output_norm.weight", embedding, epsilon)?;
    let model = Phi3 { dimensions, rotary, spec, ends, layers, output_norm };
    Ok(PlannedModel { plan: planner.finish()?, model: Box::new(model) })
}

impl DecoderModel for Phi3 {
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
