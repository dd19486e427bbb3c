//! API types of `serving.weighbridge.dev`, their CEL rules, and the manifests generated from them.
//!
//! Knows no client, no runtime and no clock. Reading accepts fields it does not know, so that an operator
//! older than the CRD keeps working; strictness belongs to the apiserver and, with no cluster, to
//! [`manifest`].

#![allow(clippy::duplicated_attributes, reason = "kube's derive reads repeated `printcolumn` attributes")]

pub mod adapter;
pub mod address;
mod byte_size;
mod canary;
pub mod condition;
mod data_policy;
mod external_provider;
mod gateway_state;
mod gpu_count;
mod hold;
pub mod labels;
pub mod manifest;
mod model_access;
mod model_cache;
mod model_deployment;
mod past_revision;
mod precision;
mod provider_state;
mod resource_profile;
mod rollout;
mod secret_key;
mod served;
mod signature;
mod sleep;
pub mod source;
mod storage;
mod time_span;

pub use byte_size::{ByteSize, ByteSizeError};
pub use canary::{
    AbortThresholds, Canary, CanaryStep, Capacity, CapacityError, Latencies, OnInconclusive, Pause,
    Promotion, RevisionFigures, RolloutPhase, RolloutStatus, TrialFigures, TrialKey,
};
pub use data_policy::{DataPolicy, OnMismatch, Retention};
pub use external_provider::{
    ApiKey, BedrockPlace, ExternalProvider, ExternalProviderSpec, ExternalProviderStatus, ProviderKeyStatus,
    ProviderKind, VertexPlace,
};
pub use gateway_state::{GatewayState, GoneModel, ModelRoutes};
pub use gpu_count::GpuCount;
pub use hold::{Hold, HoldShare};
pub use model_access::{AccessKey, EVERY_MODEL, ModelAccess, ModelAccessSpec, ModelAccessStatus};
pub use model_cache::{
    AccessMode, CacheClaim, CacheClaimStatus, CacheEntry, CachedSource, EntryState, ModelCache,
    ModelCacheSpec, ModelCacheStatus,
};
pub use model_deployment::{
    Adapter, DEFAULT_DRAIN, Engine, External, Hub, InspectedModel, ModelDeployment, ModelDeploymentSpec,
    ModelDeploymentStatus, OpenWeights, OutOfService, Resources, StartPhase, World,
};
pub use past_revision::{PastRevision, newest_first};
pub use precision::{KvCacheType, Quantization, UnknownWord};
pub use provider_state::{
    KeyCondition, KeyState, ListedModel, ModelList, ProviderState, ResidencyMismatch, UpstreamError,
    UpstreamHealth,
};
pub use resource_profile::{Device, Gpu, ResourceProfile, ResourceProfileSpec};
pub use rollout::{Rollout, RolloutStrategy};
pub use secret_key::SecretKey;
pub use served::Served;
pub use signature::Signature;
pub use sleep::{Sleep, SleepingWeights};
pub use storage::{
    ACCESS_KEY_ID, ConfigMapKey, CredentialKey, DOCKER_CONFIG_KEY, SECRET_ACCESS_KEY, SERVICE_ACCOUNT_KEY,
    SESSION_TOKEN, SecretName, Storage, TOKEN_KEY,
};
pub use time_span::{TimeSpan, TimeSpanError};

/// API group of every kind here.
pub const GROUP: &str = "serving.weighbridge.dev";

/// The CustomResourceDefinitions, in the order of their file names.
pub fn custom_resource_definitions()
-> Vec<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition> {
    use kube::CustomResourceExt;
    vec![
        ExternalProvider::crd(),
        ModelAccess::crd(),
        ModelCache::crd(),
        ModelDeployment::crd(),
        ResourceProfile::crd(),
    ]
}
