//! Provider dialects: messages, server-sent events, byte-preserving edits and translation.
//!
//! One folder a dialect ([`openai`], [`anthropic`], [`gemini`]), the one form they are translated through ([`canonical`]), and the framing
//! they share ([`sse`]). No client, no runtime, no clock and no HTTP crate may be a dependency here; a status is
//! a `u16`, a delay is whole seconds.

pub mod anthropic;
pub mod canonical;
#[cfg(test)]
mod crossing;
pub mod gemini;
pub mod openai;
pub mod sse;
