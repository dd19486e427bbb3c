//! `GET /v1/models`.

use http::{Response, StatusCode};
use weighbridge_wire::openai::{Model, ModelList};

use crate::directory::Directory;
use crate::server::{Body, json_response};

/// Every model, by its canonical name, ready or not.
pub(super) fn list(directory: &Directory) -> Response<Body> {
    let snapshot = directory.snapshot();
    let models = snapshot.targets().map(|target| {
        let owner = target.provider.as_deref().unwrap_or("weighbridge");
        Model::new(&target.canonical, target.created, owner)
    });
    let list = ModelList::new(models.collect());
    // Strings and integers always encode.
    json_response(StatusCode::OK, serde_json::to_vec(&list).unwrap_or_default())
}
