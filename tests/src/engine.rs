//! Our inference server, in process, on a model that a test can load.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use weighbridge_inference_server::gguf::TensorType;
use weighbridge_inference_server::http::Phase;
use weighbridge_inference_server::server::{ModelFile, ServeError, Server, ServerConfig};
use weighbridge_inference_server::synth::{Family, Format, Shape, SynthSpec, WriteOptions};
use weighbridge_tls::ServerFiles;

const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A server whose model is ready. It ends when dropped.
pub struct Engine {
    /// Where it answers.
    pub address: SocketAddr,
    /// Where its metrics are.
    pub admin: SocketAddr,
    _task: AbortOnDropHandle<Result<(), ServeError>>,
}

impl Engine {
    /// Serves `model` as `name`; by plain http where there is no `tls`.
    ///
    /// # Errors
    /// Where no port is free, or the model can't be served.
    pub async fn start(model: ModelFile, name: &str, tls: Option<ServerFiles>) -> Result<Self> {
        let mut config = ServerConfig::new(ANYWHERE, model, name);
        config.admin_listen = Some(ANYWHERE);
        config.tls = tls;
        let server = Server::bind(config).await?;
        let (address, admin) = (server.address(), server.admin_address().context("a second port")?);
        let (phases, mut phase) = watch::channel(Phase::Opening);
        let sink = Arc::new(move |phase: &Phase| {
            phases.send_replace(phase.clone());
        });
        let run = tokio::spawn(async move { server.run(std::future::pending(), sink).await });
        let task = AbortOnDropHandle::new(run);
        phase.wait_for(|phase| *phase == Phase::Ready).await.context("it never becomes ready")?;
        Ok(Self { address, admin, _task: task })
    }

    /// Serves the tiny model of the goldens that is called `family`, by that name.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub async fn golden(family: &str, tls: Option<ServerFiles>) -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/families").join(family);
        Self::start(ModelFile::Path(folder), family, tls).await
    }
}

/// Makes a model of random weights in `folder`, with a template for chats: what it says means nothing, and comes at once.
///
/// # Errors
/// Where it can't be written.
pub fn random_model(folder: &Path) -> Result<PathBuf> {
    let shape = Shape::named("tiny", Family::Llama).context("the shape")?;
    let spec = SynthSpec::new(Family::Llama, shape, Format::Gguf, TensorType::F32);
    Ok(spec.write(&folder.join("model.gguf"), WriteOptions::default())?.path)
}
