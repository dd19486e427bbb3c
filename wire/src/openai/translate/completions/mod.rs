//! The older completions and the canonical form, for clients only: a prompt becomes a user's turn, and an answer's
//! text comes back. No upstream is asked in this form, since it has no conversation to be asked for.

mod legacy_logprobs;
pub mod request;
pub mod response;
mod stream_out;

pub use stream_out::StreamWriter;

#[cfg(test)]
mod tests;
