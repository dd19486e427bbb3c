//! What a provider's proxy says of its provider, on its admin port: JSON that the operator subscribes to.
//!
//! Fields that are not known are skipped, so that an operator and a proxy of different versions understand each other.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Everything that a proxy knows of its provider. Holds nothing of a key but its place.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderState {
    /// Namespace of the ExternalProvider: who asked an address that belongs to another pod by now finds out.
    pub namespace: String,
    /// Name of the ExternalProvider.
    pub provider: String,
    /// Another number for every other state.
    pub version: u64,
    /// Whether the provider was asked with every key once since the proxy began.
    pub probed: bool,
    /// The keys, in the order of `spec.apiKeys`.
    #[serde(default)]
    pub keys: Vec<KeyState>,
    /// Whether the provider answers.
    #[serde(default)]
    pub upstream: UpstreamHealth,
    /// What went wrong last at the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_upstream_error: Option<UpstreamError>,
    /// The provider's own list of models; none where it was never read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<ModelList>,
    /// The last answer that came from elsewhere than `dataPolicy.region`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residency_mismatch: Option<ResidencyMismatch>,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct KeyState {
    /// How the provider takes it.
    pub state: KeyCondition,
    /// When it can be used again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

/// How a provider takes a key.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum KeyCondition {
    /// Neither a call nor a probe has shown it yet.
    Unproven,
    /// The provider takes it.
    Usable,
    /// The provider takes it again later.
    RateLimited,
    /// The account's money or quota is used up; it is tried again later.
    QuotaExhausted,
    /// The provider forbids calls and the list of models alike; it is used where no other key is left.
    Forbidden,
    /// The provider does not know it; it is out until its Secret changes or a probe succeeds.
    Refused,
    /// Its file holds none.
    Missing,
}

/// Whether a provider answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum UpstreamHealth {
    /// It was not asked yet.
    #[default]
    Unknown,
    /// It answers, whatever it says.
    Answering,
    /// The last few requests all failed at the provider or on the way to it.
    Failing,
}

/// What went wrong at a provider.
#[derive(JsonSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct UpstreamError {
    /// When it was first said; the same again does not move it.
    pub time: Time,
    /// The provider's HTTP status, where it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<i32>,
    /// What kind of failure it was, in the words of the metrics, such as `credential` or `rate_limited`.
    pub class: String,
    /// The provider's words, said to be so, without keys and cut to a readable length.
    pub message: String,
}

/// A provider's list of models.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct ModelList {
    /// Whether a model that is not in it is not there. Some lists hold something else than what requests name.
    pub complete: bool,
    /// The models.
    pub models: Vec<ListedModel>,
}

/// One model in a provider's list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ListedModel {
    /// Its name in requests.
    pub name: String,
    /// Other names for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// When it ends, in seconds since 1970, where the list says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retires: Option<i64>,
}

/// An answer that came from elsewhere than it was to.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ResidencyMismatch {
    /// When the last such answer came.
    pub time: Time,
    /// `dataPolicy.region`.
    pub required: String,
    /// What the provider said; none where it said nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stated: Option<String>,
}

impl ModelList {
    /// The model that requests call `name`.
    pub fn find(&self, name: &str) -> Option<&ListedModel> {
        let bare = name.strip_prefix("models/").unwrap_or(name);
        let called = |name: &str| {
            self.models
                .iter()
                .find(|model| model.name == name || model.aliases.iter().any(|alias| alias == name))
        };
        // A variant of a model (`:free`, `:nitro`) is not always a line of its own.
        called(bare).or_else(|| called(bare.rsplit_once(':')?.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_found_by_every_name_that_requests_may_use() {
        let model = |name: &str, aliases: &[&str]| ListedModel {
            name: name.to_owned(),
            aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
            retires: None,
        };
        let list = ModelList {
            complete: true,
            models: vec![model("small-2506", &["small-latest"]), model("llama3:8b", &[]), model("a/b", &[])],
        };
        for (name, found) in [
            ("small-2506", Some("small-2506")),
            ("models/small-2506", Some("small-2506")),
            ("small-latest", Some("small-2506")),
            ("llama3:8b", Some("llama3:8b")),
            ("a/b:nitro", Some("a/b")),
            ("small", None),
            ("llama3", None),
            ("", None),
        ] {
            assert_eq!(list.find(name).map(|model| model.name.as_str()), found, "{name}");
        }
    }
}
