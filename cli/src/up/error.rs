//! Why `up` did not, or no longer does, serve.

use std::io;
use std::net::SocketAddr;

use weighbridge_gateway::ServeError as DoorError;
use weighbridge_inference_server::artifact::InvalidToken;
use weighbridge_inference_server::server::ServeError as EngineError;
use weighbridge_operator::plan::OfflineError;

use super::local::Name;
use crate::manifest_file::FileError;
use crate::secret::SecretError;

#[derive(Debug, thiserror::Error)]
pub enum UpError {
    #[error(transparent)]
    File(Box<FileError>),
    #[error(transparent)]
    Refused(Box<OfflineError>),
    #[error("the file names no ModelDeployment: there is nothing to serve")]
    Nothing,
    #[error("{kind} {name} is in the file twice: remove one")]
    Twice { kind: &'static str, name: Name },
    #[error("ModelDeployment {name}: {problem}")]
    Model { name: Name, problem: String },
    #[error("ModelDeployment {name}")]
    HubToken {
        name: Name,
        #[source]
        source: InvalidToken,
    },
    #[error("{kind} {name}")]
    Secret {
        kind: &'static str,
        name: Name,
        #[source]
        source: Box<SecretError>,
    },
    #[error(transparent)]
    SecretFlag(Box<SecretError>),
    #[error("no folder for fetched weights: set --cache-folder, WEIGHBRIDGE_CACHE or HOME")]
    NoCacheFolder,
    #[error(
        "--listen {0} lets other machines in, and nothing asks them who they are: listen on 127.0.0.1, or add \
         --allow-remote"
    )]
    Remote(SocketAddr),
    #[error("{flag} {address}: the port is in use; name another one with {flag} HOST:PORT")]
    PortInUse { flag: &'static str, address: SocketAddr },
    #[error("{flag} {address}: can't listen there")]
    Listen {
        flag: &'static str,
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("can't listen for signals")]
    Signals(#[source] io::Error),
    #[error("ModelDeployment {name} can't be served")]
    Engine {
        name: Name,
        #[source]
        source: Box<EngineError>,
    },
    #[error("the provider proxy of ExternalProvider {name} ended")]
    Proxy {
        name: Name,
        #[source]
        source: Box<DoorError>,
    },
    #[error("the door ended")]
    Door(#[source] Box<DoorError>),
    #[error("a part of the process failed with an internal error")]
    Panicked,
    #[error("can't print the address")]
    Write(#[source] io::Error),
    #[error("interrupted")]
    Interrupted,
}
