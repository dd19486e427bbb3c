//! `GET /foundation-models` as AWS's clients read it.

use serde::Serialize;

/// Where a model can be asked from: what an inference profile's id has before the model's.
pub(crate) const GEOGRAPHIES: [&str; 9] = ["us", "eu", "apac", "us-gov", "global", "jp", "au", "ca", "sa"];

/// The model of an inference profile with this id; none where it is no profile's.
pub(crate) fn profiled(id: &str) -> Option<&str> {
    let (geography, model) = id.split_once('.')?;
    GEOGRAPHIES.contains(&geography).then_some(model)
}

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
