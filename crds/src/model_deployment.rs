use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use weighbridge_fit::ModelFacts;

use crate::{
    ConfigMapKey, GpuCount, Hold, KvCacheType, PastRevision, Quantization, Rollout, RolloutStatus, SecretKey,
    Served, Signature, Sleep, Storage, TimeSpan,
};

/// One model: open weights that we serve, a model at a closed API, or both with `serve` saying which.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "serving.weighbridge.dev",
    version = "v1alpha1",
    kind = "ModelDeployment",
    namespaced,
    status = "ModelDeploymentStatus",
    shortname = "mdep",
    category = "weighbridge",
    derive = "PartialEq",
    doc = "One model: open weights that Weighbridge serves, a model at a closed API, or both.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Backend", type_ = "string", json_path = ".status.served.backend"),
    printcolumn(name = "Model", type_ = "string", json_path = ".status.served.model"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Rollout", type_ = "string", json_path = ".status.rollout.progress"),
    printcolumn(name = "Profile", type_ = "string", json_path = ".spec.openWeights.resources.profile"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 40")
        .message("metadata.name is longer than 40 characters: the names of children are made from it; shorten it"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must begin with a letter and hold only a-z, 0-9 and '-': it becomes the name of a Service"),
    cel
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.openWeights) || has(self.external)")
        .message("neither world is named: set openWeights to serve weights, or external to route to a provider"),
    validation = Rule::new("!(has(self.openWeights) && has(self.external)) || has(self.serve)")
        .message("both openWeights and external are set: add serve: OpenWeights or serve: External"),
    validation = Rule::new("!has(self.serve) || self.serve != 'OpenWeights' || has(self.openWeights)")
        .message("serve is OpenWeights but openWeights is not set: set it, or serve: External"),
    validation = Rule::new("!has(self.serve) || self.serve != 'External' || has(self.external)")
        .message("serve is External but external is not set: set it, or serve: OpenWeights"),
    validation = Rule::new("has(self.openWeights) || !has(self.replicas) || self.replicas <= 1")
        .message("replicas counts engine pods, and a model with external alone has none: set replicas: 1, or 0 to take it out of service")
        .field_path(".replicas"),
    validation = Rule::new("!has(self.drainTimeout) || duration(self.drainTimeout) <= duration('1h')")
        .message("drainTimeout is more than an hour: write 1h or less")
        .field_path(".drainTimeout"),
    validation = Rule::new("!has(self.drainTimeout) || has(self.openWeights)")
        .message("drainTimeout is for engine pods, and a model with external alone has none: remove it")
        .field_path(".drainTimeout"),
    validation = Rule::new("!has(self.rollout) || has(self.openWeights)")
        .message("rollout is of engine pods, and a model with external alone has none: remove it")
        .field_path(".rollout")
)]
pub struct ModelDeploymentSpec {
    /// Which world answers; required where both arms are set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serve: Option<World>,
    /// Weights that our own inference server loads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_weights: Option<OpenWeights>,
    /// A model at a closed API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<External>,
    /// Engine pods. Written by people at creation and by `/scale` afterwards. At 0 a model of open weights sleeps, and a request
    /// for it makes it 1. An external model has none: there 0 takes it out of service, and more than 1 is kept for
    /// `openWeights`.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: i32,
    /// Takes the model out of service, whatever `replicas` says: no engine pods, no call to its provider, and no request is
    /// held for it or wakes it. Nothing else of the spec is lost.
    #[serde(default)]
    pub suspend: bool,
    /// How long the open streams of a pod that goes have to finish, such as `90s` or `10m`, at most `1h`; a longer one is
    /// cut. In the pod's template, so that a change rolls the pods. Default: `5m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_timeout: Option<TimeSpan>,
    /// Requests that come while nothing answers yet: they wait, within these bounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// How another revision comes in the place of the one that answers. Default: `strategy: Surge`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
}

/// `spec.drainTimeout` where nothing is said.
pub const DEFAULT_DRAIN: Duration = Duration::from_secs(300);

fn one() -> i32 {
    1
}

/// Why nothing answers for a model, though nothing is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfService {
    /// `spec.suspend` is true: until somebody says otherwise.
    Suspended,
    /// `spec.replicas` is 0.
    ScaledToZero,
}

impl OutOfService {
    /// The field that says so, and what it says.
    pub fn field(self) -> &'static str {
        match self {
            Self::Suspended => "spec.suspend is true",
            Self::ScaledToZero => "spec.replicas is 0",
        }
    }
}

impl ModelDeploymentSpec {
    /// The arm that answers: `serve`, or the only one that is set. `None` where the CEL rules would refuse.
    pub fn world(&self) -> Option<World> {
        match (self.serve, &self.open_weights, &self.external) {
            (Some(World::OpenWeights), Some(_), _) | (None, Some(_), None) => Some(World::OpenWeights),
            (Some(World::External), _, Some(_)) | (None, None, Some(_)) => Some(World::External),
            (Some(_) | None, _, _) => None,
        }
    }

