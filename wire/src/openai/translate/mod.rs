//! Between OpenAI's dialects and the canonical form: one module an endpoint, and what they share.
//!
//! Only translation lives here. The wire types are beside it ([`super::chat`], [`super::completion`], …).

pub mod chat;
pub mod completions;
mod custom;
pub mod embeddings;
pub mod error;
mod finish;
mod logprobs;
pub mod responses;
mod shared;
pub mod usage;
mod view;

/// Which server of a dialect a request is for: OpenAI refuses what it does not know, and the servers that imitate
/// it take more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// OpenAI itself.
    OpenAi,
    /// Our engine, and others that take `top_k` and `reasoning_content`.
    Compatible,
}
