//! `POST /v1/chat/completions`.

mod render;
pub(super) mod request;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::{AppState, exchange};
use request::Chat;

/// Answers a conversation.
pub(super) async fn handle(State(state): State<Arc<AppState>>, headers: HeaderMap, body: Body) -> Response {
    exchange::handle::<Chat>(state, headers, body).await
}
