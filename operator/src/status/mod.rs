//! The fifth step of reconcile: what people read.
//!
//! Derived from what the server echoed and from pods, purely; written only where it says something new. No
//! condition depends on the time, so that no write causes the next; but for the end of a
//! provider's model and of a key, which are dates.

mod access;
mod cache;
mod conditions;
mod model;
mod pace;
mod pods;
mod provider;
mod rollout;
mod routable;
mod start;
#[cfg(test)]
mod tests;
mod upstream;
mod write;

pub use access::{access, adapters, next_end};
pub use cache::{CacheOutcome, cache};
pub use conditions::{Says, Truth, is_ready};
pub use model::{ModelOutcome, ProviderSeen, model};
pub use pace::Paces;
pub use pods::{PodsView, Trouble};
pub use provider::{ProviderOutcome, ProviderView, provider};
pub use upstream::{Asked, NamedModel, Upstream, upstream};
pub use write::{ReadyChange, write_access, write_cache, write_model, write_provider};