    /// Why nothing answers, in either world; `None` where something is to.
    pub fn out_of_service(&self) -> Option<OutOfService> {
        match (self.suspend, self.replicas) {
            (true, _) => Some(OutOfService::Suspended),
            (false, ..=0) => Some(OutOfService::ScaledToZero),
            (false, 1..) => None,
        }
    }
}

/// Which world answers. Required where `openWeights` and `external` are both set.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum World {
    /// Weights that we serve.
    OpenWeights,
    /// A provider's API.
    External,
}

/// Weights, and how to serve them.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.source.matches('^(hf|s3|gs|oci|https|pvc|file)://')")
        .message("source has no known scheme: write hf://org/repo/file.gguf, s3://bucket/key, gs://bucket/object, oci://registry/repository:tag/file.gguf, https://host/path/file.gguf, pvc://claim/file.gguf or file:///folder/file.gguf")
        .field_path(".source"),
    validation = Rule::new("!self.source.startsWith('hf://') || self.source.matches('^hf://[^/]+/[^/]+/[^/].*$')")
        .message("an hf source names organisation, repository and file: hf://org/repo/file.gguf")
        .field_path(".source"),
    validation = Rule::new("!self.source.startsWith('https://') || self.source.matches('^https://[^/?#@[:space:]]+/[^?#[:space:]]*[^/?#[:space:]]$')")
        .message("an https source is a plain address, for everybody may read it: https://host/path/file.gguf, with no user, query or fragment; a token goes into storage.credentialsSecret")
        .field_path(".source"),
    validation = Rule::new("!self.source.matches('^(s3|gs)://') || self.source.matches('^(s3|gs)://[a-z0-9][-._a-z0-9]*[a-z0-9]/[^/].*$')")
        .message("an s3 or gs source names a bucket and an object in it: s3://bucket/key or gs://bucket/object")
        .field_path(".source"),
    validation = Rule::new("!self.source.startsWith('oci://') || self.source.matches('^oci://[-.:A-Za-z0-9]+/[a-z0-9][-._/a-z0-9]*(:[A-Za-z0-9_][-._A-Za-z0-9]{0,127}|@sha256:[0-9a-f]{64})(/[^/].*)?$')")
        .message("an oci source names registry, repository, a tag or digest, and a file: oci://registry/repository:tag/file.gguf or oci://registry/repository@sha256:DIGEST/file.gguf")
        .field_path(".source"),
    validation = Rule::new("!self.source.startsWith('pvc://') || self.source.matches('^pvc://[a-z0-9][-.a-z0-9]*/[^/].*$')")
        .message("a pvc source names a claim and a file in it: pvc://claim/file.gguf")
        .field_path(".source"),
    validation = Rule::new("!self.source.startsWith('file://') || self.source.matches('^file:///[^/].*$')")
        .message("a file source is an absolute path: file:///folder/file.gguf")
        .field_path(".source"),
    validation = Rule::new("!self.source.matches('(^|/)\\\\.\\\\.?(/|$)') && !self.source.contains('\\\\')")
        .message("source may not contain '.' or '..' segments or backslashes: name the file itself")
        .field_path(".source"),
    validation = Rule::new("!has(self.revision) || self.source.startsWith('hf://')")
        .message("revision belongs to hf sources only: remove it, or pin other files by digest")
        .field_path(".revision"),
    validation = Rule::new("!has(self.hub) || self.source.startsWith('hf://')")
        .message("hub belongs to hf sources only: remove it")
        .field_path(".hub"),
    validation = Rule::new("!has(self.cache) || !self.source.matches('^(pvc|file)://')")
        .message("cache is for what is fetched, and the source is on a claim or a machine already: remove it")
        .field_path(".cache"),
    validation = Rule::new("!has(self.cache) || !has(self.signature)")
        .message("signature is verified by whoever fetches, and with cache no engine does: remove one of them")
        .field_path(".cache"),
    validation = Rule::new("!has(self.cache) || !has(self.storage) || !has(self.storage.imageVolume) || !self.storage.imageVolume")
        .message("storage.imageVolume: each node keeps the image itself, and nothing is fetched: remove cache")
        .field_path(".cache"),
    validation = Rule::new("!has(self.storage) || self.source.matches('^(s3|gs|oci|https)://')")
        .message("storage belongs to s3, gs, oci and https sources only: remove it")
        .field_path(".storage"),
    validation = Rule::new("!has(self.storage) || !has(self.storage.endpoint) || self.source.matches('^(s3|gs|oci)://')")
        .message("storage.endpoint: an https source names its server itself: remove it")
        .field_path(".storage"),
    validation = Rule::new("!has(self.storage) || !has(self.storage.region) || self.source.startsWith('s3://')")
        .message("storage.region belongs to s3 sources only: remove it")
        .field_path(".storage"),
    validation = Rule::new("!has(self.storage) || !has(self.storage.credentialsSecret) || !has(self.storage.endpoint) || self.source.startsWith('s3://') || self.storage.endpoint.matches('^(https://|http://(localhost|127\\\\.0\\\\.0\\\\.1|\\\\[::1\\\\])(:[0-9]+)?(/|$))')")
        .message("storage.endpoint without TLS would get what credentialsSecret holds in the clear: use https://, or remove credentialsSecret")
        .field_path(".storage"),
    validation = Rule::new("!has(self.storage) || !has(self.storage.imageVolume) || !self.storage.imageVolume || self.source.matches('^oci://[^/]+/[^:@]+[:@][^/]+/.+$')")
        .message("storage.imageVolume is of an image and a file in it: write source: oci://registry/repository:tag/folder/file.gguf, or remove imageVolume")
        .field_path(".storage"),
    validation = Rule::new("!has(self.storage) || !has(self.storage.imageVolume) || !self.storage.imageVolume || !has(self.storage.endpoint) && !has(self.caCertificates)")
        .message("storage.imageVolume: the node pulls the image, by its own mirrors and authorities: remove storage.endpoint and caCertificates")
        .field_path(".storage"),
    validation = Rule::new("!has(self.caCertificates) || self.source.matches('^(hf|s3|gs|oci|https)://')")
        .message("caCertificates is for sources that are fetched, and this one is not: remove it")
        .field_path(".caCertificates")
)]
pub struct OpenWeights {
    /// Where the weights are: `hf://org/repo/file`, `s3://bucket/key`, `gs://bucket/object`, `oci://registry/repository:tag/file` (or
    /// `@sha256:…` in the tag's place; the file may be left out where the artefact holds one alone), `https://host/path/file`,
    /// `pvc://claim/path` or, with no cluster, `file:///path`. A path names a GGUF file, or on a claim or a machine a folder with `config.json`, `tokenizer.json` and safetensors.
    #[schemars(length(min = 1, max = 1024))]
    pub source: String,
    /// Branch, tag or commit of an `hf` source; a commit pins it. Default: `main`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200), regex(pattern = r"^[A-Za-z0-9][-._/A-Za-z0-9]*$"))]
    pub revision: Option<String>,
    /// Digest of the file, verified before a byte of it is mapped.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^sha256:[0-9a-f]{64}$"))]
    pub digest: Option<String>,
    /// Who has to have signed the weights; verified before a byte of them is mapped. It is not of adapters, which a digest pins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
    /// Another hub, or a token for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub: Option<Hub>,
    /// Name of a ModelCache in the same namespace, which fetches the weights, and adapters of a hub, once for all models
    /// that name them; engine pods read them from its claim, and hold no token. For fetched sources only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 40), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub cache: Option<String>,
    /// The server of an `s3`, `gs`, `oci` or `https` source, and access to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// Authorities, in PEM, that may vouch for the server of a source that is fetched, beside the public ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_certificates: Option<ConfigMapKey>,
    /// Hardware of each replica.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Settings of the engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<Engine>,
    /// What is added to each engine pod, as in a pod's template: labels and annotations, placement (`affinity`,
    /// `nodeSelector`, `tolerations`, `topologySpreadConstraints`, `priorityClassName`, `preemptionPolicy`,
    /// `runtimeClassName`, `schedulerName`), `dnsConfig`, `dnsPolicy`, `hostAliases`, `imagePullSecrets`, `volumes`, and `env` and
    /// `volumeMounts` (under `/mnt` or `/etc`) of the container `engine`. Never a security context, a service account, an image or
    /// a command. A change rolls the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "open_object")]
    pub pod_template: Option<serde_json::Value>,
}

