use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{DataPolicy, KeyCondition, SecretKey, UpstreamError};

/// One account at a closed API. Owns one proxy, the only pod that holds its keys.
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
    doc = "One account at a closed API, with the one proxy that holds its keys.",
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
    validation = Rule::new("has(self.baseURL) || self.kind in ['OpenAI', 'Anthropic', 'Gemini']")
        .message("a provider of this kind has no address of its own: set baseURL, such as https://api.example.com/v1")
        .field_path(".baseURL"),
    validation = Rule::new("!has(self.baseURL) || (self.baseURL.matches('^https?://[^/?#@\\\\s]+(/[^?#\\\\s]*)?$') && isURL(self.baseURL))")
        .message("baseURL must be http(s)://host[:port][/path] with no user, query or fragment, such as https://api.example.com/v1")
        .field_path(".baseURL"),
    validation = Rule::new("!has(self.baseURL) || self.baseURL.startsWith('https://') || (has(self.allowPrivate) && self.allowPrivate)")
        .message("a baseURL without TLS would send the key in the clear: use https://, or set allowPrivate: true for a server of your own")
        .field_path(".baseURL"),
    // Names and numbers that lead into the cluster or the machine. By expressions over the text, whose cost the apiserver
    // can bound: the libraries for URLs and addresses give texts of no known length. IPv6 is refused whole, for no public
    // API is named by one; of numbers only plain IPv4 is left, since URLs read 0x7f.1 and 2130706433 as IPv4 too.
    validation = Rule::new("!has(self.baseURL) || (has(self.allowPrivate) && self.allowPrivate) || (!self.baseURL.matches('(?i)^https?://(\\\\[|(([^/:]*[.])?(localhost|local)|metadata[.]google[.]internal)[.]?([:/]|$))') && (!self.baseURL.matches('(?i)^https?://([^/:]*[.])?(0x[0-9a-f]*|[0-9]+)[.]?([:/]|$)') || (self.baseURL.matches('^https?://(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])([.](25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])){3}([:/]|$)') && !self.baseURL.matches('^https?://(0|10|127|100[.](6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7])|168[.]63[.]129|169[.]254|172[.](1[6-9]|2[0-9]|3[01])|192[.]0[.]0|192[.]168|198[.]1[89]|22[4-9]|2[34][0-9]|25[0-5])[.]'))))")
        .message("baseURL names a loopback, private, link-local or metadata address, where a key must not be sent: name a public host, or set allowPrivate: true for a server of your own")
        .field_path(".baseURL"),
    validation = Rule::new("self.kind != 'AzureOpenAI' || !has(self.baseURL) || self.baseURL.matches('/openai/v1/?$')")
        .message("Azure is called by its v1 API: baseURL ends in /openai/v1, such as https://NAME.openai.azure.com/openai/v1")
        .field_path(".baseURL"),
    validation = Rule::new("self.apiKeys.all(a, self.apiKeys.exists_one(b, b.name == a.name && b.key == a.key))")
        .message("apiKeys: one key of one Secret is named twice: remove one, and give the other its weight")
        .field_path(".apiKeys"),
    // Kinds that can be held to a place, and those that can be told to keep nothing: ProviderKind::takes_region and takes_retention.
    validation = Rule::new("!has(self.dataPolicy) || !has(self.dataPolicy.region) || self.kind in ['OpenAI', 'AzureOpenAI', 'Anthropic']")
        .message("dataPolicy.region: no request of this kind can name a region, and no answer says where it was made, so that nothing would hold the provider to it: leave it out")
        .field_path(".dataPolicy.region"),
    validation = Rule::new("!has(self.dataPolicy) || !has(self.dataPolicy.retention) || self.kind in ['OpenAI', 'AzureOpenAI']")
        .message("dataPolicy.retention: no request of this kind can say that nothing is to be kept: leave it out, and agree on it with the provider")
        .field_path(".dataPolicy.retention"),
    validation = Rule::new("self.kind != 'OpenAI' || !has(self.dataPolicy) || !has(self.dataPolicy.region) || self.dataPolicy.region.matches('^[a-z]{2}$')")
        .message("dataPolicy.region: OpenAI's regions are the first part of its regional hosts, such as us or eu")
        .field_path(".dataPolicy.region"),
    validation = Rule::new("self.kind != 'OpenAI' || !has(self.dataPolicy) || !has(self.dataPolicy.region) || !has(self.baseURL) || self.baseURL.startsWith('https://' + self.dataPolicy.region + '.api.openai.com/')")
        .message("baseURL is another place than dataPolicy.region: leave baseURL out, and the region's own host is called")
        .field_path(".baseURL")
)]
pub struct ExternalProviderSpec {
    /// Whose API it is.
    pub kind: ProviderKind,
    /// Base of the API's paths. OpenAI's dialect has `/v1` in it (`https://api.example.com/v1`), Azure's ends in
    /// `/openai/v1`, and Anthropic's and Gemini's have no version. Default: the kind's own address, where it has one.
    #[serde(rename = "baseURL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub base_url: Option<String>,
    /// The account's keys. Each request is sent with one, chosen by weight; where the provider refuses or limits it,
    /// with the next.
    #[schemars(length(min = 1, max = 16))]
    pub api_keys: Vec<ApiKey>,
    /// Lets the proxy reach private, loopback and link-local addresses, and plain http. For servers of your own.
    #[serde(default)]
    pub allow_private: bool,
    /// Where requests are to be answered, and what the provider is to keep of them. Default: as the account is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_policy: Option<DataPolicy>,
}

