//! BERT (arXiv 1810.04805), RoBERTa (arXiv 1907.11692) and XLM-RoBERTa: embedders, and, with a classifier, rerankers.
//! Every token sees every other; normalisations come after each part. They are served from folders only.

use super::super::keys::{Key, Keys};
use super::super::pass::{Attention, AttentionSpec, EncoderPass, Linear};
use super::super::plan::{Names, Part, Planner};
use super::super::rotary::Rotary;
use super::super::variants::{self, Variant};
use super::super::{Dimensions, ModelError, TensorSource};
use super::shared;
use super::{EncoderModel, EncoderOutput, PlannedModel};
use crate::kernels::attention::Sight;
use crate::kernels::elementwise::{Activation, Norm};
use crate::kernels::packed::PackedMatrix;
use crate::kernels::pool::WorkerPanicked;

/// Names in safetensors.
const PARTS: &[Part] = &[
    ("token_embd", "embeddings.word_embeddings"),
    ("token_types", "embeddings.token_type_embeddings"),
    ("position_embd", "embeddings.position_embeddings"),
    ("token_embd_norm", "embeddings.LayerNorm"),
    ("attn_q", "attention.self.query"),
    ("attn_k", "attention.self.key"),
    ("attn_v", "attention.self.value"),
    ("attn_output", "attention.output.dense"),
    ("attn_output_norm", "attention.output.LayerNorm"),
    ("ffn_up", "intermediate.dense"),
    ("ffn_down", "output.dense"),
    ("layer_output_norm", "output.LayerNorm"),
];
const EPSILON: Key = ("", "layer_norm_eps");

/// Settings that change the numbers in ways that are not computed here.
const VARIANTS: &[Variant] = &[
    Variant::text(("", "position_embedding_type"), "absolute"),
    Variant::off(("", "is_decoder")),
    Variant::off(("", "add_cross_attention")),
];

/// Where the two kinds differ: positions, and the names of classifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bert,
    Roberta,
}

#[derive(Debug)]
struct Layer {
    attention: Attention,
    attention_norm: Norm,
    up: Linear,
    down: Linear,
    output_norm: Norm,
}

#[derive(Debug)]
struct Bert {
    dimensions: Dimensions,
    /// Positions begin here: RoBERTa's table has places for padding first.
    first_position: usize,
    activation: Activation,
    spec: AttentionSpec,
    tokens: PackedMatrix,
    types: PackedMatrix,
    positions: PackedMatrix,
    embedding_norm: Norm,
    layers: Vec<Layer>,
    /// Dense, tanh, then scores, of the first token.
    classifier: Option<(Linear, Linear)>,
}

/// Plans the encoder of `source`.
pub(super) fn plan(
    source: &dyn TensorSource,
    keys: &Keys<'_>,
    kind: Kind,
) -> Result<PlannedModel<dyn EncoderModel>, ModelError> {
    variants::refuse(keys, VARIANTS)?;
    let mut dimensions = Dimensions::read_with(keys, EPSILON)?;
    let (embedding, epsilon) = (dimensions.embedding, dimensions.epsilon);
    let root = ["bert.", "roberta."]
        .into_iter()
        .find(|root| source.tensor(&format!("{root}embeddings.word_embeddings.weight")).is_some());
    let names = Names { root: root.unwrap_or(""), layers: "encoder.layer.", parts: PARTS };
    let mut planner = Planner::new(source, names);
    let mut table = |name: &str| {
        let rows = planner.rows_of(name)?;
        planner.matrix(name, rows, embedding)
    };
    let tokens = table("token_embd.weight")?;
    let types = table("token_types.weight")?;
    let positions = table("position_embd.weight")?;
    let first_position = first_position(keys, kind)?;
    dimensions.context_length = positions.layout().rows().saturating_sub(first_position);
    let embedding_norm = norm(&mut planner, "token_embd_norm", embedding, epsilon)?;
    let mut layers = shared::reserve(&dimensions);
    for index in 0..dimensions.layers {
        let name = |part: &str| format!("blk.{index}.{part}");
        layers.push(Layer {
            attention: Attention {
                output_bias: planner.vector(&name("attn_output.bias"), embedding)?,
                ..shared::attention(&mut planner, &dimensions, index, true)?
            },
            attention_norm: norm(&mut planner, &name("attn_output_norm"), embedding, epsilon)?,
            up: linear(&mut planner, &name("ffn_up"), dimensions.feed_forward, embedding)?,
            down: linear(&mut planner, &name("ffn_down"), embedding, dimensions.feed_forward)?,
            output_norm: norm(&mut planner, &name("layer_output_norm"), embedding, epsilon)?,
        });
    }
    let classifier = classifier(&mut planner, kind, embedding)?;
    if classifier.is_none() {
        // The pooler of the pre-training task; embeddings are pooled without it.
        planner.ignore("pooler.dense.weight");
        planner.ignore("pooler.dense.bias");
    }
    let spec = AttentionSpec {
        shape: shared::qkv_shape(&dimensions, shared::usual_scale(&dimensions)),
        sight: Sight::Whole,
        soft_cap: None,
        rotary: 0,
    };
    let activation = activation(keys)?;
    let model = Bert {
        dimensions,
        first_position,
        activation,
        spec,
        tokens,
        types,
        positions,
        embedding_norm,
        layers,
        classifier,
    };
    Ok(PlannedModel { plan: planner.finish()?, model: Box::new(model) })
}

