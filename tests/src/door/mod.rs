//! A gateway or a provider proxy in this process, on free ports, and a plain HTTP client to talk to it.

mod client;

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use weighbridge_gateway::directory::{Directory, Entry, EntryEndpoint, World};
use weighbridge_gateway::{GatewayConfig, Listeners, ProxyConfig, ServeError, Shutdown, serve, serve_proxy};

pub use client::{Answer, Client, Streamed};

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
    /// A gateway over `directory`.
    ///
    /// # Errors
    /// Where no port is free.
    pub async fn gateway(config: GatewayConfig, directory: Directory) -> std::io::Result<Self> {
        Self::start(|listeners, shutdown| tokio::spawn(serve(config, listeners, directory, shutdown))).await
    }

    /// A provider proxy.
    ///
    /// # Errors
    /// Where no port is free.
    pub async fn proxy(config: ProxyConfig) -> std::io::Result<Self> {
        Self::start(|listeners, shutdown| tokio::spawn(serve_proxy(config, listeners, shutdown))).await
    }

    async fn start(
        run: impl FnOnce(Listeners, Shutdown) -> JoinHandle<Result<(), ServeError>>,
    ) -> std::io::Result<Self> {
        let public = TcpListener::bind("127.0.0.1:0").await?;
        let admin = TcpListener::bind("127.0.0.1:0").await?;
        let (address, admin_address) = (public.local_addr()?, admin.local_addr()?);
        let shutdown = Shutdown::new();
        let task = run(Listeners { public, admin: Some(admin) }, shutdown.clone());
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

/// The model `team/name` at `endpoints`; its upstream calls it `name`.
pub fn entry(name: &str, world: World, endpoints: &[SocketAddr]) -> Entry {
    Entry {
        namespace: "team".to_owned(),
        name: name.to_owned(),
        world,
        provider: (world == World::Closed).then(|| "acme".to_owned()),
        upstream_model: name.to_owned(),
        created: 1_764_000_000,
        endpoints: endpoints
            .iter()
            .map(|address| EntryEndpoint { address: *address, name: format!("pod-{}", address.port()) })
            .collect(),
        unready_reason: None,
        adapters: Vec::new(),
    }
}
