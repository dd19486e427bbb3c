//! Provider dialects: messages, server-sent events and byte-preserving edits.
//!
//! One folder a dialect ([`openai`]), plus the framing they share ([`sse`]). No client, no runtime, no
//! clock and no HTTP crate may be a dependency here; a status is a `u16`, a delay is whole seconds.

pub mod openai;
pub mod sse;
