//! What can be wrong with an adapter, or between it and the model that it is for.

use crate::gguf::{GgufError, MetadataError};
use crate::safetensors::SafetensorsError;

/// An adapter that is not served, with what to do.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    /// Its folder cannot be used.
    #[error(transparent)]
    Folder(#[from] SafetensorsError),
    /// Its file cannot be used.
    #[error(transparent)]
    File(#[from] GgufError),
    /// A key of its GGUF file is missing or of the wrong type.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A setting that cannot be honoured.
    #[error("{key} is {value}: {fix}")]
    Setting {
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// What to do.
        fix: String,
    },
    /// It was made for another family.
    #[error(
        "it was made for a {found} model, and this one is {expected}; name the model that the adapter was trained on"
    )]
    Architecture {
        /// What the adapter says.
        found: String,
        /// What the model is, in ggml's words.
        expected: String,
    },
    /// A tensor without a place in the model.
    #[error(
        "tensor {tensor} has no place: adapters of {served} are served, where the model has them; train the adapter on those alone"
    )]
    Target {
        /// The tensor.
        tensor: String,
        /// Which matrices take adapters.
        served: &'static str,
    },
    /// A tensor that does not fit the model, or its other half.
    #[error("tensor {tensor}: {problem}")]
    Tensor {
        /// The tensor.
        tensor: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// Nothing to add.
    #[error("it holds no lora_A and lora_B; this is no LoRA adapter, or not all of one: fetch it again")]
    Empty,
}