/// An object whose fields the operator checks, and a policy of the chart: its schema would be most of a pod's.
fn open_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// Where an `hf` source is fetched from.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.tokenSecret) || !has(self.endpoint) || self.endpoint.matches('^(https://|http://(localhost|127\\\\.0\\\\.0\\\\.1|\\\\[::1\\\\])(:[0-9]+)?(/|$))')")
        .message("a hub endpoint without TLS would get the token in the clear: use https://, or remove tokenSecret")
        .field_path(".endpoint")
)]
pub struct Hub {
    /// Base URL of a server that speaks the hub's paths. Default: the public hub. With a token it is https, but for
    /// this machine's own `localhost`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), regex(pattern = r"^https?://[^/?#@\s]+(/[^?#\s]*)?$"))]
    pub endpoint: Option<String>,
    /// Token for gated or private repositories.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_secret: Option<SecretKey>,
}

/// Hardware of each replica.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.gpus) || has(self.profile)")
        .message("gpus needs a profile that says which GPU: set profile")
        .field_path(".gpus"),
    validation = Rule::new("!has(self.gpus) || string(self.gpus).matches('^([1-9]|[1-5][0-9]|6[0-4]|auto)$')")
        .message("gpus is a number from 1 to 64, or auto")
        .field_path(".gpus")
)]
pub struct Resources {
    /// Name of a ResourceProfile.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub profile: Option<String>,
    /// GPUs of each replica, in place of the profile's count: a number from 1 to 64, or `auto`, the fewest (at most 8) whose
    /// memory holds the weights and the keys and values. `auto` needs `gpu.memory` in the profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpus: Option<GpuCount>,
}

