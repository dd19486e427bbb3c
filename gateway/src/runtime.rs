//! The composition root: from flags to a running role.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use weighbridge_tls::{Identity, ServerTls};

use crate::access::{self, Access};
use crate::cli::{Cli, ProxyArgs, Role, ServeArgs};
use crate::control::ControlThread;
use crate::directory::{Directory, cluster};
use crate::metrics::{GatewayMetrics, Registry};
use crate::pipeline::Pipeline;
use crate::server::{self, Admin, Listeners, ServeError, ServerMetrics, Shutdown};
use crate::telemetry::Telemetry;
use crate::{GatewayConfig, StateListener, Waker, proxy, raise_open_files, state};

/// Runs the role that `cli` names until a signal ends it.
///
/// # Errors
/// Where an address can't be bound, the configuration is refused or the cluster's address is unknown.
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .init();
    raise_open_files();
    let shutdown = Shutdown::on_signals().context("can't listen for signals")?;
    match cli.role {
        Role::Serve(args) => run_gateway(args, shutdown).await,
        Role::Proxy(args) => run_proxy(args, shutdown).await,
    }
}

async fn run_gateway(args: ServeArgs, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut config = args.config()?;
    if config.upstream.is_none() {
        tracing::warn!(
            "engines and proxies are called by plain http, which those of a cluster refuse: add --upstream-cert-file"
        );
    }
    let cluster = kube::Config::infer().await.context("can't find the cluster's apiserver")?;
    let control = ControlThread::start()?;
    let client = control.client(cluster.clone())?;
    let (directory, models) = cluster::follow(client.clone(), args.service.as_deref());
    let (access, keys) = access::follow(client);
    config.waker = Some(Waker::new(kube::Client::try_from(cluster)?));
    control.run(models);
    control.run(keys);
    let listeners = bind(args.listen, args.common.metrics_listen, args.tls.load()?).await?;
    let state = match args.state_listen {
        Some(address) => Some(StateListener {
            listener: listen(address).await?,
            tls: args.upstream.serving(&[Identity::Operator])?,
        }),
        None => None,
    };
    Ok(serve_beside(&control, config, listeners, directory, access, shutdown, state).await?)
}

async fn run_proxy(args: ProxyArgs, shutdown: Shutdown) -> anyhow::Result<()> {
    let tls = args.tls.load(&[Identity::Gateway, Identity::Operator])?;
    let listeners = bind(args.listen, args.common.metrics_listen, tls).await?;
    Ok(proxy::serve_proxy(args.config()?, listeners, shutdown).await?)
}

async fn bind(public: SocketAddr, admin: SocketAddr, tls: Option<ServerTls>) -> anyhow::Result<Listeners> {
    let (public, admin) = (listen(public).await?, listen(admin).await?);
    tracing::info!(public = %public.local_addr()?, admin = %admin.local_addr()?, tls = tls.is_some(), "listening");
    Ok(Listeners { public, tls: tls.map(Arc::new), admin: Some(admin) })
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("can't listen on {address}"))
}

/// Serves every model of `directory` to whom `access` lets in, until `shutdown`, then lets open requests finish within
/// [`crate::Drain`]. Usable in process: it needs no cluster, no global state and no signal handler.
///
/// # Errors
/// Where the listeners fail, or the export of spans can't be set up.
pub async fn serve(
    config: GatewayConfig,
    listeners: Listeners,
    directory: Directory,
    access: Access,
    shutdown: Shutdown,
) -> Result<(), ServeError> {
    serve_telling(config, listeners, directory, access, shutdown, None).await
}

/// The same, which tells who asks at `state` where calls go.
///
/// # Errors
/// As [`serve`].
pub async fn serve_telling(
    config: GatewayConfig,
    listeners: Listeners,
    directory: Directory,
    access: Access,
    shutdown: Shutdown,
    state: Option<StateListener>,
) -> Result<(), ServeError> {
    let control = ControlThread::start().map_err(ServeError::Control)?;
    serve_beside(&control, config, listeners, directory, access, shutdown, state).await
}

async fn serve_beside(
    control: &ControlThread,
    config: GatewayConfig,
    listeners: Listeners,
    directory: Directory,
    access: Access,
    shutdown: Shutdown,
    state: Option<StateListener>,
) -> Result<(), ServeError> {
    let telemetry = Telemetry::start(config.telemetry.as_ref())?;
    let mut registry = Registry::default();
    let server_metrics = ServerMetrics::register(&mut registry);
    let metrics = GatewayMetrics::register(&mut registry);
    directory.register_metrics(&mut registry);
    access.register_metrics(&mut registry);
    server::register_certificates(&mut registry, listeners.tls.as_ref(), config.upstream.as_ref());
    let readiness = {
        let (directory, access) = (directory.clone(), access.clone());
        move || match (directory.is_synced(), access.is_synced()) {
            (true, true) => Ok(()),
            (false, _) => Err("the cluster's models are not listed yet".to_owned()),
            (true, false) => Err("the cluster's ModelAccesses are not listed yet".to_owned()),
        }
    };
    let settings = server::Settings::new(&config.limits, &config.timeouts, &config.drain);
    let telling =
        state::telling(control, state, directory.clone(), &settings, shutdown.clone(), &mut registry)?;
    let admin = Admin::new(registry, shutdown.clone(), readiness);
    let pipeline = Arc::new(Pipeline::new(
        &config,
        directory,
        access,
        metrics,
        telemetry.clone(),
        server_metrics.clone(),
        shutdown.clone(),
    ));
    let served = server::serve(control, settings, listeners, admin, pipeline, server_metrics, shutdown).await;
    if let Some(telling) = telling {
        telling.await.ok();
    }
    telemetry.end().await;
    served
}
