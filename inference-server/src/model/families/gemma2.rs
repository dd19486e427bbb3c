//! Gemma 2 (arXiv 2408.00118): capped scores and logits, normalisations before and after each part, every other
//! layer with a window.

use super::super::keys::{Key, Keys};
use super::super::pass::{Attention, AttentionSpec, FeedForward, Pass};
use super::super::plan::{Names, Part, Planner};
use super::super::rotary::{Rotary, RotaryFactors};
use super::super::variants::{self, Variant};
use super::super::{Dimensions, ModelError, Naming, TensorSource};
use super::shared::{self, Ends};
use super::{DecoderModel, PlannedModel};
use crate::kernels::elementwise::{Activation, Norm};
use crate::kernels::pool::WorkerPanicked;

/// Gemma's own names in safetensors.
pub(super) const PARTS: &[Part] = &[
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_norm", "pre_feedforward_layernorm"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
];

const ATTENTION_CAP: Key = ("attn_logit_softcapping", "attn_logit_softcapping");
const LOGIT_CAP: Key = ("final_logit_softcapping", "final_logit_softcapping");

/// Settings that change the numbers in ways that are not computed here.
const VARIANTS: &[Variant] =
    &[Variant::numbers(("attention.sliding_window_pattern", "sliding_window_pattern"), &[2.0])];

#[derive(Debug)]
pub(super) struct Layer {
    pub(super) attention_norm: Norm,
    pub(super) attention: Attention,
    pub(super) spec: AttentionSpec,
    pub(super) post_attention_norm: Norm,
    pub(super) feed_forward_norm: Norm,
    pub(super) feed_forward: FeedForward,
    pub(super) post_feed_forward_norm: Norm,
}

#[derive(Debug)]
struct Gemma2 {
    dimensions: Dimensions,
    rotary: Rotary,
    ends: Ends,
    layers: Vec<Layer>,
    output_norm: Norm,
    logit_cap: Option<f32>,
}

/// Plans the Gemma 2 model of `source`.
pub(super) fn plan(
    source: &dyn TensorSource,
    keys: &Keys<'_>,
    context: usize,
) -> Result<PlannedModel<dyn DecoderModel>, ModelError> {
    variants::refuse(keys, VARIANTS)?;
    shared::expect_activation(keys, "hidden_activation", "gelu_pytorch_tanh")?;
    let dimensions = Dimensions::read(keys)?;
    let mut planner = Planner::new(source, Names::decoder(PARTS));
    let rotary = shared::rotary(keys, &dimensions, 10_000.0, context, RotaryFactors::default())?;
    let window = keys.window()?;
    let sights = shared::sights(keys, dimensions.layers, window, |layer| layer % 2 == 0)?;
    let shape = shared::qkv_shape(&dimensions, query_scale(keys, &dimensions)?);
    let soft_cap = keys.optional_positive(ATTENTION_CAP)?;
    let (ends, layers) = shared::ends(&mut planner, keys, &dimensions, true, |planner| {
        let mut layers = shared::reserve(&dimensions);
        for (index, &sight) in sights.iter().enumerate() {
            let spec = AttentionSpec { shape, sight, soft_cap, rotary: 0 };
            let attention = shared::attention(planner, &dimensions, index, false)?;
            layers.push(layer(planner, &dimensions, index, attention, spec)?);
        }
        Ok(layers)
    })?;
    let output_norm = norm(&mut planner, "output_norm.weight", dimensions.embedding, dimensions.epsilon)?;
    let logit_cap = keys.optional_positive(LOGIT_CAP)?;
    let model = Gemma2 { dimensions, rotary, ends, layers, output_norm, logit_cap };
    Ok(PlannedModel { plan: planner.finish()?, model: Box::new(model) })
}

/// A layer, its attention given.
pub(super) fn layer(
    planner: &mut Planner<'_>,
    dimensions: &Dimensions,
    index: usize,
    attention: Attention,
    spec: AttentionSpec,
) -> Result<Layer, ModelError> {
    let (embedding, epsilon) = (dimensions.embedding, dimensions.epsilon);
    let name = |part: &str| format!("blk.{index}.{part}.weight");
    Ok(Layer {
        attention_norm: norm(planner, &name("attn_norm"), embedding, epsilon)?,
        attention,
        spec,
        post_attention_norm: norm(planner, &name("post_attention_norm"), embedding, epsilon)?,
        feed_forward_norm: norm(planner, &name("ffn_norm"), embedding, epsilon)?,
        feed_forward: shared::feed_forward(planner, dimensions, index)?,
        post_feed_forward_norm: norm(planner, &name("post_ffw_norm"), embedding, epsilon)?,
    })
}

