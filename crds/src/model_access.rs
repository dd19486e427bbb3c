use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// What stands for every model of the namespace in `spec.models`.
pub const EVERY_MODEL: &str = "*";

/// Who may call which models of a namespace. Where no ModelAccess names a key, the gateway lets nobody in.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "serving.weighbridge.dev",
    version = "v1alpha1",
    kind = "ModelAccess",
    plural = "modelaccesses",
    namespaced,
    status = "ModelAccessStatus",
    shortname = "maccess",
    category = "weighbridge",
    derive = "PartialEq",
    doc = "Who may call which models of its namespace: API keys, each by its hash.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Models", type_ = "string", json_path = ".spec.models"),
    printcolumn(name = "Keys", type_ = "string", json_path = ".spec.keys[*].name"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    cel
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.keys.all(k, self.keys.exists_one(other, other.sha256 == k.sha256))")
        .message("one key is there under two names: the log would not tell who called; give each its own key, or remove one")
        .field_path(".keys"),
    validation = Rule::new("!self.models.exists(m, m == '*') || self.models.size() == 1")
        .message("models has '*', which is every model of the namespace, and others beside it: keep '*' alone, or remove it")
        .field_path(".models")
)]
pub struct ModelAccessSpec {
    /// The keys. None of them is here: only what a key hashes to, from which nobody gets the key back.
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub keys: Vec<AccessKey>,
    /// Models of this namespace that the keys may call: `*` for all of them, `MODEL` for one and its adapters,
    /// `MODEL:ADAPTER` for that adapter alone.
    #[schemars(
        length(min = 1, max = 256),
        inner(
            length(min = 1, max = 104),
            regex(pattern = r"^(\*|[a-z]([-a-z0-9]*[a-z0-9])?(:[a-z0-9]([-a-z0-9]*[a-z0-9])?)?)$")
        )
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub models: Vec<String>,
}

/// One API key, as far as a cluster may know it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
// A rule and no pattern: what breaks a pattern is repeated in the refusal, and here it may be the key itself.
#[x_kube(
    validation = Rule::new("self.sha256.matches('^sha256:[0-9a-f]{64}$')")
        .message("sha256 is not the hash of a key: write what `weighbridge key hash` prints, sha256: and 64 hexadecimal digits")
        .field_path(".sha256"),
    // The schema alone lets a list through where a time belongs.
    validation = Rule::new("!has(self.expiresAt) || self.expiresAt >= timestamp('1970-01-01T00:00:00Z')")
        .message("expiresAt is a time: write it as 2027-01-31T12:00:00Z")
        .field_path(".expiresAt")
)]
pub struct AccessKey {
    /// Who holds it: what the access log says in the key's place.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// `sha256:` and the SHA-256 of the key, in hexadecimal: what `weighbridge key create` and `key hash` print.
    #[schemars(length(min = 1, max = 71))]
    pub sha256: String,
    /// From when on it is refused. Default: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
}

/// What the operator observed. It lets nobody in or out: gateways read the spec.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelAccessStatus {
    /// `metadata.generation` that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// ModelsFound, KeysCurrent, Ready; each with its reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}
