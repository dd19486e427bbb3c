use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ConfigMapKey, Hub, Storage};

/// Weights kept on a claim, fetched once for every model of the namespace that names the cache.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "serving.weighbridge.dev",
    version = "v1alpha1",
    kind = "ModelCache",
    namespaced,
    status = "ModelCacheStatus",
    shortname = "mcache",
    category = "weighbridge",
    derive = "PartialEq",
    doc = "Weights kept on a claim, fetched once for every model of the namespace that names the cache.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Claim", type_ = "string", json_path = ".status.claim.name"),
    printcolumn(name = "Bytes", type_ = "integer", json_path = ".status.bytes"),
    printcolumn(name = "Max", type_ = "string", json_path = ".spec.maxSize"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 40")
        .message("metadata.name is longer than 40 characters: the names of children are made from it; shorten it"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must begin with a letter and hold only a-z, 0-9 and '-': it becomes part of the names of children"),
    cel
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.maxSize) || (isQuantity(string(self.maxSize)) && quantity(string(self.maxSize)).isGreaterThan(quantity('0')))")
        .message("maxSize is not a quantity above zero: write 180Gi")
        .field_path(".maxSize"),
    validation = Rule::new("!has(self.maxSize) || !has(self.claim.size) || !isQuantity(string(self.maxSize)) || !isQuantity(string(self.claim.size)) || quantity(string(self.maxSize)).compareTo(quantity(string(self.claim.size))) <= 0")
        .message("maxSize is more than claim.size, so that nothing would go before the claim is full: lower it, or raise claim.size")
        .field_path(".maxSize"),
    validation = Rule::new("!has(self.claim.size) || !has(oldSelf.claim.size) || quantity(string(self.claim.size)).compareTo(quantity(string(oldSelf.claim.size))) >= 0")
        .message("claim.size is less than before, and no claim can shrink: make another ModelCache")
        .field_path(".claim.size"),
    validation = Rule::new("!has(self.claim.size) || !has(oldSelf.claim.size) || (has(self.claim.storageClassName) ? self.claim.storageClassName : '') == (has(oldSelf.claim.storageClassName) ? oldSelf.claim.storageClassName : '')")
        .message("claim.storageClassName can't change once the claim is made: make another ModelCache")
        .field_path(".claim.storageClassName"),
    validation = Rule::new("!has(self.claim.size) || !has(oldSelf.claim.size) || (has(self.claim.accessModes) ? self.claim.accessModes : []) == (has(oldSelf.claim.accessModes) ? oldSelf.claim.accessModes : [])")
        .message("claim.accessModes can't change once the claim is made: make another ModelCache")
        .field_path(".claim.accessModes")
)]
pub struct ModelCacheSpec {
    /// The volume that weights are kept on.
    pub claim: CacheClaim,
    /// What may be kept, such as `180Gi`. Above it goes what was used longest ago, and never what a pod uses or a model that
    /// is in service or `prefetch` names. Default: nothing goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_size: Option<Quantity>,
    /// Held though no model names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub prefetch: Vec<CachedSource>,
}

/// A claim that is there, or one to be made.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.name) != has(self.size)")
        .message("claim: set name, of a claim that is there, or size, of one to be made"),
    validation = Rule::new("!has(self.storageClassName) || has(self.size)")
        .message("claim.storageClassName is of a claim to be made: set size in place of name, or remove it")
        .field_path(".storageClassName"),
    validation = Rule::new("!has(self.accessModes) || has(self.size)")
        .message("claim.accessModes are of a claim to be made: set size in place of name, or remove them")
        .field_path(".accessModes"),
    validation = Rule::new("!has(self.size) || (isQuantity(string(self.size)) && quantity(string(self.size)).isGreaterThan(quantity('0')))")
        .message("claim.size is not a quantity above zero: write 200Gi")
        .field_path(".size")
)]
pub struct CacheClaim {
    /// Name of a PersistentVolumeClaim in the same namespace. It outlives the cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub name: Option<String>,
    /// Size of a claim to be made, such as `200Gi`. It goes with the cache, once no pod uses it. May grow where its class lets it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Quantity>,
    /// Its StorageClass. Default: the cluster's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// How it may be mounted. With `ReadWriteOnce` every pod that uses it is on one node. Default: `ReadWriteMany`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub access_modes: Vec<AccessMode>,
}