/// Settings of the engine; each has a default taken from the model or the machine.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.adapters) || self.adapters.all(a, self.adapters.exists_one(b, b.name == a.name))")
        .message("adapters: two have one name: give each its own")
        .field_path(".adapters")
)]
pub struct Engine {
    /// Longest prompt and answer together, in tokens. Default: the model's own, at most 8192.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 16, max = 16777216))]
    pub context_length: Option<i32>,
    /// Sequences computed at once; more wait. Default: 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4096))]
    pub max_sequences: Option<i32>,
    /// What keys and values are kept as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_cache_type: Option<KvCacheType>,
    /// What matrices are quantised to while loading.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantize: Option<Quantization>,
    /// When it gives its GPU's memory back. Default: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sleep: Option<Sleep>,
    /// LoRA adapters beside the model: callers ask for `MODEL:ADAPTER`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub adapters: Vec<Adapter>,
}

/// A LoRA adapter of a model.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.source.matches('^(hf://[^/]+/[^/]+/[^/]|pvc://[a-z0-9][-.a-z0-9]*/[^/]|file:///[^/])')")
        .message("an adapter's source is hf://org/repo/file.gguf, pvc://claim/path or file:///path")
        .field_path(".source"),
    validation = Rule::new("!self.source.matches('(^|/)\\\\.\\\\.?(/|$)') && !self.source.contains('\\\\')")
        .message("source may not contain '.' or '..' segments or backslashes: name the file itself")
        .field_path(".source"),
    validation = Rule::new("!has(self.revision) || self.source.startsWith('hf://')")
        .message("revision belongs to hf sources only: remove it, or pin other files by digest")
        .field_path(".revision")
)]
pub struct Adapter {
    /// Its name, a DNS label, unique among the model's.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Where it is, as `openWeights.source`: a path names a folder as PEFT writes it (on a claim or a machine), or a GGUF file.
    #[schemars(length(min = 1, max = 1024))]
    pub source: String,
    /// Branch, tag or commit of an `hf` source. Default: `main`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200), regex(pattern = r"^[A-Za-z0-9][-._/A-Za-z0-9]*$"))]
    pub revision: Option<String>,
    /// Digest of the file, verified before a byte of it is read. Folders have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^sha256:[0-9a-f]{64}$"))]
    pub digest: Option<String>,
}

/// A model at a closed API.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct External {
    /// Name of an ExternalProvider in the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub provider: String,
    /// The provider's own name for the model.
    #[schemars(length(min = 1, max = 253))]
    pub model: String,
}

/// What the operator observed. Never holds a time that changes by itself.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelDeploymentStatus {
    /// `metadata.generation` that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, ArtifactReady, Scheduled, EngineReady, Routable, Active, RolledOut, Healthy, Ready; each with its reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Pods of every revision; what `/scale` reports.
    #[serde(default)]
    pub replicas: i32,
    /// Ready pods of the current revision.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Label selector of the pods, for `/scale`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Hash of the current pod template: of the revision that runs, while another is on trial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// What calls go to now: while `serve` names a world that can't answer yet, the one before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served: Option<Served>,
    /// How long each part of the last start of the current revision took: until a pod had a node (`scheduled`) and its
    /// container ran (`pulled`), then the engine's own, as its metric `weighbridge_cold_start_seconds` names them, and until
    /// every ready gateway sent calls there (`routable`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<StartPhase>,
    /// Revisions before this one, the newest first; `weighbridge rollback` brings one back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<PastRevision>,
    /// A revision on trial beside the one that runs, or one that was aborted, where `rollout.strategy` is `Canary`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// What the header of the weights says, where hardware was chosen by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<InspectedModel>,
}

/// A model as its header describes it, and by which settings it was looked at.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InspectedModel {
    /// Stands for source, revision, digest and settings: where they change, the header is read anew.
    pub inspection: String,
    /// What the header says.
    #[serde(flatten)]
    pub facts: ModelFacts,
}

/// A part of a start.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StartPhase {
    /// Its name; `total` is the engine's from its first moment to its first token.
    pub name: String,
    /// How long it took.
    pub milliseconds: i64,
}
