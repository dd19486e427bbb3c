//! What several families read alike: the usual attention and feed-forward weights, and the head.

use super::super::keys::{Key, Keys};
use super::super::pass::{Attention, FeedForward};
use super::super::plan::Planner;
use super::super::rotary::{ROTARY_KEYS, Rotary, RotaryFactors, RotarySpec};
use super::super::{Dimensions, ModelError, Naming};
use crate::kernels::attention::Sight;
use crate::kernels::elementwise::{Norm, PairLayout, QkvShape};
use crate::kernels::packed::PackedMatrix;

/// Embedding table and head of a decoder.
#[derive(Debug)]
pub(super) struct Ends {
    /// `[vocabulary, embedding]`.
    pub(super) embedding: PackedMatrix,
    /// `[vocabulary, embedding]`; the embedding table where that serves.
    pub(super) head: PackedMatrix,
}

/// The table is needed first and the head last: in between lie the layers, which `layers` plans.
pub(super) fn ends<L>(
    planner: &mut Planner<'_>,
    keys: &Keys<'_>,
    dimensions: &Dimensions,
    tied_by_default: bool,
    layers: impl FnOnce(&mut Planner<'_>) -> Result<L, ModelError>,
) -> Result<(Ends, L), ModelError> {
    let vocabulary = planner.rows_of("token_embd.weight")?;
    let embedding = planner.matrix("token_embd.weight", vocabulary, dimensions.embedding)?;
    let layers = layers(planner)?;
    let tied = match planner.naming() {
        Naming::Ggml => !planner.has("output.weight"),
        Naming::HuggingFace => keys.optional_bool(("", "tie_word_embeddings"))?.unwrap_or(tied_by_default),
    };
    let head = if tied {
        // Some files hold the table twice.
        planner.ignore("output.weight");
        embedding.clone()
    } else {
        planner.matrix("output.weight", vocabulary, dimensions.embedding)?
    };
    Ok((Ends { embedding, head }, layers))
}

/// Three projections and the output, with a bias where `biased`.
pub(super) fn attention(
    planner: &mut Planner<'_>,
    dimensions: &Dimensions,
    layer: usize,
    biased: bool,
) -> Result<Attention, ModelError> {
    let (embedding, queries, kv) = (dimensions.embedding, dimensions.query_width(), dimensions.kv_width());
    let widths = [("attn_q", queries), ("attn_k", kv), ("attn_v", kv)];
    let mut projections = Vec::with_capacity(3);
    let mut bias = Vec::new();
    for (part, rows) in widths {
        projections.push(planner.matrix(&format!("blk.{layer}.{part}.weight"), rows, embedding)?);
        if biased {
            bias.extend(planner.vector(&format!("blk.{layer}.{part}.bias"), rows)?);
        }
    }
    let output = planner.matrix(&format!("blk.{layer}.attn_output.weight"), embedding, queries)?;
    let output_bias =
        planner.optional_vector(&format!("blk.{layer}.attn_output.bias"), embedding)?.unwrap_or_default();
    Ok(Attention { projections, bias, query_norm: None, key_norm: None, output, output_bias })
}

/// Gate, up and down.
pub(super) fn feed_forward(
    planner: &mut Planner<'_>,
    dimensions: &Dimensions,
    layer: usize,
) -> Result<FeedForward, ModelError> {
    let (embedding, inner) = (dimensions.embedding, dimensions.feed_forward);
    let mut matrix =
        |part, rows, columns| planner.matrix(&format!("blk.{layer}.{part}.weight"), rows, columns);
    Ok(FeedForward {
        gate_up: vec![matrix("ffn_gate", inner, embedding)?, matrix("ffn_up", inner, embedding)?],
        down: matrix("ffn_down", embedding, inner)?,
    })
}

/// A root-mean-square normalisation of `length` elements.
pub(super) fn norm(
    planner: &mut Planner<'_>,
    name: &str,
    length: usize,
    epsilon: f32,
) -> Result<Norm, ModelError> {
    Ok(Norm::root_mean_square(planner.vector(name, length)?, epsilon))
}

/// How a Llama file lays out its rotated pairs: GGUF converters permute these models' heads.
pub(super) fn llama_pairs(planner: &Planner<'_>) -> PairLayout {
    match planner.naming() {
        Naming::Ggml => PairLayout::Interleaved,
        Naming::HuggingFace => PairLayout::Halves,
    }
}

/// `1 / sqrt(head)`.
pub(super) fn usual_scale(dimensions: &Dimensions) -> f32 {
    1.0 / (dimensions.head as f32).sqrt()
}

/// Layers to reserve room for: a hostile count is not believed.
pub(super) fn reserve<T>(dimensions: &Dimensions) -> Vec<T> {
    Vec::with_capacity(dimensions.layers.min(256))
}

/// What each layer sees, where `sliding` says which have the window if the file has no list of its own.
pub(super) fn sights(
    keys: &Keys<'_>,
    layers: usize,
    window: Option<usize>,
    sliding: impl Fn(usize) -> bool,
) -> Result<Vec<Sight>, ModelError> {
    const KINDS: Key = ("", "layer_types");
    let listed = keys.optional_strings(KINDS)?;
    if let Some(listed) = &listed
        && listed.len() != layers
    {
        return Err(keys.refuse(KINDS, format!("{} long", listed.len()), "it must name every layer"));
    }
    (0..layers)
        .map(|layer| {
            let windowed = match listed.as_ref().and_then(|listed| listed.get(layer)) {
                None => window.filter(|_| sliding(layer)),
                Some(&"sliding_attention") => {
                    let missing =
                        || keys.refuse(KINDS, "sliding_attention", "there is no window: set sliding_window");
                    Some(window.ok_or_else(missing)?)
                }
                Some(&"full_attention") => None,
                Some(other) => return Err(keys.refuse(KINDS, other, "not served in this family")),
            };
            Ok(windowed.map_or(Sight::Causal, Sight::Window))
        })
        .collect()
}

/// The usual shape of attention, with queries scaled by `query_scale`.
pub(super) fn qkv_shape(dimensions: &Dimensions, query_scale: f32) -> QkvShape {
    QkvShape { heads: dimensions.heads, kv_heads: dimensions.kv_heads, head: dimensions.head, query_scale }
}

/// The one rotary embedding of most models, whose pairs lie in halves.
pub(super) fn rotary(
    keys: &Keys<'_>,
    dimensions: &Dimensions,
    default_base: f32,
    context: usize,
    factors: RotaryFactors<'_>,
) -> Result<Rotary, ModelError> {
    let spec = RotarySpec {
        keys: ROTARY_KEYS,
        layout: PairLayout::Halves,
        head: dimensions.head,
        default_base,
        context,
    };
    Rotary::read(keys, spec, factors)
}

/// Refuses an activation other than the family's own, under `key` of a `config.json`.
pub(super) fn expect_activation(
    keys: &Keys<'_>,
    key: &'static str,
    expected: &str,
) -> Result<(), ModelError> {
    match keys.optional_string(("", key))? {
        Some(found) if found != expected => {
            Err(keys.refuse(("", key), found, &format!("{expected} is served")))
        }
        _ => Ok(()),
    }
}
