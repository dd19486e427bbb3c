use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::metrics::Metrics;
use crate::watch::Stores;

/// `/metrics`, `/livez` and `/readyz`. Ready is who has listed every kind, leader or not.
pub fn router(metrics: Metrics, stores: Arc<Stores>) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .with_state(stores)
        .route("/metrics", get(scrape).with_state(metrics))
}

async fn readyz(State(stores): State<Arc<Stores>>) -> impl IntoResponse {
    if stores.is_synced() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not every kind is listed yet\n")
    }
}

async fn scrape(State(metrics): State<Metrics>) -> impl IntoResponse {
    let form = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, form)], metrics.text())
}
