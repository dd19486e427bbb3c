//! Vertex AI and Bedrock: their simulators held to the word by the clouds' own clients, and the way there through the gateway and
//! the proxy, with a service account's tokens and with signatures.
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod bed;
mod clients;
mod credentials;
mod dialects;
mod examples;
mod faults;
