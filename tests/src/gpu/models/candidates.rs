//! The models that are checked, and how far from the CPU's each may be.

use anyhow::{Context, Result};
use weighbridge_inference_server::backend::cuda::CacheKind;
use weighbridge_inference_server::gguf::TensorType;
use weighbridge_inference_server::synth::{E4m3, Family, Format, Shape, SynthSpec};

/// How far the next token may be off, in nats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bar {
    /// The mean of all positions but strays.
    pub mean: f64,
    /// The most of any but strays.
    pub most: f64,
    /// By how much another token than the CPU's may be less likely, where it is the likeliest: a near-tie.
    pub near_tie: f64,
    /// The share of positions that may be further off than `most`: where two experts are as good, rounding sends a token to
    /// the other one.
    pub strays: f64,
}

impl Bar {
    /// Activations are bfloat16 on a card; beside quants they are int8 on the CPU.
    pub const PLAIN: Self = Self { mean: 1e-4, most: 1e-3, near_tie: 0.05, strays: 0.0 };
    /// The same of mixtures.
    pub const MIXTURE: Self = Self { strays: 0.05, ..Self::PLAIN };
    /// Keys and values have three bits after the point there, and ten on the CPU.
    pub const EIGHT_BITS: Self = Self { mean: 3e-3, most: 2e-2, near_tie: 0.2, strays: 0.0 };
}

/// A model to check.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// What the table calls it.
    pub name: String,
    /// What it is made of.
    pub spec: SynthSpec,
    /// What its keys and values are kept as on the device.
    pub cache: CacheKind,
    /// How far it may be off.
    pub bar: Bar,
}

/// Types whose matrices have kernels of their own, beside BF16, in which every family is checked.
const TYPES: [TensorType; 5] =
    [TensorType::Q8_0, TensorType::Q4_0, TensorType::Q4K, TensorType::Q6K, TensorType::MXFP4];

/// Every family in BF16; a Llama in each stored type, and in 8-bit floats; three families with keys and values of eight
/// bits.
///
/// # Errors
/// Where there is no tiny shape.
pub fn all() -> Result<Vec<Candidate>> {
    let mut all = Vec::new();
    let decoders = || Family::ALL.into_iter().filter(|family| !family.is_encoder());
    for family in decoders() {
        let spec = spec(family, Format::Safetensors, TensorType::BF16)?;
        all.push(Candidate::plain(format!("{} BF16", family.name()), spec));
    }
    for kind in TYPES {
        let spec = spec(Family::Llama, Format::Gguf, kind)?;
        all.push(Candidate::plain(format!("{} {kind}", Family::Llama.name()), spec));
    }
    for e4m3 in E4m3::ALL {
        let spec =
            SynthSpec { e4m3: Some(e4m3), ..spec(Family::Llama, Format::Safetensors, TensorType::BF16)? };
        all.push(Candidate::plain(format!("{} {}", Family::Llama.name(), e4m3.name()), spec));
    }
    for family in [Family::Llama, Family::Qwen3, Family::Gemma3] {
        all.push(Candidate {
            name: format!("{} BF16, keys and values fp8", family.name()),
            spec: spec(family, Format::Safetensors, TensorType::BF16)?,
            cache: CacheKind::E4m3,
            bar: Bar::EIGHT_BITS,
        });
    }
    Ok(all)
}

impl Candidate {
    fn plain(name: String, spec: SynthSpec) -> Self {
        let bar = if spec.family.is_mixture() { Bar::MIXTURE } else { Bar::PLAIN };
        Self { name, spec, cache: CacheKind::F16, bar }
    }
}

fn spec(family: Family, format: Format, kind: TensorType) -> Result<SynthSpec> {
    let shape = Shape::named("tiny", family).context("there is no tiny shape")?;
    Ok(SynthSpec { seed: 3, ..SynthSpec::new(family, shape, format, kind) })
}
