//! A provider that misbehaves on request: OpenAI, Anthropic or Gemini, told apart by the path, for tests and
//! demos.
//!
//! The `model` of a request names what it does ([`Behaviour`]); `faithful` answers as the provider itself
//! would. It counts what it answered, so that a test can hold a gateway's metrics against it, and it waits for
//! the test where order matters: nothing here depends on time.
//!
//! `model/` decides what is said, whatever the dialect; a folder a provider reads its requests and writes its
//! answers; `respond` and `steps` send them. Nothing here may use the types of `wire`, whose mistakes it is to
//! find: what holds it to the providers' word is their own clients (`tests/clients`).

mod answer;
mod anthropic;
mod asked;
mod behaviour;
mod cache;
mod error;
mod gemini;
mod hint;
mod model;
mod openai;
mod respond;
mod script;
mod server;
mod state;
mod steps;

pub use answer::{COMPLETION_TOKENS, PROMPT_TOKENS, completion, events};
pub use behaviour::{Behaviour, HINT_MILLISECONDS, HINT_SECONDS, Hint};
pub use server::{Certificate, Simulator};
pub use state::{Counts, Seen};
