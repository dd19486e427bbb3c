//! Why a model could not be loaded.

use crate::gguf::GgufError;
use crate::model::ModelError;
use crate::model::adapter::AdapterError;

/// A model that was not loaded. Nothing of it stays in memory.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is not usable.
    #[error(transparent)]
    File(#[from] GgufError),
    /// The file holds no model that is served.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// An adapter is not served, or does not fit the model.
    #[error("adapter {name}: {source}")]
    Adapter {
        /// Its name.
        name: String,
        /// What is wrong with it.
        #[source]
        source: AdapterError,
    },
    /// It does not fit into memory.
    #[error(
        "{arithmetic}; choose a smaller model or quantisation, lower the context length, the sequences at once or the KV memory, or give the process more memory"
    )]
    Memory {
        /// The sum and what is available, in words.
        arithmetic: String,
    },
    /// Sizes that overflow.
    #[error("{what} overflows; lower it")]
    Overflow {
        /// The size, in words.
        what: &'static str,
    },
    /// Heads that a kind of KV memory has no groups for.
    #[error(
        "a KV cache of q8_0 has groups of 32 elements, and this model's heads have {head}, no multiple of 32; use f16 or f32"
    )]
    KvHead {
        /// Elements of a head.
        head: usize,
    },
    /// An option that makes no backend.
    #[error("{option}: {problem}")]
    Option {
        /// The option.
        option: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The system gave no memory or no thread.
    #[error("{what}: {source}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// The system's words.
        #[source]
        source: std::io::Error,
    },
    /// A card can't have the model, or refused it.
    #[error("the GPU: {problem}")]
    Card {
        /// Why, in words.
        problem: String,
    },
    /// A kernel failed while packing.
    #[error("packing {tensor} failed; this is a defect of the server")]
    Pack {
        /// The tensor.
        tensor: String,
    },
}