/// A key of an account: one key of a Secret in the same namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ApiKey {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key inside the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
    /// Share of the requests, beside the other keys' weights.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub weight: i32,
}

fn one() -> i32 {
    1
}

impl ApiKey {
    /// Where it is.
    pub fn secret_key(&self) -> SecretKey {
        SecretKey { name: self.name.clone(), key: self.key.clone() }
    }
}

/// Kinds of closed APIs.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum ProviderKind {
    /// OpenAI itself.
    OpenAI,
    /// OpenAI's models at Azure, by the v1 API of a resource.
    AzureOpenAI,
    /// Anthropic itself.
    Anthropic,
    /// Google's Gemini API.
    Gemini,
    /// Any server that speaks OpenAI's dialect.
    OpenAICompatible,
    /// Any server that speaks Anthropic's dialect.
    AnthropicCompatible,
}

impl ProviderKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::OpenAI,
        Self::AzureOpenAI,
        Self::Anthropic,
        Self::Gemini,
        Self::OpenAICompatible,
        Self::AnthropicCompatible,
    ];

    /// Whether its address is known: only its owner knows that of the others.
    pub fn has_address(self) -> bool {
        match self {
            Self::OpenAI | Self::Anthropic | Self::Gemini => true,
            Self::AzureOpenAI | Self::OpenAICompatible | Self::AnthropicCompatible => false,
        }
    }

    /// Whether `dataPolicy.region` can be enforced: by the host, by the request, or by what the answer says.
    pub fn takes_region(self) -> bool {
        match self {
            Self::OpenAI | Self::AzureOpenAI | Self::Anthropic => true,
            Self::Gemini | Self::OpenAICompatible | Self::AnthropicCompatible => false,
        }
    }

    /// Whether `dataPolicy.retention` can be enforced: a request can say that nothing of it is to be kept.
    pub fn takes_retention(self) -> bool {
        match self {
            Self::OpenAI | Self::AzureOpenAI => true,
            Self::Anthropic | Self::Gemini | Self::OpenAICompatible | Self::AnthropicCompatible => false,
        }
    }

    /// The host for `region`, where that is what holds the provider to it, and the base URL there.
    pub fn regional_base_url(self, region: &str) -> Option<String> {
        match self {
            Self::OpenAI => Some(format!("https://{region}.api.openai.com/v1")),
            Self::AzureOpenAI
            | Self::Anthropic
            | Self::Gemini
            | Self::OpenAICompatible
            | Self::AnthropicCompatible => None,
        }
    }

    /// The word for it in specs and flags.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAI => "OpenAI",
            Self::AzureOpenAI => "AzureOpenAI",
            Self::Anthropic => "Anthropic",
            Self::Gemini => "Gemini",
            Self::OpenAICompatible => "OpenAICompatible",
            Self::AnthropicCompatible => "AnthropicCompatible",
        }
    }
}

/// What the operator observed.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalProviderStatus {
    /// `metadata.generation` that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, Scheduled, EngineReady, CredentialsValid, QuotaAvailable, ModelsCurrent, ResidencyKept, Ready; each with
    /// its reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// How the provider takes each of `spec.apiKeys`, as far as its proxy says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<ProviderKeyStatus>,
    /// What went wrong last at the provider. What is the caller's own fault is not told here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_upstream_error: Option<UpstreamError>,
}

/// How the provider takes one key. What the key is, is never here.
#[derive(JsonSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ProviderKeyStatus {
    /// Name of the Secret.
    pub name: String,
    /// Key inside the Secret.
    pub key: String,
    /// How the provider takes it.
    pub state: KeyCondition,
    /// When it can be used again, where the provider says or it is tried then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}
