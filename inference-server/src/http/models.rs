//! `GET /v1/models`: the names that requests may use.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Json, Response};
use weighbridge_wire::openai::{Model, ModelList};

use super::{AppState, ServedModel, error};

/// Who made the models, as far as the API is concerned.
const OWNER: &str = "weighbridge";

/// Every name, also while the model loads: then there is none, and that is the truth.
pub(super) async fn list(State(state): State<Arc<AppState>>) -> Response {
    let entries = state.model().map(entries).unwrap_or_default();
    Json(ModelList::new(entries)).into_response()
}

/// One name. Names may hold slashes.
pub(super) async fn get(State(state): State<Arc<AppState>>, Path(name): Path<String>) -> Response {
    let model = state.ready_model().and_then(|model| model.resolve_name(&name).map(|_| model));
    match model {
        Ok(model) => Json(Model::new(name, model.created, OWNER)).into_response(),
        Err(refused) => error::response(&refused),
    }
}

fn entries(model: &ServedModel) -> Vec<Model> {
    model.served_names().map(|name| Model::new(name, model.created, OWNER)).collect()
}
