//! The open-weights engine and its HTTP server.
//!
//! A request's way: `http` parses and renders, `engine` owns the one engine thread, `scheduler` decides
//! what each step computes, `kv` accounts for the cache's blocks, a `backend` computes logits, `sampling`
//! picks the token, `tokenizer` turns it into text. For embeddings and reranking, `encoder` stands in `engine`'s place.

pub mod artifact;
pub mod backend;
pub mod chat_template;
pub mod cli;
pub mod encoder;
pub mod engine;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod gguf;
pub mod http;
pub mod kv;
pub mod metrics;
pub mod model;
pub mod safetensors;
pub mod sampling;
pub mod scheduler;
pub mod server;
pub mod synth;
#[cfg(test)]
mod testing;
pub mod tokenizer;

pub use weighbridge_kernels as kernels;
