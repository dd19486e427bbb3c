//! Accepting connections, reading request bodies within bounds, ending gracefully, and the admin port.
//!
//! Shared by both roles. What a request means is not known here.

mod admin;
mod body;
mod connection;
mod listen;
mod metrics;
mod protocol;
mod receive;
mod shutdown;
mod silence;
mod slots;
mod stall;

pub(crate) use admin::Admin;
pub(crate) use body::{Body, BodyError, error_response, json_response, refusal};
pub(crate) use listen::{CalledBy, Handler, Settings, serve, serve_aside};
pub use listen::{Listeners, ServeError};
pub(crate) use metrics::{ServerMetrics, register_certificates};
pub(crate) use receive::{BodyBudget, GatherError, Held, discard, gather, receive};
pub use shutdown::Shutdown;
pub(crate) use silence::Silence;
pub(crate) use slots::{RequestSlot, RequestSlots};
