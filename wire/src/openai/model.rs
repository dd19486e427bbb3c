//! `GET /v1/models`.

use serde::{Deserialize, Serialize};

use super::Extra;

/// The models list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelList {
    /// Always `list`.
    pub object: String,
    /// The models.
    pub data: Vec<Model>,
}

impl ModelList {
    /// A list of `data`.
    pub fn new(data: Vec<Model>) -> Self {
        Self { object: "list".to_owned(), data }
    }
}

/// One entry of the models list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// The name that a request's `model` takes.
    pub id: String,
    /// Always `model`.
    pub object: String,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// Who answers for it.
    pub owned_by: String,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Model {
    /// An entry; `created` in seconds since 1970.
    pub fn new(id: impl Into<String>, created: i64, owned_by: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            object: "model".to_owned(),
            created,
            owned_by: owned_by.into(),
            extra: Extra::new(),
        }
    }
}
