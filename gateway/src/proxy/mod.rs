//! The provider proxy role: the only process that holds a provider's key.
//!
//! It adds the key, pins the host, forwards the allowed paths and nothing else, and passes bytes on
//! unread. It knows no model and translates nothing; the gateway does. It never talks to the cluster.

mod address;
mod config;
mod connector;
mod failure;
mod handler;
mod key;
mod metrics;

use std::sync::Arc;

pub use config::{ProxyConfig, ProxyConfigError};

use self::handler::Proxy;
use self::key::KeyFile;
use self::metrics::ProxyMetrics;
use crate::metrics::Registry;
use crate::server::{self, Admin, Listeners, ServeError, ServerMetrics, Shutdown};

/// Serves one provider until `shutdown`, then lets open requests finish within [`crate::Drain`].
///
/// # Errors
/// Where the configuration is refused or the listeners fail.
pub async fn serve_proxy(
    config: ProxyConfig,
    listeners: Listeners,
    shutdown: Shutdown,
) -> Result<(), ServeError> {
    let mut registry = Registry::default();
    let server_metrics = ServerMetrics::register(&mut registry);
    let metrics = ProxyMetrics::register(&mut registry, &config.namespace, &config.provider);
    let key = Arc::new(KeyFile::new(config.key_file.clone()));
    let readiness = {
        let key = Arc::clone(&key);
        move || key.current().map(drop).map_err(|error| error.to_string())
    };
    let admin = Admin::new(registry, shutdown.clone(), readiness);
    let proxy = Arc::new(Proxy::new(&config, key, metrics, server_metrics.clone())?);
    let settings = server::Settings::new(&config.limits, &config.timeouts, &config.drain);
    server::serve(settings, listeners, admin, proxy, server_metrics, shutdown).await
}
