//! The engines and proxies behind the door, each a task of this process.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use weighbridge_gateway::{
    Drain, GatewayConfig, KeySource, Limits, Listeners, ProviderFeed, ProxyConfig, Shutdown, Timeouts,
    serve_proxy_telling,
};
use weighbridge_inference_server::http::{Phase, Task};
use weighbridge_inference_server::server::{ModelFile, Server, ServerConfig};
use weighbridge_operator::status::{Asked, NamedModel};

use super::UpError;
use super::local::{Engine, Name, Proxy};
use super::progress::Progress;
use super::providers::{self, Told};
use crate::terminal::Terminal;

/// Any free port that only this machine reaches.
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// How a part ended, if it did.
pub type Ended = (Name, Result<(), UpError>);

/// The running parts.
pub struct Parts {
    /// Each ends by itself only when something is wrong.
    pub running: JoinSet<Ended>,
    stop_engines: CancellationToken,
    stop_proxies: Shutdown,
    drain_timeout: Duration,
    limits: Limits,
    timeouts: Timeouts,
}

impl Parts {
    /// Nothing runs yet. What will shares the bounds of the `door`.
    pub fn new(door: &GatewayConfig) -> Self {
        Self {
            running: JoinSet::new(),
            stop_engines: CancellationToken::new(),
            stop_proxies: Shutdown::new(),
            drain_timeout: door.drain.timeout,
            limits: door.limits.clone(),
            timeouts: door.timeouts.clone(),
        }
    }

    /// Starts an engine; its name, and what it is for, are sent to `ready` once it answered something itself. Returns
    /// its address.
    pub async fn start_engine(
        &mut self,
        engine: Engine,
        terminal: &Terminal,
        ready: mpsc::Sender<(Name, Task)>,
    ) -> Result<SocketAddr, UpError> {
        let Engine {
            name,
            request,
            adapters,
            context_length,
            max_sequences,
            kv_cache_type,
            quantize,
            sleep,
            threads,
            source: _,
            // The door's affair.
            hold: _,
        } = engine;
        let model = ModelFile::Source(Box::new(request));
        let mut config = ServerConfig::new(LOOPBACK, model, name.to_string());
        config.adapters = adapters;
        config.context_length = context_length;
        config.max_sequences = max_sequences.unwrap_or(config.max_sequences);
        config.kv_cache_type = kv_cache_type;
        config.quantize = quantize;
        config.sleep = sleep;
        config.threads = threads;
        config.max_body_bytes = self.limits.body_bytes;
        config.drain_timeout = self.drain_timeout;
        let failed = {
            let name = name.clone();
            move |error| UpError::engine(name, error)
        };
        let server = Server::bind(config).await.map_err(failed.clone())?;
        let address = server.address();
        let progress = Progress::new(name.clone(), terminal);
        let sink = {
            let (name, view) = (name.clone(), server.view());
            Arc::new(move |phase: &Phase| {
                progress.show(phase);
                // A full queue holds it already; a closed one is that of a process that ends.
                if *phase == Phase::Ready
                    && let Some(task) = view.task()
                    && let Err(TrySendError::Full((name, _))) = ready.try_send((name.clone(), task))
                {
                    tracing::warn!(%name, "became ready more than once");
                }
            })
        };
        let stop = self.stop_engines.clone();
        self.spawn(name, async move { server.run(stop.cancelled_owned(), sink).await.map_err(failed) });
        Ok(address)
    }

    /// Starts the proxy of a provider at which `models` are named, and tells of its troubles. Returns its address.
    pub async fn start_proxy(
        &mut self,
        proxy: Proxy,
        models: Vec<NamedModel>,
        terminal: &Terminal,
    ) -> Result<SocketAddr, UpError> {
        let Proxy { name, kind, base_url, place, allow_private, keys, secrets, region, data_policy: _ } =
            proxy;
        let listen = |source| UpError::Listen { flag: "a proxy's port", address: LOOPBACK, source };
        let public = TcpListener::bind(LOOPBACK).await.map_err(listen)?;
        let address = public.local_addr().map_err(listen)?;
        let config = ProxyConfig {
            namespace: name.namespace.clone(),
            provider: name.name.clone(),
            kind,
            base_url,
            place,
            keys: keys
                .iter()
                .map(|(key, weight)| KeySource { path: key.path.clone(), weight: *weight })
                .collect(),
            allow_private,
            ca_file: None,
            limits: self.limits.clone(),
            timeouts: self.timeouts.clone(),
            drain: Drain { delay: Duration::ZERO, timeout: self.drain_timeout },
        };
        let (stop, served) = (self.stop_proxies.clone(), name.clone());
        let feed = ProviderFeed::default();
        let asked = Asked { keys: secrets, region, models };
        let told = Told { name: name.clone(), asked, states: feed.subscribe() };
        let telling = AbortOnDropHandle::new(tokio::spawn(providers::tell(told, terminal.clone())));
        self.spawn(name, async move {
            let listeners = Listeners { public, tls: None, admin: None };
            let ended = serve_proxy_telling(config, listeners, stop, feed).await;
            drop(telling);
            // The paths of the keys are valid while this lives.
            drop(keys);
            ended.map_err(|source| UpError::Proxy { name: served, source: Box::new(source) })
        });
        Ok(address)
    }

    /// Ends every part: nothing comes through the door any more.
    pub async fn stop(&mut self) {
        self.stop_engines.cancel();
        self.stop_proxies.drain();
        while self.running.join_next().await.is_some() {}
    }

    fn spawn(&mut self, name: Name, work: impl Future<Output = Result<(), UpError>> + Send + 'static) {
        self.running.spawn(async move { (name, work.await) });
    }
}
