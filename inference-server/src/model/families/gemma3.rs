//! Gemma 3 (arXiv 2503.19786), text: as Gemma 2, but with normalised heads instead of caps, and five layers with a
//! window, turned by a base of their own, for each that sees everything.

use super::super::keys::Keys;
use super::super::pass::{Attention, AttentionSpec, Pass};
use super::super::plan::{Names, Planner};
use super::super::rotary::{FULL_ATTENTION_KEYS, Rotary, RotaryFactors, RotarySpec, SLIDING_ATTENTION_KEYS};
use super::super::variants::{self, ATTENTION_CAP, Variant};
use super::super::{Dimensions, ModelError, TensorSource};
use super::gemma2::{self, Layer};
use super::shared::{self, Ends};
use super::{DecoderModel, PlannedModel};
use crate::kernels::attention::Sight;
use crate::kernels::elementwise::{Norm, PairLayout};
use crate::kernels::pool::WorkerPanicked;

/// Every so many layers, one sees everything.
const PATTERN: usize = 6;

/// Settings that change the numbers in ways that are not computed here.
const VARIANTS: &[Variant] =
    &[ATTENTION_CAP, Variant::text(("", "rope_parameters.sliding_attention.rope_type"), "default")];

#[derive(Debug)]
struct Gemma3 {
    dimensions: Dimensions,
    /// Of layers that see everything, and of those with a window.
    rotaries: [Rotary; 2],
    ends: Ends,
    layers: Vec<Layer>,
    output_norm: Norm,
    logit_cap: Option<f32>,
}

/// Plans the Gemma 3 model of `source`.
pub(super) fn plan(
    source: &dyn TensorSource,
    keys: &Keys<'_>,
    context: usize,
) -> Result<PlannedModel<dyn DecoderModel>, ModelError> {
    variants::refuse(keys, VARIANTS)?;
    shared::expect_activation(keys, "hidden_activation", "gelu_pytorch_tanh")?;
    let dimensions = Dimensions::read(keys)?;
    let mut planner = Planner::new(source, Names::decoder(gemma2::PARTS));
    let rotary = |names, default_base| {
        let (layout, head) = (PairLayout::Halves, dimensions.head);
        let spec = RotarySpec { keys: names, layout, head, default_base, context };
        Rotary::read(keys, spec, RotaryFactors::default())
    };
    let rotaries = [rotary(FULL_ATTENTION_KEYS, 1_000_000.0)?, rotary(SLIDING_ATTENTION_KEYS, 10_000.0)?];
    let window = keys.window()?;
    let pattern = keys
        .optional_count(("attention.sliding_window_pattern", "sliding_window_pattern"), u32::MAX)?
        .unwrap_or(PATTERN);
    let sights = shared::sights(keys, dimensions.layers, window, |layer| (layer + 1) % pattern != 0)?;
    let shape = shared::qkv_shape(&dimensions, gemma2::query_scale(keys, &dimensions)?);
    let (ends, layers) = shared::ends(&mut planner, keys, &dimensions, true, |planner| {
        let mut layers = shared::reserve(&dimensions);
        for (index, &sight) in sights.iter().enumerate() {
            let rotary = usize::from(sight != Sight::Causal);
            let spec = AttentionSpec { shape, sight, soft_cap: None, rotary };
            let attention = attention(planner, &dimensions, index)?;
            layers.push(gemma2::layer(planner, &dimensions, index, attention, spec)?);
        }
        Ok(layers)
    })?;
    let output_norm =
        gemma2::norm(&mut planner, "output_norm.weight", dimensions.embedding, dimensions.epsilon)?;
    let logit_cap = keys.optional_positive(("final_logit_softcapping", "final_logit_softcapping"))?;
    let model = Gemma3 { dimensions, rotaries, ends, layers, output_norm, logit_cap };
    Ok(PlannedModel { plan: planner.finish()?, model: Box::new(model) })
}

fn attention(
    planner: &mut Planner<'_>,
    dimensions: &Dimensions,
    layer: usize,
) -> Result<Attention, ModelError> {
    let mut head_norm = |part: &str| {
        let name = format!("blk.{layer}.{part}.weight");
        gemma2::norm(planner, &name, dimensions.head, dimensions.epsilon).map(Some)
    };
    let (query_norm, key_norm) = (head_norm("attn_q_norm")?, head_norm("attn_k_norm")?);
    Ok(Attention { query_norm, key_norm, ..shared::attention(planner, dimensions, layer, false)? })
}

impl DecoderModel for Gemma3 {
    fn dimensions(&self) -> &Dimensions {
        &self.dimensions
    }

    fn vocabulary(&self) -> usize {
        self.ends.embedding.layout().rows()
    }

    fn forward(&self, pass: &mut dyn Pass) -> Result<(), WorkerPanicked> {
        let scale = gemma2::embedding_scale(&self.dimensions);
        pass.begin(&self.ends.embedding, scale)?;
        let [full, sliding] = &self.rotaries;
        pass.turn_by(&[full, sliding]);
        for (index, layer) in self.layers.iter().enumerate() {
            gemma2::run(pass, index, layer, index + 1 == self.layers.len())?;
        }
        pass.logits(&self.output_norm, &self.ends.head, self.logit_cap)
    }
}
