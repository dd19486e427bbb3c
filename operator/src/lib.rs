//! The controller of `serving.weighbridge.dev`.
//!
//! Reconcile reads as five named calls: [`dereference`], [`validate`], [`plan`], [`apply`], [`status`]. Only
//! `apply`, `status`, `leader`, the Events of the former and the keeper of `certificates` write to a cluster; `validate` and `plan` know no
//! client and no clock, and the CLI calls them with a file in place of a cluster.

mod admin;
pub mod apply;
mod assembly;
pub mod certificates;
mod clock;
pub mod controller;
pub mod dereference;
mod dial;
pub mod engines;
mod events;
pub mod gateways;
pub mod leader;
mod metrics;
mod owner;
pub mod peers;
pub mod plan;
pub mod proxies;
mod quantity;
mod runtime;
mod settings;
pub mod status;
pub mod validate;
pub mod watch;

pub use assembly::Assembly;
pub use clock::Clock;
pub use dial::{Connection, Dial, Tcp};
pub use events::Events;
pub use metrics::{Metrics, WriteOutcome};
pub use owner::Owner;
pub use runtime::{RuntimeError, run};
pub use settings::{LogFormat, Settings};
