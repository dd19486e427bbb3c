//! A Llama model's dimensions, read from metadata and checked.

use super::ModelError;
use crate::gguf::Metadata;

/// Largest head that kernels take.
const MAX_HEAD: u32 = 512;
/// More layers than any model has; bounds what a hostile count costs.
const MAX_LAYERS: u32 = 4096;
/// Largest dimension: keeps every product of two in 64 bits and of a tile's offsets in range.
const MAX_DIMENSION: u32 = 1 << 24;

/// Dimensions of a Llama-family model. All are positive; heads divide as they must.
#[derive(Clone, Debug, PartialEq)]
pub struct LlamaConfig {
    /// Layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub embedding: usize,
    /// Query heads.
    pub heads: usize,
    /// Key-value heads; divides `heads`.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head: usize,
    /// Width of the feed-forward part.
    pub feed_forward: usize,
    /// Largest position + 1 that numbers are right for.
    pub context_length: usize,
    /// Of the root-mean-square normalisations.
    pub epsilon: f32,
    /// Elements of a head that are rotated; even, at most `head`.
    pub rotary: usize,
    /// Base of the rotary frequencies.
    pub rope_base: f32,
    /// Positions are divided by this (linear scaling; 1 without).
    pub rope_divisor: f32,
}

impl LlamaConfig {
    /// Reads the dimensions of a file whose `general.architecture` is `llama`.
    ///
    /// # Errors
    /// [`ModelError`] naming the key that is missing, contradictory or not served.
    pub fn from_metadata(metadata: &Metadata) -> Result<Self, ModelError> {
        let architecture = metadata.string("general.architecture")?;
        if architecture != "llama" {
            return Err(ModelError::Architecture { found: architecture.to_owned(), served: "llama" });
        }
        let keys = Keys(metadata);
        let layers = keys.dimension("block_count", MAX_LAYERS)?;
        let embedding = keys.dimension("embedding_length", MAX_DIMENSION)?;
        let heads = keys.dimension("attention.head_count", MAX_DIMENSION)?;
        let kv_heads = keys.optional_dimension("attention.head_count_kv", MAX_DIMENSION)?.unwrap_or(heads);
        if heads % kv_heads != 0 {
            return Err(keys.refuse(
                "attention.head_count_kv",
                kv_heads,
                "it must divide attention.head_count",
            ));
        }
        let head = keys.head(embedding, heads)?;
        let rotary = keys.optional_dimension("rope.dimension_count", MAX_HEAD)?.unwrap_or(head);
        if rotary > head || rotary % 2 != 0 {
            return Err(keys.refuse(
                "rope.dimension_count",
                rotary,
                "it must be even and at most the head's length",
            ));
        }
        let epsilon = metadata.f32("llama.attention.layer_norm_rms_epsilon")?;
        if epsilon < 0.0 {
            return Err(keys.refuse("attention.layer_norm_rms_epsilon", epsilon, "it must not be negative"));
        }
        let rope_base = metadata.optional_f32("llama.rope.freq_base")?.unwrap_or(10_000.0);
        if rope_base <= 0.0 {
            return Err(keys.refuse("rope.freq_base", rope_base, "it must be positive"));
        }
        keys.refuse_variants()?;
        Ok(Self {
            layers: layers as usize,
            embedding: embedding as usize,
            heads: heads as usize,
            kv_heads: kv_heads as usize,
            head: head as usize,
            feed_forward: keys.dimension("feed_forward_length", MAX_DIMENSION)? as usize,
            context_length: keys.context_length()? as usize,
            epsilon,
            rotary: rotary as usize,
            rope_base,
            rope_divisor: keys.rope_divisor()?,
        })
    }

    /// Radians per position of each rotated pair, `[rotary / 2]`; `factors` are `rope_freqs.weight`.
    pub fn rotary_frequencies(&self, factors: Option<&[f32]>) -> Vec<f64> {
        (0..self.rotary / 2)
            .map(|pair| {
                let exponent = -2.0 * pair as f64 / self.rotary as f64;
                let factor = factors.and_then(|factors| factors.get(pair)).copied().unwrap_or(1.0);
                f64::from(self.rope_base).powf(exponent) / f64::from(factor) / f64::from(self.rope_divisor)
            })
            .collect()
    }

