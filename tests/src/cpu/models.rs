//! The models that are measured: the sample, and generated ones, made once and kept in the cache.

use std::path::PathBuf;

use anyhow::{Context, Result};
use weighbridge_inference_server::gguf::TensorType;
use weighbridge_inference_server::synth::{
    E4m3, Family, Format, Shape, SynthError, SynthSpec, VERSION, WriteOptions,
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
    let spec = SynthSpec::new(Family::Llama, shape_of(shape_name)?, Format::Gguf, kind);
    let kind = kind.name().to_lowercase();
    made(&SynthSpec { seed, ..spec }, &format!("llama-{shape_name}-{kind}-seed{seed}-v{VERSION}.gguf"))
}

/// The folder of such a Llama in 8-bit floats.
///
/// # Errors
/// As [`generated`].
pub fn llama_e4m3(shape_name: &str, seed: u64, e4m3: E4m3) -> Result<PathBuf> {
    let spec = SynthSpec::new(Family::Llama, shape_of(shape_name)?, Format::Safetensors, TensorType::BF16);
    let name = format!("llama-{shape_name}-{}-seed{seed}-v{VERSION}", e4m3.name());
    made(&SynthSpec { seed, e4m3: Some(e4m3), ..spec }, &name)
}

fn shape_of(name: &str) -> Result<Shape> {
    Shape::named(name, Family::Llama).with_context(|| format!("--shape {name}: there is none of that name"))
}

/// The model of `spec` as `name` of the cache.
fn made(spec: &SynthSpec, name: &str) -> Result<PathBuf> {
    let folder = cache()?.join("synth");
    std::fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
    let path = folder.join(name);
    // A folder's weights come last, and what was cut off before them is no model.
    let is_begun = path.is_dir() && !path.join("model.safetensors").is_file();
    match spec.write(&path, WriteOptions { force: is_begun, ..WriteOptions::default() }) {
        // A whole file has its name only when it is whole.
        Ok(_) | Err(SynthError::Exists { .. }) => Ok(path),
        Err(error) => Err(error.into()),
    }
}
