//! Anthropic's dialect: `POST /v1/messages`, its stream, `count_tokens`, the models list and errors, both ways. Clients speak it to us,
//! and we speak it to Anthropic and to servers that imitate it.
//!
//! What is sent holds under both API versions, `2023-06-01` and `2026-10-21`; what only the older takes
//! (`temperature`, `top_p`, `top_k`) is sent where the caller's [`ModelProfile`] says so. Message types keep the
//! fields they do not know in `extra`.
//!
//! Here lives only what this dialect's JSON and framing need: no other dialect, no HTTP, no table of models.
//! Tool input is raw text and signatures are untouched strings from end to end.

pub mod block;
mod cache_control;
mod citation;
pub mod count_tokens;
pub mod error;
mod model;
mod parse;
mod part;
mod profile;
pub mod request;
pub mod response;
mod stop_reason;
pub mod stream;
mod thinking;
mod tool;
pub mod usage;

pub use cache_control::CacheControl;
pub use model::{Model, ModelList};
pub use parse::parse;
pub use profile::{ModelProfile, ThinkingForm, is_claude};
pub use stream::{StreamReader, StreamWriter};
