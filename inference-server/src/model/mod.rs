//! Model families: what a file must hold, and the forward pass, each readable on its own.
//!
//! [`config`] reads and checks metadata; [`weights`] says which tensors there are and of what shape; [`llama`]
//! is the fast forward pass, [`reference`] the plain one that it is tested against. Nothing here schedules,
//! samples, allocates KV blocks or contains `unsafe`.

pub mod config;
mod error;
pub mod llama;
pub mod reference;
pub mod weights;

pub use config::LlamaConfig;
pub use error::ModelError;
