//! The process around the operator: settings, signals, the admin port, the log.

use std::io;
use std::sync::Arc;

use http::HeaderValue;
use http::header::USER_AGENT;
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::{Api, Client, Config};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;
use weighbridge_crds::{ExternalProvider, ModelAccess, ModelCache, ModelDeployment, ResourceProfile};

use crate::admin;
use crate::assembly::{Assembly, until};
use crate::certificates::LifetimeError;
use crate::clock::Clock;
use crate::dial::Tcp;
use crate::metrics::Metrics;
use crate::settings::{LogFormat, Settings};
use crate::watch::Scope;

/// How this program names itself to the apiserver.
const NAMED: &str = concat!("weighbridge-operator/", env!("CARGO_PKG_VERSION"));

/// An operator that could not start.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// No address or no credentials of an apiserver.
    #[error("no apiserver is configured: run in a cluster, or set KUBECONFIG")]
    Config(#[source] kube::config::InferConfigError),
    /// The client could not be built.
    #[error("the client of the apiserver could not be built")]
    Client(#[source] Box<kube::Error>),
    /// A kind of ours can't be listed.
    #[error(
        "{kind} can't be listed: are the CustomResourceDefinitions installed, and may this ServiceAccount list them?"
    )]
    Kind {
        /// The kind.
        kind: &'static str,
        /// The apiserver's answer.
        #[source]
        source: Box<kube::Error>,
    },
    /// The admin port is taken.
    #[error("--metrics-listen: {address} can't be listened on")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Certificates would not live as they have to.
    #[error(transparent)]
    Lifetimes(#[from] LifetimeError),
    /// SIGTERM can't be waited for.
    #[error("signals can't be waited for")]
    Signals(#[source] io::Error),
}

/// Runs the operator until SIGTERM or SIGINT.
///
/// # Errors
/// It could not start. What happens later is retried, logged and counted.
pub async fn run(settings: Settings) -> Result<(), RuntimeError> {
    log_to_stderr(settings.log_format);
    let stop = stop_signal().map_err(RuntimeError::Signals)?;
    let lifetimes = settings.lifetimes()?;
    let scope = settings.watch_namespace.clone().map_or(Scope::Cluster, Scope::Namespace);
    let client = connect(&scope).await?;
    let metrics = Metrics::default();
    let listener = TcpListener::bind(settings.metrics_listen)
        .await
        .map_err(|source| RuntimeError::Listen { address: settings.metrics_listen, source })?;
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "admin port open");
    }

    let mut assembly = Assembly::new(&client, Arc::new(Tcp), &settings, lifetimes, &metrics, Clock::Machine);
    assembly.beside(serve(listener, admin::router(metrics, assembly.stores())));
    assembly.run(until(stop)).await;
    Ok(())
}

async fn connect(scope: &Scope) -> Result<Client, RuntimeError> {
    let mut config = Config::infer().await.map_err(RuntimeError::Config)?;
    // An apiserver's audit log then says who wrote.
    config.headers.push((USER_AGENT, HeaderValue::from_static(NAMED)));
    let client = Client::try_from(config).map_err(|error| RuntimeError::Client(Box::new(error)))?;
    listable::<ModelDeployment>(scope.api(&client), "ModelDeployment").await?;
    listable::<ExternalProvider>(scope.api(&client), "ExternalProvider").await?;
    listable::<ModelAccess>(scope.api(&client), "ModelAccess").await?;
    listable::<ModelCache>(scope.api(&client), "ModelCache").await?;
    listable::<ResourceProfile>(Api::all(client.clone()), "ResourceProfile").await?;
    Ok(client)
}

/// A watch of a kind that does not exist fails softly for ever, so that it is asked for once, and hard.
async fn listable<K>(api: Api<PartialObjectMeta<K>>, kind: &'static str) -> Result<(), RuntimeError>
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug,
{
    api.list(&ListParams::default().limit(1))
        .await
        .map(|_| ())
        .map_err(|source| RuntimeError::Kind { kind, source: Box::new(source) })
}

async fn serve(listener: TcpListener, router: axum::Router) {
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the admin port is closed");
    }
}

/// Turns true at the first SIGTERM or SIGINT; a second one ends the process at once.
fn stop_signal() -> io::Result<watch::Receiver<bool>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        for last in [false, true] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if last {
                std::process::exit(130);
            }
            sender.send_replace(true);
        }
    });
    Ok(receiver)
}

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // A second subscriber in one process is somebody else's choice, and stays.
    let set = match format {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Text => builder.try_init(),
    };
    if let Err(error) = set {
        tracing::debug!(%error, "logging was set up already");
    }
}
