//! A gateway or a provider proxy in this process, on free ports, and a plain HTTP client to talk to it.

mod client;
pub mod cloud;
mod form;
mod link;
mod two_hops;

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use weighbridge_crds::{AccessKey, Hold, ModelAccess, ModelAccessSpec};
use weighbridge_gateway::access::{Access, Digest};
use weighbridge_gateway::directory::{Absence, Directory, ENGINE, Entry, EntryEndpoint, Seen, World};
use weighbridge_gateway::{
    Drain, GatewayConfig, KeySource, Limits, Listeners, ProxyConfig, ServeError, Shutdown, StateListener,
    Timeouts, serve, serve_proxy, serve_telling,
};
use weighbridge_tls::ServerTls;
use weighbridge_wire::lane::Speaks;
use weighbridge_wire::provider::Kind;

pub use client::{Answer, Client, Streamed};
pub use form::Form;
pub use link::Link;
pub use two_hops::TwoHops;

/// A running role; it is aborted when dropped.
pub struct Door {
    /// Where callers come.
    pub address: SocketAddr,
    /// Where probes and Prometheus come.
    pub admin: SocketAddr,
    /// Ends it.
    pub shutdown: Shutdown,
    task: Option<JoinHandle<Result<(), ServeError>>>,
}

impl Door {
    /// A gateway over `directory` that asks nobody for a key; bare names are those of the namespace `team`.
    ///
    /// # Errors
    /// Where no port is free.
    pub async fn gateway(config: GatewayConfig, directory: Directory) -> std::io::Result<Self> {
        Self::guarded(config, directory, Access::open("team")).await
    }

    /// A gateway over `directory` for those whom `access` lets in.
    ///
    /// # Errors
    /// Where no port is free.
    pub async fn guarded(
        config: GatewayConfig,
        directory: Directory,
        access: Access,
    ) -> std::io::Result<Self> {
        Self::secure(config, directory, access, None).await
    }

    /// A gateway over `directory` for those whom `access` lets in, with what callers are shown.
    ///
    /// # Errors
    /// Where no port is free.
    pub async fn secure(
        config: GatewayConfig,
        directory: Directory,
        access: Access,
        tls: Option<Arc<ServerTls>>,
    ) -> std::io::Result<Self> {
        let run = |listeners, shutdown| tokio::spawn(serve(config, listeners, directory, access, shutdown));
        Self::start(run, tls).await
    }

    /// A gateway over `directory` that lets everybody in, and tells the operator where calls go, with what that port shows and
    /// whom it lets in; and its address.
    ///
    /// # Errors
    /// Where no port is free.
    pub async fn telling(
        config: GatewayConfig,
        directory: Directory,
        listener: TcpListener,
        tls: Option<ServerTls>,
    ) -> std::io::Result<(Self, SocketAddr)> {
        let address = listener.local_addr()?;
        let state = Some(StateListener { listener, tls });
        let access = Access::open("team");
        let run = |listeners, shutdown| {
            tokio::spawn(serve_telling(config, listeners, directory, access, shutdown, state))
        };
        Ok((Self::start(run, None).await?, address))
    }

    /// A provider proxy.
    ///
    /// # Errors
    /// Where no port is free.
    pub async fn proxy(config: ProxyConfig) -> std::io::Result<Self> {
        Self::secure_proxy(config, None).await
    }

    /// A provider proxy, with what callers are shown and who is let in.
    ///
    /// # Errors
    /// Where no port is free.
    pub async fn secure_proxy(config: ProxyConfig, tls: Option<Arc<ServerTls>>) -> std::io::Result<Self> {
        Self::start(|listeners, shutdown| tokio::spawn(serve_proxy(config, listeners, shutdown)), tls).await
    }

