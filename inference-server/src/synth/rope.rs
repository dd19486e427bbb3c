//! Scalings of the rotary frequencies: which families have which, and how each format says it.

use serde_json::{Value as Json, json};

use super::config::decimal;
use super::tensors::{Tensor, Values};
use super::{Family, SynthSpec, random};
use crate::gguf::{TensorType, Value};

/// How positions past the context that a model was trained on are turned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rope {
    /// As all others.
    #[default]
    None,
    /// All frequencies are divided by one factor.
    Linear,
    /// Low frequencies are divided, high ones left (Llama 3.1).
    Llama3,
    /// YaRN: the same by another rule, and a temperature.
    Yarn,
    /// LongRoPE: each frequency has its divisor, one for short contexts and one for long ones.
    LongRope,
}

impl Rope {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::None, Self::Linear, Self::Llama3, Self::Yarn, Self::LongRope];

    /// Its name on the command line, and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Linear => "linear",
            Self::Llama3 => "llama3",
            Self::Yarn => "yarn",
            Self::LongRope => "longrope",
        }
    }

    /// The kind called `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rope| rope.name() == name)
    }

    /// The families that have members with it.
    pub fn families(self) -> &'static [Family] {
        match self {
            Self::None => &Family::ALL,
            Self::Linear => &[Family::Llama, Family::Gemma3],
            Self::Llama3 => &[Family::Llama],
            Self::Yarn => &[Family::Qwen2, Family::Qwen3, Family::Qwen3Moe],
            Self::LongRope => &[Family::Phi3],
        }
    }

    /// How many times the context is as long as that of the training, in its usual members.
    fn factor(self) -> u8 {
        match self {
            Self::None => 1,
            Self::Linear | Self::Llama3 => 8,
            Self::Yarn => 4,
            Self::LongRope => 32,
        }
    }

    /// The context of the training, for a model with `context`.
    pub(super) fn original_context(self, context: usize) -> usize {
        let original = context.div_ceil(self.factor().into());
        match self {
            Self::None | Self::Linear => context,
            Self::Llama3 | Self::Yarn => original,
            // Its temperature is divided by the logarithm.
            Self::LongRope => original.max(2),
        }
    }
}

/// What a `config.json` says of it.
pub(super) fn config(spec: &SynthSpec) -> Json {
    let rope = spec.shape.rope;
    let (name, factor) = (rope.name(), f32::from(rope.factor()));
    let original = rope.original_context(spec.shape.context);
    match rope {
        Rope::None => json!({}),
        Rope::Linear => json!({"rope_scaling": {"rope_type": name, "factor": factor}}),
        Rope::Llama3 => json!({"rope_scaling": {
            "rope_type": name, "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": original,
        }}),
        Rope::Yarn => json!({"rope_scaling": {
            "rope_type": name, "factor": factor, "original_max_position_embeddings": original,
        }}),
        Rope::LongRope => {
            let [short, long] = long_rope(spec).map(|tensor| numbers(spec, &tensor));
            json!({"rope_scaling": {"type": name, "short_factor": short, "long_factor": long}})
        }
    }
}

/// The keys of a GGUF file, below its architecture.
pub(super) fn pairs(spec: &SynthSpec) -> Vec<(&'static str, Value)> {
    let rope = spec.shape.rope;
    let original = rope.original_context(spec.shape.context);
    let kind = ("rope.scaling.type", Value::String(rope.name().to_owned()));
    let factor = ("rope.scaling.factor", Value::F32(rope.factor().into()));
    let context = ("rope.scaling.original_context_length", Value::U32(original as u32));
    match rope {
        // Llama 3's is in a tensor alone.
        Rope::None | Rope::Llama3 => Vec::new(),
        Rope::Linear => vec![kind, factor],
        Rope::Yarn => vec![kind, factor, context],
        Rope::LongRope => {
            let longer = (spec.shape.context as f32 / original as f32).max(1.0);
            let temperature = (1.0 + longer.ln() / (original as f32).ln()).sqrt();
            vec![("rope.scaling.attn_factor", Value::F32(temperature)), context]
        }
    }
}

/// The tensors of a GGUF file that say it.
pub(super) fn tensors(spec: &SynthSpec) -> Vec<Tensor> {
    match spec.shape.rope {
        Rope::None | Rope::Linear | Rope::Yarn => Vec::new(),
        Rope::Llama3 => vec![divisors(spec, "rope_freqs.weight", 8.0)],
        Rope::LongRope => long_rope(spec).into(),
    }
}

fn long_rope(spec: &SynthSpec) -> [Tensor; 2] {
    [("rope_factors_short.weight", 2.0), ("rope_factors_long.weight", 32.0)]
        .map(|(name, largest)| divisors(spec, name, largest))
}

/// A divisor for each rotated pair.
fn divisors(spec: &SynthSpec, name: &str, largest: f32) -> Tensor {
    Tensor {
        name: name.to_owned(),
        shape: vec![spec.shape.head / 2],
        kind: TensorType::F32.into(),
        values: Values::Between(1.0, largest),
    }
}

/// The numbers that `tensor` holds in a file: a folder says the same model in its config.
fn numbers(spec: &SynthSpec, tensor: &Tensor) -> Vec<Json> {
    let seed = random::seed_of(spec.seed, &tensor.name, 0);
    let mut bytes = Vec::new();
    random::fill(tensor.kind, 1, tensor.values, tensor.elements(), seed, &mut bytes);
    bytes.as_chunks().0.iter().map(|bytes| decimal(f32::from_le_bytes(*bytes))).collect()
}
