//! The first step of reconcile: everything that a spec names, and every child, as far as it is known.
//!
//! Reads only. Of a Secret nothing leaves this step but whether a key is there.

mod model;
mod provider;
mod secret;

pub use model::{Model, model};
pub use provider::{Provider, provider};
pub use secret::{SecretError, Secrets};