/// RoBERTa counts from one after the padding token's id.
fn first_position(keys: &Keys<'_>, kind: Kind) -> Result<usize, ModelError> {
    match kind {
        Kind::Roberta => Ok(keys.optional_u32(("", "pad_token_id"))?.unwrap_or(1) as usize + 1),
        Kind::Bert => Ok(0),
    }
}

fn activation(keys: &Keys<'_>) -> Result<Activation, ModelError> {
    const KEY: Key = ("", "hidden_act");
    match keys.optional_string(KEY)? {
        None | Some("gelu") => Ok(Activation::Gelu),
        Some("gelu_new" | "gelu_pytorch_tanh") => Ok(Activation::GeluTanh),
        Some(other) => Err(keys.refuse(KEY, other, "gelu, gelu_new and gelu_pytorch_tanh are served")),
    }
}

fn classifier(
    planner: &mut Planner<'_>,
    kind: Kind,
    embedding: usize,
) -> Result<Option<(Linear, Linear)>, ModelError> {
    let (dense, scores) = match kind {
        Kind::Bert => ("pooler.dense", "classifier"),
        Kind::Roberta => ("classifier.dense", "classifier.out_proj"),
    };
    if !planner.has(&format!("{scores}.weight")) {
        return Ok(None);
    }
    let labels = planner.rows_of(&format!("{scores}.weight"))?;
    let dense = linear(planner, dense, embedding, embedding)?;
    Ok(Some((dense, linear(planner, scores, labels, embedding)?)))
}

fn linear(planner: &mut Planner<'_>, name: &str, rows: usize, columns: usize) -> Result<Linear, ModelError> {
    let matrix = planner.matrix(&format!("{name}.weight"), rows, columns)?;
    Ok(Linear { matrix, bias: planner.vector(&format!("{name}.bias"), rows)? })
}

fn norm(planner: &mut Planner<'_>, name: &str, length: usize, epsilon: f32) -> Result<Norm, ModelError> {
    let weight = planner.vector(&format!("{name}.weight"), length)?;
    Ok(Norm::layer(weight, planner.vector(&format!("{name}.bias"), length)?, epsilon))
}

impl EncoderModel for Bert {
    fn dimensions(&self) -> &Dimensions {
        &self.dimensions
    }

    fn vocabulary(&self) -> usize {
        self.tokens.layout().rows()
    }

    fn token_types(&self) -> usize {
        self.types.layout().rows()
    }

    fn output(&self) -> EncoderOutput {
        match &self.classifier {
            None => EncoderOutput::HiddenStates,
            Some((_, scores)) => EncoderOutput::Scores(scores.matrix.layout().rows()),
        }
    }

    fn forward(&self, pass: &mut dyn EncoderPass) -> Result<(), WorkerPanicked> {
        pass.begin(&self.tokens, 1.0)?;
        pass.turn_by(&[&Rotary::none()]);
        pass.add_positions(&self.positions, self.first_position)?;
        pass.add_types(&self.types)?;
        pass.normalize_stream(&self.embedding_norm)?;
        for layer in &self.layers {
            pass.read_stream(&layer.attention.projections)?;
            pass.attend(0, &layer.attention, &self.spec)?;
            pass.add_attended(&layer.attention)?;
            pass.normalize_stream(&layer.attention_norm)?;
            pass.read_stream(std::slice::from_ref(&layer.up.matrix))?;
            pass.add_plain_feed_forward(&layer.up, &layer.down, self.activation)?;
            pass.normalize_stream(&layer.output_norm)?;
        }
        match &self.classifier {
            None => pass.hidden_states(),
            Some((dense, scores)) => pass.classify(dense, scores),
        }
    }
}
