//! The one door in front of every model, and the provider proxy role.
//!
//! The way of a request: [`serve`] accepts it (`server`), `pipeline` takes it through its named stages,
//! `access` says who calls, `directory` what models exist and where they answer, `wake` wakes one that sleeps, `forward` talks
//! to the upstream. Where calls go is told to the operator by `state`. The cluster is followed, and probes are
//! answered, by a thread beside those that serve (`control`).
//! [`serve_proxy`] shares `server` and `forward`, and adds the provider's keys (`proxy`).
//! No provider's dialect lives here: that is the crate `weighbridge-wire`.

pub mod access;
pub mod cli;
mod config;
mod control;
pub mod directory;
mod failure;
mod forward;
mod label;
mod metrics;
mod open_files;
mod pipeline;
mod proxy;
pub mod runtime;
mod server;
mod state;
mod telemetry;
mod wake;

pub use config::{Drain, GatewayConfig, Limits, LimitsError, Timeouts};
pub use forward::TrustError;
pub use open_files::raise_open_files;
pub use proxy::{
    KeySource, ProviderFeed, ProxyConfig, ProxyConfigError, WeightError, serve_proxy, serve_proxy_telling,
};
pub use runtime::{serve, serve_telling};
pub use server::{Listeners, ServeError, Shutdown};
pub use state::StateListener;
pub use telemetry::{TelemetryConfig, TelemetryError};
pub use wake::Waker;