    async fn start(
        run: impl FnOnce(Listeners, Shutdown) -> JoinHandle<Result<(), ServeError>>,
        tls: Option<Arc<ServerTls>>,
    ) -> std::io::Result<Self> {
        let public = TcpListener::bind("127.0.0.1:0").await?;
        let admin = TcpListener::bind("127.0.0.1:0").await?;
        let (address, admin_address) = (public.local_addr()?, admin.local_addr()?);
        let shutdown = Shutdown::new();
        let task = run(Listeners { public, tls, admin: Some(admin) }, shutdown.clone());
        Ok(Self { address, admin: admin_address, shutdown, task: Some(task) })
    }

    /// Waits until it has ended by itself, which takes a shutdown.
    ///
    /// # Errors
    /// What it ended with.
    pub async fn ended(mut self) -> anyhow::Result<()> {
        match self.task.take() {
            Some(task) => Ok(task.await??),
            None => Ok(()),
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.shutdown.abort();
    }
}

/// A port on which nobody listens and that nobody else can take.
pub struct ClosedPort {
    /// The address that refuses connections.
    pub address: SocketAddr,
    _bound: TcpSocket,
}

impl ClosedPort {
    /// Binds a socket and never listens on it.
    ///
    /// # Errors
    /// Where no port is free.
    pub fn new() -> std::io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        Ok(Self { address: socket.local_addr()?, _bound: socket })
    }
}

/// A proxy for the provider `team/acme` of this kind, whose API is at `base_url` on this machine.
///
/// # Panics
/// Where `base_url` is no URL.
#[allow(clippy::expect_used, reason = "a test's own URL")]
pub fn proxy_config(kind: Kind, base_url: &str, keys: Vec<KeySource>) -> ProxyConfig {
    ProxyConfig {
        namespace: "team".to_owned(),
        provider: "acme".to_owned(),
        kind,
        base_url: Some(base_url.parse().expect("a URL")),
        place: None,
        keys,
        allow_private: true,
        ca_file: None,
        limits: Limits::default(),
        timeouts: Timeouts::default(),
        drain: Drain::default(),
    }
}

/// Files `0`, `1`, … in `folder` that hold `keys`, each with its weight.
///
/// # Errors
/// Where they can't be written.
pub fn write_keys(folder: &Path, keys: &[(&str, u16)]) -> std::io::Result<Vec<KeySource>> {
    let write = |(index, (key, weight)): (usize, &(&str, u16))| {
        let path = folder.join(index.to_string());
        std::fs::write(&path, format!("{key}\n"))?;
        Ok(KeySource { path, weight: NonZeroU16::new(*weight).unwrap_or(NonZeroU16::MIN) })
    };
    keys.iter().enumerate().map(write).collect()
}

/// The ModelAccess `namespace/name` with `keys`, each a name and the key, for `models`.
pub fn model_access(namespace: &str, name: &str, keys: &[(&str, &str)], models: &[&str]) -> ModelAccess {
    let key = |(name, key): &(&str, &str)| AccessKey {
        name: (*name).to_owned(),
        sha256: Digest::of(key.as_bytes()).to_string(),
        expires_at: None,
    };
    let spec = ModelAccessSpec {
        keys: keys.iter().map(key).collect(),
        models: models.iter().map(|model| (*model).to_owned()).collect(),
    };
    let mut access = ModelAccess::new(name, spec);
    access.metadata.namespace = Some(namespace.to_owned());
    access
}

/// The model `team/name` at `endpoints`; its upstream calls it `name`.
pub fn entry(name: &str, world: World, endpoints: &[SocketAddr]) -> Entry {
    Entry {
        namespace: "team".to_owned(),
        name: name.to_owned(),
        world,
        provider: (world == World::Closed).then(|| "acme".to_owned()),
        vendor: ENGINE,
        upstream_model: name.to_owned(),
        speaks: Speaks::engine(),
        created: 1_764_000_000,
        seen: Seen::default(),
        endpoints: endpoints
            .iter()
            .map(|address| EntryEndpoint {
                address: *address,
                name: format!("pod-{}", address.port()),
                identity: None,
            })
            .collect(),
        absence: Absence::expected(),
        hold: Hold::default(),
        data_policy: None,
        adapters: Vec::new(),
        split: None,
    }
}
