//! The provider proxy role: the only process that holds a provider's keys.
//!
//! It picks the key, pins the host, forwards the allowed paths and nothing else, tries another key where one is
//! refused, and passes bytes on unread. It asks the provider now and then for its list of models, and tells the
//! operator, who subscribes, how things stand (`watch`). What differs by kind of provider is the table in `wire::provider`. It
//! knows no model and translates nothing; the gateway does. It never talks to the cluster.

mod answer;
mod config;
mod connector;
mod failure;
mod handler;
mod keys;
mod metrics;
mod passing;
mod probe;
mod told;
mod watch;

use std::sync::Arc;

pub use config::{KeySource, ProxyConfig, ProxyConfigError, WeightError};
pub use watch::ProviderFeed;

use self::handler::Proxy;
use self::keys::{Keys, Usage};
use self::metrics::{KeyMetrics, ProxyMetrics};
use self::watch::Watch;
use crate::control::ControlThread;
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
    serve_proxy_telling(config, listeners, shutdown, ProviderFeed::default()).await
}

/// The same, which tells `feed` how the provider takes it.
///
/// # Errors
/// As [`serve_proxy`].
pub async fn serve_proxy_telling(
    config: ProxyConfig,
    listeners: Listeners,
    shutdown: Shutdown,
    feed: ProviderFeed,
) -> Result<(), ServeError> {
    let mut registry = Registry::default();
    let server_metrics = ServerMetrics::register(&mut registry);
    let metrics = ProxyMetrics::register(&mut registry, &config.namespace, &config.provider);
    if config.keys.is_empty() {
        return Err(ProxyConfigError::NoKey.into());
    }
    let key_metrics = KeyMetrics::register(&mut registry, &config.namespace, &config.provider);
    let usage = Usage::new(&config)?;
    let keys = Arc::new(Keys::new(&config.keys, &usage, key_metrics.clone()));
    key_metrics.show(&mut registry, Arc::clone(&keys));
    server::register_certificates(&mut registry, listeners.tls.as_ref(), None);
    let readiness = {
        let keys = Arc::clone(&keys);
        move || keys.ready()
    };
    feed.register(&mut registry);
    let admin = Admin::new(registry, shutdown.clone(), readiness);
    let watch = Arc::new(Watch::new(&config));
    let told = (feed.clone(), shutdown.clone());
    let proxy = Arc::new(Proxy::new(&config, keys, watch, metrics, server_metrics.clone(), told)?);
    let _probes = probe::spawn(&proxy, feed, config.timeouts.clone());
    let settings = server::Settings::new(&config.limits, &config.timeouts, &config.drain);
    let control = ControlThread::start().map_err(ServeError::Control)?;
    server::serve(&control, settings, listeners, admin, proxy, server_metrics, shutdown).await
}
