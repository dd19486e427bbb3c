use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where requests are to be answered, and what the provider is to keep of them. Only what a request can say, or an answer
/// shows, is a field here: what a contract says, no field can enforce.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.region) || has(self.retention)")
        .message("dataPolicy says nothing: set region or retention, or remove it"),
    validation = Rule::new("!has(self.onMismatch) || has(self.region)")
        .message("onMismatch is about region, which is not set: set it, or remove onMismatch")
        .field_path(".onMismatch")
)]
pub struct DataPolicy {
    /// Where requests are to be answered, in the provider's own word. OpenAI: the first part of a regional host, such as
    /// `eu` of eu.api.openai.com, which is then called. Anthropic: `us`, which each request asks for (`inference_geo`) and
    /// each answer is held against. AzureOpenAI: the resource's region, such as `swedencentral`, which each answer is
    /// held against.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 40), regex(pattern = "^[a-z][-a-z0-9]*$"))]
    pub region: Option<String>,
    /// What the provider is to keep of requests and answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// What becomes of an answer that comes from elsewhere, or does not say whence. Default: Fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_mismatch: Option<OnMismatch>,
}

/// What the provider is to keep of requests and answers. `NotStored`: every request says `store: false`, so that nothing
/// is kept to be fetched again; what is kept against abuse is a matter of the account's contract. Default: as the account
/// is set.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Retention {
    /// Nothing to be fetched again.
    NotStored,
}

/// What becomes of an answer that comes from elsewhere, or does not say whence: with `Fail` the caller gets an error in its
/// place, with `Report` it is delivered; either way it is counted and stands in the status. Default: `Fail`.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum OnMismatch {
    /// It is not delivered: the caller gets an error.
    #[default]
    Fail,
    /// It is delivered; the mismatch is counted and stands in the status.
    Report,
}
