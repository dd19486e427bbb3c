//! The models that are measured: the sample, and generated ones, made once and kept in the cache.

use std::path::PathBuf;

use anyhow::{Context, Result};
use weighbridge_inference_server::gguf::TensorType;
use weighbridge_inference_server::synth::{
    Family, Format, Shape, SynthError, SynthSpec, VERSION, WriteOptions,
};

use super::Common;
use crate::measured::{cache, sample};

/// A file, and what figures of it begin with.
#[derive(Clone, Debug)]
pub struct Model {
    /// Where it is.
    pub path: PathBuf,
    /// Beginning of figures' names.
    pub name: String,
}

/// SmolLM2 in Q4_1.
///
/// # Errors
/// Where it was not fetched.
pub fn sample_model() -> Result<Model> {
    Ok(Model { path: sample()?, name: "smollm2".to_owned() })
}

/// A Llama of the wanted shape with matrices of `kind`, made unless it is there.
///
/// # Errors
/// Where it can't be written.
pub fn generated(common: &Common, kind: TensorType, name: &str) -> Result<Model> {
    let path = llama(&common.shape, common.seed, kind)?;
    Ok(Model { path, name: name.to_owned() })
}

/// The file of such a Llama.
///
/// # Errors
/// As [`generated`].
pub fn llama(shape_name: &str, seed: u64, kind: TensorType) -> Result<PathBuf> {
    let shape = Shape::named(shape_name, Family::Llama)
        .with_context(|| format!("--shape {shape_name}: there is none of that name"))?;
    let spec = SynthSpec { seed, ..SynthSpec::new(Family::Llama, shape, Format::Gguf, kind) };
    let folder = cache()?.join("synth");
    std::fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
    let kind = kind.name().to_lowercase();
    let file = format!("llama-{shape_name}-{kind}-seed{seed}-v{VERSION}.gguf");
    let path = folder.join(file);
    match spec.write(&path, WriteOptions::default()) {
        // A whole file has its name only when it is whole.
        Ok(_) | Err(SynthError::Exists { .. }) => Ok(path),
        Err(error) => Err(error.into()),
    }
}