/// Gemma's weights stand for `1 + weight`; GGUF converters have added the 1.
pub(super) fn norm(
    planner: &mut Planner<'_>,
    name: &str,
    length: usize,
    epsilon: f32,
) -> Result<Norm, ModelError> {
    let mut norm = shared::norm(planner, name, length, epsilon)?;
    if planner.naming() == Naming::HuggingFace {
        norm.weight.iter_mut().for_each(|weight| *weight += 1.0);
    }
    Ok(norm)
}

/// `1 / sqrt(query_pre_attn_scalar)`. GGUF has no key for it: the 27 B models' is `embedding / heads`, which
/// llama.cpp knows by their number of layers; all others' is the head.
pub(super) fn query_scale(keys: &Keys<'_>, dimensions: &Dimensions) -> Result<f32, ModelError> {
    const SCALAR: Key = ("", "query_pre_attn_scalar");
    let twenty_seven = matches!((keys.architecture(), dimensions.layers), ("gemma2", 46) | ("gemma3", 62));
    let usual = if matches!(keys, Keys::Gguf { .. }) && twenty_seven {
        dimensions.embedding / dimensions.heads
    } else {
        dimensions.head
    };
    Ok(1.0 / keys.optional_positive(SCALAR)?.unwrap_or(usual as f32).sqrt())
}

/// One layer of Gemma 2 or 3.
pub(super) fn run(
    pass: &mut dyn Pass,
    index: usize,
    layer: &Layer,
    last: bool,
) -> Result<(), WorkerPanicked> {
    pass.normalize(&layer.attention_norm, &layer.attention.projections)?;
    pass.attend(index, &layer.attention, &layer.spec)?;
    if last {
        pass.keep_wanted();
    }
    pass.add_attended_normalized(&layer.attention.output, &layer.post_attention_norm)?;
    pass.normalize(&layer.feed_forward_norm, &layer.feed_forward.gate_up)?;
    pass.add_feed_forward_normalized(&layer.feed_forward, Activation::GeluTanh, &layer.post_feed_forward_norm)
}

/// The factor on embeddings.
pub(super) fn embedding_scale(dimensions: &Dimensions) -> f32 {
    (dimensions.embedding as f32).sqrt()
}

impl DecoderModel for Gemma2 {
    fn dimensions(&self) -> &Dimensions {
        &self.dimensions
    }

    fn vocabulary(&self) -> usize {
        self.ends.embedding.layout().rows()
    }

    fn forward(&self, pass: &mut dyn Pass) -> Result<(), WorkerPanicked> {
        let scale = embedding_scale(&self.dimensions);
        pass.begin(&self.ends.embedding, scale)?;
        pass.turn_by(&[&self.rotary]);
        for (index, layer) in self.layers.iter().enumerate() {
            run(pass, index, layer, index + 1 == self.layers.len())?;
        }
        pass.logits(&self.output_norm, &self.ends.head, self.logit_cap)
    }
}

#[cfg(test)]
mod tests {
    use super::{Dimensions, Keys, query_scale};
    use crate::gguf::write::GgufHeader;
    use crate::gguf::{Value, read_header};

    /// With the 27 B models' heads.
    fn dimensions(layers: usize, embedding: usize) -> Dimensions {
        Dimensions {
            layers,
            embedding,
            heads: 32,
            kv_heads: 16,
            head: 128,
            feed_forward: 1,
            context_length: 1,
            epsilon: 0.0,
        }
    }

    /// What is under the root of the scale of `architecture` in GGUF.
    fn scalar(architecture: &str, layers: usize, embedding: usize) -> f32 {
        let mut header = GgufHeader::new();
        header.pair("general.architecture", Value::String(architecture.to_owned()));
        let bytes = header.bytes();
        let (metadata, _) = read_header(&bytes[..], bytes.len() as u64).unwrap();
        let scale = query_scale(&Keys::of_gguf(&metadata).unwrap(), &dimensions(layers, embedding)).unwrap();
        scale.powi(-2).round()
    }

    #[test]
    fn a_27_b_model_is_known_by_its_layers() {
        assert_eq!(scalar("gemma2", 46, 4608), 144.0);
        assert_eq!(scalar("gemma3", 62, 5376), 168.0);
        for (architecture, layers) in [("gemma2", 42), ("gemma2", 62), ("gemma3", 46), ("gemma3", 48)] {
            assert_eq!(scalar(architecture, layers, 4608), 128.0, "{architecture} of {layers}");
        }
    }

    #[test]
    fn a_config_says_its_scalar_itself() {
        let config = serde_json::json!({"model_type": "gemma2", "query_pre_attn_scalar": 64});
        let keys = Keys::of_json(config.as_object().unwrap()).unwrap();
        assert_eq!(query_scale(&keys, &dimensions(46, 4608)).unwrap(), 0.125);
    }
}
