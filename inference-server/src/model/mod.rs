//! Model families: what a file must hold, and the forward pass, each readable on its own.
//!
//! - `families`: one file a family: its settings, its weights, its forward pass, in that order.
//! - [`keys`], `dimensions`, [`rotary`]: settings read from GGUF metadata or a `config.json`, and checked;
//!   `variants`: those that nothing here honours.
//! - `header_only`: a source of which no tensor is read, to plan a model without its weights.
//! - [`plan`]: tensors found and checked, and given a place in one arena before any is read.
//! - [`pass`]: the steps that forward passes are written in; [`profile`]: where their time goes.
//! - [`adapter`]: LoRA adapters, which add to the pass' products.
//! - [`reference`]: Llama in plain f32, which the fast one is tested against.
//!
//! Nothing here schedules, samples, allocates KV blocks or contains `unsafe`.

pub mod adapter;
mod dimensions;
mod error;
mod families;
mod header_only;
pub mod keys;
pub mod pass;
pub mod plan;
pub mod profile;
pub mod reference;
pub mod rotary;
mod source;
#[cfg(test)]
mod tests;
mod variants;

pub use dimensions::Dimensions;
pub use error::ModelError;
pub use families::{
    DecoderModel, EncoderModel, EncoderOutput, PlannedModel, context_length, is_encoder, plan_decoder,
    plan_encoder,
};
pub use header_only::HeaderOnly;
pub use source::{Naming, TensorSource};
