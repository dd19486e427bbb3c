//! `POST /v1/completions`: texts or token ids, several at once, echo and log probabilities.

mod render;
pub(super) mod request;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::{AppState, exchange};
use request::Completing;

/// Goes on from one or several prompts.
pub(super) async fn handle(State(state): State<Arc<AppState>>, headers: HeaderMap, body: Body) -> Response {
    exchange::handle::<Completing>(state, headers, body).await
}
