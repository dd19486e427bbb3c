//! The server as a whole: bind, load, warm up, serve, drain. Also in-process, for `weighbridge up`.
//!
//! Ports are bound first, so that probes get an answer while the model loads. Signals and the command
//! line are the binary's; nothing here ends the process.

pub mod config;
mod error;
mod fetch;
mod load;

pub use config::{AdapterConfig, DeviceSetting, HeldFile, ModelFile, ServerConfig};
pub use error::ServeError;
pub use fetch::{evict, fetch};
pub use load::{Inspection, inspect};

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use weighbridge_tls::{Handshakes, ServerTls};

use crate::http::{self, AppState, Listener, Phase, ServedModel, Task};
use crate::metrics::{EngineMetrics, Metrics};

/// Hears of every change of phase. Called on any thread: must be quick and must not block.
pub type PhaseSink = Arc<dyn Fn(&Phase) + Send + Sync>;

/// Looks at a server from outside, also while it runs.
#[derive(Clone, Debug)]
pub struct View(Arc<AppState>);

impl View {
    /// What the model is for, once it is there.
    pub fn task(&self) -> Option<Task> {
        self.0.model().map(ServedModel::task)
    }
}

/// A server whose ports are bound and whose model is not there yet.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    state: Arc<AppState>,
    engine_metrics: Arc<EngineMetrics>,
    api: Listener,
    admin: Option<Listener>,
}

impl Server {
    /// Binds the ports that `config` names.
    ///
    /// # Errors
    /// [`ServeError::Listen`] when one cannot be had, [`ServeError::Config`] when `config` is at fault.
    pub async fn bind(config: ServerConfig) -> Result<Self, ServeError> {
        config.validate()?;
        let engine_metrics = Arc::new(EngineMetrics::default());
        let tls = config.tls.clone().map(|files| ServerTls::load(files, Handshakes::default()));
        let tls = tls.transpose()?.map(Arc::new);
        let metrics = Arc::new(Metrics::new(&engine_metrics).with_tls(tls.as_ref()));
        let state = AppState::new(Arc::clone(&metrics)).with_max_body(config.max_body_bytes);
        let state = Arc::new(state);
        let api = Listener::bind(config.listen, Arc::clone(&metrics)).await?.with_tls(tls);
        let admin = match config.admin_listen {
            Some(address) => Some(Listener::bind(address, metrics).await?),
            None => None,
        };
        tracing::info!(address = %api.address(), tls = config.tls.is_some(), "listening");
        Ok(Self { config, state, engine_metrics, api, admin })
    }

    /// Where the API is served: with port 0 in the configuration, the port that was free.
    pub fn address(&self) -> SocketAddr {
        self.api.address()
    }

    /// Where health and metrics are served, if not on the API's port.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Listener::address)
    }

    /// A view that stays when the server runs.
    pub fn view(&self) -> View {
        View(Arc::clone(&self.state))
    }

    /// Loads the model and serves until `shutdown`; then, within the drain timeout, serves on, not ready, until no request
    /// came for the drain delay, refuses what is new, and finishes the open requests. Dropping the future stops at once.
    ///
    /// # Errors
    /// [`ServeError`] when the model cannot be had, loaded or run.
    pub async fn run(
        self,
        shutdown: impl Future<Output = ()>,
        progress: PhaseSink,
    ) -> Result<(), ServeError> {
        let Self { config, state, engine_metrics, api, admin } = self;
        let began = Instant::now();
        let stop = CancellationToken::new();
        let router = match admin {
            Some(_) => http::api(Arc::clone(&state)),
            None => http::api_and_metrics(Arc::clone(&state)),
        };
        let serve = |listener: Listener, router| {
            AbortOnDropHandle::new(tokio::spawn(listener.serve(router, stop.clone())))
        };
        let api = serve(api, router);
        let admin = admin.map(|admin| serve(admin, http::admin(Arc::clone(&state))));
        let _reporter = AbortOnDropHandle::new(tokio::spawn(report(Arc::clone(&state), progress)));

        let mut shutdown = std::pin::pin!(shutdown);
        let loaded = tokio::select! {
            loaded = load::model(&config, &state, engine_metrics) => loaded,
            () = &mut shutdown => {
                // Whoever loads and waits for a card sees it.
                state.drain();
                return Ok(());
            }
        };
        match loaded {
            Ok(model) => state.set_model(model),
            Err(error) => {
                state.enter(Phase::Failed(error.to_string()));
                return Err(error);
            }
        }
        state.phase_took("total", began.elapsed());
        state.enter(Phase::Ready);
        tracing::info!(seconds = began.elapsed().as_secs_f64(), "ready");

        shutdown.await;
        if !state.leave(config.drain_delay, config.drain_timeout).await {
            tracing::warn!("the drain timeout is over; open requests are cut");
            return Ok(());
        }
        stop.cancel();
        api.await.ok();
        if let Some(admin) = admin {
            admin.await.ok();
        }
        Ok(())
    }
}

/// Binds, loads and serves until `shutdown`: [`Server::bind`] and [`Server::run`] in one.
///
/// # Errors
/// As those two.
pub async fn serve(
    config: ServerConfig,
    shutdown: impl Future<Output = ()>,
    progress: PhaseSink,
) -> Result<(), ServeError> {
    Server::bind(config).await?.run(shutdown, progress).await
}

/// Tells `progress` of every phase.
async fn report(state: Arc<AppState>, progress: PhaseSink) {
    let mut phases = state.phases();
    loop {
        let phase = phases.borrow_and_update().clone();
        progress(&phase);
        if phases.changed().await.is_err() {
            return;
        }
    }
}
