//! A provider that misbehaves on request: an OpenAI-compatible upstream for tests and demos.
//!
//! The `model` of a request names what it does ([`Behaviour`]). It counts what it answered, so that a test
//! can hold a gateway's metrics against it, and it waits for the test where order matters: nothing here
//! depends on time.

mod answer;
mod behaviour;
mod server;
mod state;
mod steps;

pub use answer::{COMPLETION_TOKENS, PROMPT_TOKENS, completion, events};
pub use behaviour::Behaviour;
pub use server::{Certificate, Simulator};
pub use state::{Counts, Seen};
