//! Why a server ended, or did not begin.

use weighbridge_tls::TlsError;

use crate::artifact::{ArtifactError, HeldError};
use crate::backend::cpu::LoadError;
use crate::gguf::{GgufError, MetadataError};
use crate::http::ListenerError;
use crate::safetensors::SafetensorsError;
use crate::tokenizer::TokenizerError;

/// A server that does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A setting that makes no server.
    #[error("{field}: {problem}")]
    Config {
        /// The setting.
        field: &'static str,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A port cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenerError),
    /// A certificate cannot be used.
    #[error("{}: {}", .0, .0.problem)]
    Tls(#[from] TlsError),
    /// The model cannot be found, fetched or verified.
    #[error("{}", .0.in_words())]
    Artifact(#[from] ArtifactError),
    /// An adapter cannot be found, fetched or verified.
    #[error("adapter {name}: {}", .source.in_words())]
    AdapterArtifact {
        /// Its name.
        name: String,
        /// What is wrong.
        #[source]
        source: ArtifactError,
    },
    /// A cache that several pods share does not have it, or can't be used.
    #[error(transparent)]
    Held(#[from] HeldError),
    /// The model file is not usable.
    #[error("the model file: {0}")]
    File(#[from] GgufError),
    /// The model's folder is not usable.
    #[error("the model's folder: {0}")]
    Folder(#[from] SafetensorsError),
    /// The model file lacks a key.
    #[error("the model file: {0}")]
    Metadata(#[from] MetadataError),
    /// The model's tokenizer is not usable.
    #[error("the model's tokenizer: {0}")]
    Tokenizer(#[from] TokenizerError),
    /// The weights cannot be loaded.
    #[error("the model: {0}")]
    Load(#[from] LoadError),
    /// What was found out can't be written.
    #[error("the output: {0}")]
    Output(std::io::Error),
    /// The system gave no thread.
    #[error("the engine's thread: {0}")]
    Thread(std::io::Error),
    /// The model is there and produces nothing.
    #[error("the model produced no first token: {0}")]
    Warmup(String),
    /// Signals cannot be heard.
    #[error("signals: {0}")]
    Signals(std::io::Error),
    /// A second signal came while requests were being finished.
    #[error("a second signal came; open requests are cut")]
    Interrupted,
    /// A signal came before a fetch was over.
    #[error("stopped by a signal; what was fetched is kept for the next try")]
    Stopped,
    /// A bug of ours while loading.
    #[error("loading failed with an internal error")]
    Panicked,
}
