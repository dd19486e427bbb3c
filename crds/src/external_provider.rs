use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::SecretKey;

/// One account at a closed API. Owns one proxy, the only pod that holds its key.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "serving.weighbridge.dev",
    version = "v1alpha1",
    kind = "ExternalProvider",
    namespaced,
    status = "ExternalProviderStatus",
    shortname = "xprov",
    category = "weighbridge",
    derive = "PartialEq",
    doc = "One account at a closed API, with the one proxy that holds its key.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Kind", type_ = "string", json_path = ".spec.kind"),
    printcolumn(name = "URL", type_ = "string", json_path = ".spec.baseURL"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 40")
        .message("metadata.name is longer than 40 characters: the names of children are made from it; shorten it"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must begin with a letter and hold only a-z, 0-9 and '-': it becomes the name of a Service"),
    cel
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.baseURL.matches('^https?://[^/?#@\\\\s]+(/[^?#\\\\s]*)?$')")
        .message("baseURL must be http(s)://host[:port][/path] with no user, query or fragment, such as https://api.example.com/v1")
        .field_path(".baseURL"),
    validation = Rule::new("self.baseURL.startsWith('https://') || (has(self.allowPrivate) && self.allowPrivate)")
        .message("a baseURL without TLS would send the key in the clear: use https://, or set allowPrivate: true for a server of your own")
        .field_path(".baseURL")
)]
pub struct ExternalProviderSpec {
    /// Dialect that the provider speaks.
    pub kind: ProviderKind,
    /// Base of the API's paths, `/v1` included, such as `https://api.example.com/v1`.
    #[serde(rename = "baseURL")]
    #[schemars(length(min = 1, max = 2048))]
    pub base_url: String,
    /// The account's key.
    pub api_key_secret: SecretKey,
    /// Lets the proxy reach private, loopback and link-local addresses, and plain http. For servers of your own.
    #[serde(default)]
    pub allow_private: bool,
}

/// Dialects of closed APIs.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum ProviderKind {
    /// OpenAI's chat completions and completions, as spoken by many.
    OpenAICompatible,
}

/// What the operator observed.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalProviderStatus {
    /// `metadata.generation` that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, Scheduled, EngineReady, Ready; each with its reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}
