//! The HTTP surface: OpenAI's chat completions, completions, embeddings and models, reranking, tokens counted, health,
//! and metrics.
//!
//! A request's way: read the body within bounds, parse and tokenise off the async threads, submit to the
//! engine or the encoder, and write the answer whole or as a stream. Every error leaves in OpenAI's shape. No field is
//! ignored: what is not served is refused by name. Nothing here computes, schedules or draws.

mod answer;
mod body;
mod chat;
mod choices;
mod completions;
mod encoding;
mod error;
mod exchange;
mod health;
mod listener;
mod model;
mod models;
mod parameters;
mod record;
mod state;
mod stream;
#[cfg(test)]
mod tests;
mod tokenize;

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, Uri};
use axum::response::Response;
use axum::routing::{get, post};
use weighbridge_wire::openai::ApiError;

pub(crate) use answer::unix_seconds;
pub(crate) use body::DEFAULT_MOST as DEFAULT_MAX_BODY_BYTES;
pub use listener::{Listener, ListenerError};
pub use model::{Encoding, Generation, ServedModel, Serves, Task};
pub use state::{AppState, Phase};

/// What callers use: the API, and health for probes on the same port.
pub fn api(state: Arc<AppState>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat::handle))
        .route("/v1/completions", post(completions::handle))
        .route("/v1/embeddings", post(encoding::embeddings::handle))
        .route("/v1/rerank", post(encoding::rerank::handle))
        .route("/tokenize", post(tokenize::handle))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*name}", get(models::get))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .fallback(unknown_url)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(state)
}

/// What operators use: health and metrics, on a port of its own or on the API's.
pub fn admin(state: Arc<AppState>) -> Router {
    Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .fallback(unknown_url)
        .with_state(state)
}

/// API and metrics on one port, for a server on one's own machine.
pub fn api_and_metrics(state: Arc<AppState>) -> Router {
    api(Arc::clone(&state)).route("/metrics", get(health::metrics).with_state(state))
}

async fn unknown_url(method: Method, uri: Uri) -> Response {
    error::response(&ApiError::unknown_url(method.as_str(), uri.path()))
}

async fn method_not_allowed(method: Method, uri: Uri) -> Response {
    error::response(&ApiError::method_not_allowed(method.as_str(), uri.path()))
}