/// How a claim may be mounted. What can't be written to, or by one pod alone, is no place for a cache.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum AccessMode {
    /// By pods of one node.
    ReadWriteOnce,
    /// By pods of every node.
    ReadWriteMany,
}

impl AccessMode {
    /// The mode as written.
    pub fn as_str(self) -> &'static str {
        match self {
            AccessMode::ReadWriteOnce => "ReadWriteOnce",
            AccessMode::ReadWriteMany => "ReadWriteMany",
        }
    }
}

/// Weights to be held, named as `openWeights` names them.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!self.source.matches('^(pvc|file)://')")
        .message("a cache holds what is fetched, and this source is on a claim or a machine already: remove it")
        .field_path(".source"),
    validation = Rule::new("!self.source.matches('(^|/)\\\\.\\\\.?(/|$)') && !self.source.contains('\\\\')")
        .message("source may not contain '.' or '..' segments or backslashes: name the file itself")
        .field_path(".source")
)]
pub struct CachedSource {
    /// As `openWeights.source`.
    #[schemars(length(min = 1, max = 1024))]
    pub source: String,
    /// As `openWeights.revision`. A branch or tag is what it was when it was fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200), regex(pattern = r"^[A-Za-z0-9][-._/A-Za-z0-9]*$"))]
    pub revision: Option<String>,
    /// As `openWeights.digest`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^sha256:[0-9a-f]{64}$"))]
    pub digest: Option<String>,
    /// As `openWeights.hub`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub: Option<Hub>,
    /// As `openWeights.storage`; an image volume needs no cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// As `openWeights.caCertificates`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_certificates: Option<ConfigMapKey>,
}

/// What the operator observed. Times in it are of something that happened, and never move by themselves.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelCacheStatus {
    /// `metadata.generation` that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, ArtifactReady, Ready; each with its reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The claim that the entries are on: of another one, nothing is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<CacheClaimStatus>,
    /// Bytes of all that is held.
    #[serde(default)]
    pub bytes: i64,
    /// What is held, is being fetched, or is to be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub entries: Vec<CacheEntry>,
}

/// A claim as it was seen.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CacheClaimStatus {
    /// Its name.
    pub name: String,
    /// Its UID: a claim that is made anew is empty.
    pub uid: String,
}

/// One source, revision and pinned digest in a cache.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CacheEntry {
    /// Stands for source, revision, hub and pinned digest: what Jobs and labels call it.
    pub name: String,
    /// Its source.
    pub source: String,
    /// Its revision, where one is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// How far it is.
    pub state: EntryState,
    /// Digest of its bytes, once they are there; several files have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Bytes that are there.
    #[serde(default)]
    pub bytes: i64,
    /// Bytes in all, once they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<i64>,
    /// How fast they come, while they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<i64>,
    /// Why it is not there, as a condition's reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Jobs that failed to fetch it, in a row; the next waits longer than the one before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: i32,
    /// Models with pods that use it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<String>,
    /// When it was fetched, or the last pod that used it went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used: Option<MicroTime>,
}

fn is_zero(count: &i32) -> bool {
    *count == 0
}

/// How far an entry is.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum EntryState {
    /// It can't be fetched as it is asked for: `message` says what to mend.
    Refused,
    /// Its turn comes.
    Waiting,
    /// A Job fetches it.
    Fetching,
    /// It was not fetched, and is tried again.
    Failed,
    /// It is there, whole and verified.
    Held,
    /// It goes, to make room.
    Evicting,
}
