//! Qwen2 and Qwen2.5 (arXiv 2407.10671): Llama with a bias on queries, keys and values.

use super::super::keys::{Key, Keys};
use super::super::pass::{Attention, AttentionSpec, FeedForward, Pass};
use super::super::plan::{Names, Planner};
use super::super::rotary::{Rotary, RotaryFactors};
use super::super::variants::{self, ATTENTION_CAP, LOGIT_CAP, Variant};
use super::super::{Dimensions, ModelError, TensorSource};
use super::shared::{self, Ends};
use super::{DecoderModel, PlannedModel};
use crate::kernels::attention::Sight;
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
struct Qwen2 {
    dimensions: Dimensions,
    rotary: Rotary,
    ends: Ends,
    layers: Vec<Layer>,
    output_norm: Norm,
}

/// Plans the Qwen2 model of `source`.
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
    let rotary = shared::rotary(keys, &dimensions, 10_000.0, context, RotaryFactors::default())?;
    let sights = sights(keys, dimensions.layers)?;
    let shape = shared::qkv_shape(&dimensions, shared::usual_scale(&dimensions));
    let (ends, layers) = shared::ends(&mut planner, keys, &dimensions, false, |planner| {
        let mut layers = shared::reserve(&dimensions);
        for (index, &sight) in sights.iter().enumerate() {
            let name = |part: &str| format!("blk.{index}.{part}.weight");
            layers.push(Layer {
                attention_norm: shared::norm(planner, &name("attn_norm"), dimensions.embedding, epsilon)?,
                attention: shared::attention(planner, &dimensions, index, true)?,
                spec: AttentionSpec { shape, sight, soft_cap: None, rotary: 0 },
                feed_forward_norm: shared::norm(planner, &name("ffn_norm"), dimensions.embedding, epsilon)?,
                feed_forward: shared::feed_forward(planner, &dimensions, index)?,
            });
        }
        Ok(layers)
    })?;
    let output_norm = shared::norm(&mut planner, "output_norm.weight", dimensions.embedding, epsilon)?;
    let model = Qwen2 { dimensions, rotary, ends, layers, output_norm };
    Ok(PlannedModel { plan: planner.finish()?, model: Box::new(model) })
}

/// The window, where it is used at all.
pub(super) fn window(keys: &Keys<'_>) -> Result<Option<usize>, ModelError> {
    const USED: Key = ("", "use_sliding_window");
    if keys.optional_bool(USED)?.unwrap_or(false) { keys.window() } else { Ok(None) }
}

/// Layers from `max_window_layers` on have the window.
pub(super) fn sights(keys: &Keys<'_>, layers: usize) -> Result<Vec<Sight>, ModelError> {
    let window = window(keys)?;
    let first = keys.optional_u32(("", "max_window_layers"))?.map_or(layers, |first| first as usize);
    shared::sights(keys, layers, window, |layer| layer >= first)
}

impl DecoderModel for Qwen2 {
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
