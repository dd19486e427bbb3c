//! Provider dialects: messages, server-sent events, byte-preserving edits and translation.
//!
//! One folder a dialect ([`openai`], [`anthropic`], [`gemini`], [`bedrock`]), the one form they are translated through
//! ([`canonical`]), the two lanes that a request takes between them ([`lane`]), the kinds of provider that speak them
//! ([`provider`]), and the framings ([`sse`], [`eventstream`]). No client, no runtime, no clock and no HTTP crate may be a
//! dependency here; a status is a `u16`, a delay is whole seconds.

pub mod anthropic;
pub mod bedrock;
pub mod canonical;
#[cfg(test)]
mod crossing;
mod edit;
pub mod eventstream;
pub mod gemini;
pub mod lane;
pub mod models;
pub mod openai;
mod percent;
pub mod provider;
pub mod sse;
