//! `GET /v1/models` and `GET /v1/models/NAME`.

use http::{Response, StatusCode};
use weighbridge_wire::openai::{Model, ModelList};

use crate::directory::{Directory, Target};
use crate::server::{Body, error_response, json_response};

/// Path of the list; a model's own path goes on with a slash and its name.
pub(super) const PATH: &str = "/v1/models";

/// Every model, by its canonical name, ready or not.
pub(super) fn list(directory: &Directory) -> Response<Body> {
    let models = directory.snapshot().targets().map(|target| model(target)).collect();
    // Strings and integers always encode.
    json_response(StatusCode::OK, serde_json::to_vec(&ModelList::new(models)).unwrap_or_default())
}

/// The model at `path`. Clients differ in whether they escape the slash inside its name.
pub(super) fn get(directory: &Directory, path: &str, default_namespace: &str) -> Response<Body> {
    let name = path.trim_start_matches(PATH).trim_start_matches('/').replace("%2F", "/").replace("%2f", "/");
    let snapshot = directory.snapshot();
    match snapshot.resolve(&name, default_namespace) {
        Some(target) => json_response(StatusCode::OK, serde_json::to_vec(&model(target)).unwrap_or_default()),
        None => error_response(&snapshot.not_found(&name, default_namespace)),
    }
}

fn model(target: &Target) -> Model {
    let owner = target.provider.as_deref().unwrap_or("weighbridge");
    Model::new(&target.canonical, target.created, owner)
}
