//! `GET /foundation-models` as AWS's clients read it.

use serde::Serialize;

/// The models list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelList {
    /// The models.
    pub model_summaries: Vec<Model>,
}

/// One model, asked for by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelDetails {
    /// The model.
    pub model_details: Model,
}

/// One entry of the models list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Model {
    /// Its name as a resource of AWS's; ours are none, and have their plain name.
    pub model_arn: String,
    /// The name that a request's path takes.
    pub model_id: String,
    /// Its name for a person.
    pub model_name: String,
    /// Who answers for it.
    pub provider_name: String,
}

impl Model {
    /// An entry.
    pub fn new(id: &str, owner: &str) -> Self {
        Self {
            model_arn: id.to_owned(),
            model_id: id.to_owned(),
            model_name: id.to_owned(),
            provider_name: owner.to_owned(),
        }
    }
}