    /// Elements of a token's queries.
    pub fn query_width(&self) -> usize {
        self.heads * self.head
    }

    /// Elements of a token's keys, and of its values.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head
    }
}

/// Metadata under the `llama.` prefix.
struct Keys<'a>(&'a Metadata);

impl Keys<'_> {
    fn dimension(&self, key: &str, limit: u32) -> Result<u32, ModelError> {
        let value = self.0.u32(&format!("llama.{key}"))?;
        self.bounded(key, value, limit)
    }

    fn optional_dimension(&self, key: &str, limit: u32) -> Result<Option<u32>, ModelError> {
        let value = self.0.optional_u32(&format!("llama.{key}"))?;
        value.map(|value| self.bounded(key, value, limit)).transpose()
    }

    fn bounded(&self, key: &str, value: u32, limit: u32) -> Result<u32, ModelError> {
        if (1..=limit).contains(&value) {
            Ok(value)
        } else {
            Err(self.refuse(key, value, &format!("it must be from 1 to {limit}")))
        }
    }

    fn refuse(&self, key: &str, value: impl std::fmt::Display, problem: &str) -> ModelError {
        ModelError::Config {
            key: format!("llama.{key}"),
            value: value.to_string(),
            problem: problem.to_owned(),
        }
    }

    fn head(&self, embedding: u32, heads: u32) -> Result<u32, ModelError> {
        let key = self.optional_dimension("attention.key_length", MAX_HEAD)?;
        let value = self.optional_dimension("attention.value_length", MAX_HEAD)?;
        let head = match (key, value) {
            (Some(key), Some(value)) if key != value => {
                return Err(self.refuse(
                    "attention.value_length",
                    value,
                    "it must equal attention.key_length",
                ));
            }
            (Some(head), _) | (None, Some(head)) => head,
            (None, None) if embedding.is_multiple_of(heads) => embedding / heads,
            (None, None) => {
                return Err(self.refuse("attention.head_count", heads, "it must divide embedding_length"));
            }
        };
        self.bounded("attention.key_length", head, MAX_HEAD)
    }

    /// The trained context, or the attention window where that is shorter: beyond it, attention without a
    /// window would give other numbers than the model was trained for.
    fn context_length(&self) -> Result<u32, ModelError> {
        let trained = self.dimension("context_length", u32::MAX)?;
        let window = self.optional_dimension("attention.sliding_window", u32::MAX)?;
        Ok(window.map_or(trained, |window| window.min(trained)))
    }

    fn rope_divisor(&self) -> Result<f32, ModelError> {
        let kind = self.0.optional_string("llama.rope.scaling.type")?.unwrap_or("none");
        let factor = match kind {
            "none" => None,
            "linear" => self.0.optional_f32("llama.rope.scaling.factor")?,
            other => {
                return Err(self.refuse("rope.scaling.type", other, "not supported; none and linear are"));
            }
        };
        // Old converters wrote the linear factor under this key.
        let factor = match factor {
            Some(factor) => factor,
            None => self.0.optional_f32("llama.rope.scale_linear")?.unwrap_or(1.0),
        };
        if factor > 0.0 {
            Ok(factor)
        } else {
            Err(self.refuse("rope.scaling.factor", factor, "it must be positive"))
        }
    }

    fn refuse_variants(&self) -> Result<(), ModelError> {
        for key in ["expert_count", "attention.scale", "attention.clamp_kqv", "logit_scale", "residual_scale"]
        {
            let full = format!("llama.{key}");
            match self.0.get(&full) {
                None => {}
                Some(value) if value.as_u64() == Some(0) => {}
                Some(value) => {
                    return Err(self.refuse(key, value.in_words(), "this variant is not supported yet"));
                }
            }
        }
        Ok(())
    }
}
