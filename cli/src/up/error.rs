//! Why `up` did not, or no longer does, serve.

use std::io;
use std::net::SocketAddr;

use weighbridge_gateway::{LimitsError, ServeError as DoorError};
use weighbridge_inference_server::artifact::{InvalidProxy, InvalidToken};
use weighbridge_inference_server::backend::cpu::LoadError;
use weighbridge_inference_server::server::{ServeError as EngineError, ServerConfig};
use weighbridge_operator::plan::OfflineError;
use weighbridge_tls::TlsError;

use super::local::Name;
use crate::manifest_file::FileError;
use crate::secret::SecretError;

/// Why nothing, or nothing more, is served.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// The file can't be used.
    #[error(transparent)]
    File(Box<FileError>),
    /// An object of it can't be served.
    #[error(transparent)]
    Refused(Box<OfflineError>),
    /// No model in it.
    #[error("the file names no ModelDeployment: there is nothing to serve")]
    Nothing,
    /// A model that this machine can't serve: the field and the fix.
    #[error("ModelDeployment {name}: {problem}")]
    Model { name: Name, problem: String },
    /// A token that no header can hold.
    #[error("ModelDeployment {name}")]
    HubToken {
        name: Name,
        #[source]
        source: InvalidToken,
    },
    /// A key that an object names and that can't be had.
    #[error("{kind} {name}")]
    Secret {
        kind: &'static str,
        name: Name,
        #[source]
        source: Box<SecretError>,
    },
    /// A `--secret` that is none.
    #[error(transparent)]
    SecretFlag(Box<SecretError>),
    /// A proxy of the environment that can't be used.
    #[error(transparent)]
    ProxySetting(InvalidProxy),
    /// Nowhere to put weights.
    #[error("no folder for fetched weights: set --cache-folder, WEIGHBRIDGE_CACHE or HOME")]
    NoCacheFolder,
    /// Other machines would be let in.
    #[error(
        "--listen {0} lets other machines in, and nothing asks them who they are: listen on 127.0.0.1, put a \
         ModelAccess into the file (`weighbridge key create` prints one), or add --allow-remote"
    )]
    Remote(SocketAddr),
    /// Other machines would read the metrics.
    #[error(
        "--metrics-listen {0} lets other machines read the metrics, and nothing asks them who they are: listen on \
         127.0.0.1, or add --allow-remote"
    )]
    RemoteMetrics(SocketAddr),
    /// Somebody listens there.
    #[error("{flag} {address}: the port is in use; name another one with {flag} HOST:PORT")]
    PortInUse { flag: &'static str, address: SocketAddr },
    /// The system lets nobody listen there.
    #[error("{flag} {address}: can't listen there")]
    Listen {
        flag: &'static str,
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    /// No certificate to serve with.
    #[error(transparent)]
    Tls(Box<TlsError>),
    /// Bounds that contradict each other.
    #[error(transparent)]
    Limits(LimitsError),
    /// Ctrl-C would not be heard.
    #[error("can't listen for signals")]
    Signals(#[source] io::Error),
    /// An engine ended, or did not begin.
    #[error("ModelDeployment {name} can't be served")]
    Engine {
        name: Name,
        #[source]
        source: Box<EngineError>,
    },
    /// A proxy ended.
    #[error("the provider proxy of ExternalProvider {name} ended")]
    Proxy {
        name: Name,
        #[source]
        source: Box<DoorError>,
    },
    /// The gateway ended.
    #[error("the door ended")]
    Door(#[source] Box<DoorError>),
    /// A defect of ours.
    #[error("a part of the process failed with an internal error")]
    Panicked,
    /// stdout is gone.
    #[error("can't print the address")]
    Write(#[source] io::Error),
    /// A second Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl UpError {
    /// What stopped the engine of `name`: a setting of the file by its field and the fix, all else in the
    /// engine's own words.
    pub fn engine(name: Name, error: EngineError) -> Self {
        const LOWER: &str = "lower openWeights.engine.maxSequences or openWeights.engine.contextLength, or name \
                             smaller weights in openWeights.source";
        let problem = match &error {
            EngineError::Config { field: ServerConfig::CONTEXT_LENGTH, problem } => {
                format!("openWeights.engine.contextLength: {problem}")
            }
            EngineError::Config { field: ServerConfig::QUANTIZE, problem } => {
                format!("openWeights.engine.quantize: {problem}")
            }
            EngineError::Config { field: ServerConfig::SLEEP, problem } => {
                format!("openWeights.engine.sleep: {problem}")
            }
            EngineError::Config { field: ServerConfig::KV_CACHE_TYPE, problem } => {
                format!("openWeights.engine.kvCacheType: {problem}")
            }
            EngineError::AdapterArtifact { .. } | EngineError::Load(LoadError::Adapter { .. }) => {
                format!("openWeights.engine.adapters: {error}")
            }
            EngineError::Config { field: ServerConfig::ADAPTER, problem } => {
                format!("openWeights.engine.adapters: {problem}")
            }
            EngineError::Load(LoadError::KvHead { .. }) => format!("openWeights.engine.kvCacheType: {error}"),
            EngineError::Load(LoadError::Memory { arithmetic }) => format!("{arithmetic}: {LOWER}"),
            EngineError::Load(LoadError::Overflow { what }) => format!("{what} overflows: {LOWER}"),
            EngineError::Config { .. }
            | EngineError::Load(_)
            | EngineError::Listen(_)
            | EngineError::Tls(_)
            | EngineError::Artifact(_)
            | EngineError::File(_)
            | EngineError::Folder(_)
            | EngineError::Metadata(_)
            | EngineError::Tokenizer(_)
            | EngineError::Output(_)
            | EngineError::Thread(_)
            | EngineError::Warmup(_)
            | EngineError::Signals(_)
            | EngineError::Interrupted
            | EngineError::Held(_)
            | EngineError::Stopped
            | EngineError::Panicked => return UpError::Engine { name, source: Box::new(error) },
        };
        UpError::Model { name, problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::in_words;

    #[test]
    fn what_a_setting_of_the_file_broke_is_told_by_its_field() {
        let told = |error| {
            let name = Name { namespace: "n".to_owned(), name: "m".to_owned() };
            in_words(&UpError::engine(name, error))
        };
        let memory = LoadError::Memory { arithmetic: "the model does not fit".to_owned() };
        let overflow = LoadError::Overflow { what: "the KV memory's size" };
        for error in [memory, overflow] {
            let said = told(EngineError::Load(error));
            for field in ["openWeights.engine.maxSequences", "openWeights.engine.contextLength", "n/m"] {
                assert!(said.contains(field) && !said.contains("lower the KV memory"), "{said}");
            }
        }
        let context =
            EngineError::Config { field: ServerConfig::CONTEXT_LENGTH, problem: "set 8 or less".to_owned() };
        assert!(told(context).contains("openWeights.engine.contextLength: set 8 or less"));
    }
}
