//! The fifth step of reconcile: what people read.
//!
//! Derived from what the server echoed and from pods, purely; written only where it says something new. No
//! condition depends on the time, so that no write causes the next.

mod conditions;
mod model;
mod pods;
mod provider;
#[cfg(test)]
mod tests;
mod write;

pub use conditions::{Says, is_ready};
pub use model::{ModelOutcome, model};
pub use pods::{PodsView, Trouble};
pub use provider::{ProviderOutcome, provider};
pub use write::{ReadyChange, write_model, write_provider};
