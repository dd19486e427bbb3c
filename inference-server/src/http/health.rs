//! Probes and metrics.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;

use super::{AppState, Phase};

/// A step that runs longer than this hangs: the longest, 512 prompt tokens of a large model on a slow
/// machine, takes tens of seconds, and killing a busy server is worse than noticing a hung one late.
const HUNG_STEP: Duration = Duration::from_secs(300);

/// Whether the process is worth keeping: the engine thread is there and its step does not hang.
pub(super) async fn livez(State(state): State<Arc<AppState>>) -> impl IntoResponse {
    let Some(model) = state.model() else { return (StatusCode::OK, "ok".to_owned()) };
    if !model.is_running() {
        return (StatusCode::SERVICE_UNAVAILABLE, model.ended().to_owned());
    }
    let load = model.load();
    match load.step_age {
        // One that wakes may read its weights from a slow disk.
        Some(age) if age > HUNG_STEP && !load.asleep => {
            let words = format!("a step has been running for {} s", age.as_secs());
            (StatusCode::SERVICE_UNAVAILABLE, words)
        }
        _ => (StatusCode::OK, "ok".to_owned()),
    }
}

/// Whether requests should come here; if not, why.
pub(super) async fn readyz(State(state): State<Arc<AppState>>) -> impl IntoResponse {
    let phase = state.phase();
    let ended = state.model().filter(|model| !model.is_running()).map(|model| model.ended().to_owned());
    match (phase, ended) {
        (Phase::Ready, None) => (StatusCode::OK, state.ready_in_words()),
        (Phase::Ready, Some(ended)) => (StatusCode::SERVICE_UNAVAILABLE, ended),
        (phase, _) => (StatusCode::SERVICE_UNAVAILABLE, phase.to_string()),
    }
}

/// Prometheus text format. On a thread for such work, for a card's driver may take its time.
pub(super) async fn metrics(State(state): State<Arc<AppState>>) -> impl IntoResponse {
    let text = tokio::task::spawn_blocking(move || {
        let load = state.model().map(|model| model.load());
        state.metrics.render(load.as_ref())
    });
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match text.await {
        Ok(text) => Ok(([(header::CONTENT_TYPE, content_type)], text)),
        Err(_) => Err((StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written")),
    }
}
