//! Condition types and reasons. Positive polarity: `True` is always the good state.

/// The spec passed validation and everything it names exists.
pub const ACCEPTED: &str = "Accepted";
/// Every wanted pod of the current revision has a node.
pub const SCHEDULED: &str = "Scheduled";
/// Every wanted pod of the current revision produced a token (open), or the proxy holds a key (closed).
pub const ENGINE_READY: &str = "EngineReady";
/// The provider takes every key of the account.
pub const CREDENTIALS_VALID: &str = "CredentialsValid";
/// A key of the account can be used now: neither limited nor used up.
pub const QUOTA_AVAILABLE: &str = "QuotaAvailable";
/// Every model that a ModelDeployment names is in the provider's own list, and does not end soon.
pub const MODELS_CURRENT: &str = "ModelsCurrent";
/// No answer came from elsewhere than `dataPolicy.region`.
pub const RESIDENCY_KEPT: &str = "ResidencyKept";
/// Every model that a ModelAccess names is there.
pub const MODELS_FOUND: &str = "ModelsFound";
/// No key of a ModelAccess has ended.
pub const KEYS_CURRENT: &str = "KeysCurrent";
/// What answers behind the pods does: of an external model, its provider.
pub const HEALTHY: &str = "Healthy";
/// Calls can be answered by the current revision.
pub const READY: &str = "Ready";

/// Why a condition is as it is. The string is the API; the message beside it is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Nothing is wrong with the spec.
    Valid,
    /// The spec contradicts itself or says something that is not served.
    InvalidSpec,
    /// `resources.profile` names no ResourceProfile.
    ResourceProfileNotFound,
    /// `external.provider` names no ExternalProvider in this namespace.
    ProviderNotFound,
    /// The Secret, or the key inside it, is missing.
    SecretNotFound,
    /// An object with the name of a child exists and belongs to somebody else.
    ChildNotOwned,
    /// The apiserver refused a child: an admission policy, a quota, or missing rights of the operator.
    ChildRefused,
    /// The apiserver refused a pod of a Deployment: a quota or an admission policy.
    PodsRefused,
    /// The PersistentVolumeClaim that the source names is missing or has no volume.
    ClaimNotReady,
    /// The kubelet could not make the container: a key or a mount is missing.
    ContainerRefused,
    /// All pods have a node.
    PodsScheduled,
    /// The scheduler found no node.
    InsufficientCapacity,
    /// An image could not be pulled.
    ImagePull,
    /// The weights could not be fetched.
    DownloadFailed,
    /// The weights are not the pinned ones.
    DigestMismatch,
    /// The kernel or the engine ran out of memory.
    OutOfMemory,
    /// The container ends and is started again.
    CrashLoop,
    /// Pods are being made, or weights loaded.
    Progressing,
    /// `spec.replicas` is 0.
    ScaledToZero,
    /// The pods of the current revision answer.
    EngineAnswering,
    /// The provider's proxy answers.
    ProxyAnswering,
    /// The provider's proxy does not answer.
    ProxyNotReady,
    /// The provider's proxy does not say how it stands with the provider.
    StateUnknown,
    /// No call and no probe has shown yet whether the provider takes a key.
    NotProven,
    /// The provider takes the keys.
    CredentialsAccepted,
    /// The provider does not take a key.
    CredentialsInvalid,
    /// A key can be used.
    QuotaLeft,
    /// Every key is limited for now.
    RateLimited,
    /// The account's money or quota is used up.
    QuotaExhausted,
    /// The models are in the provider's list.
    ModelsListed,
    /// The provider's list could not be read, or does not tell.
    ModelsNotListed,
    /// A model is not in the provider's list, or not in the namespace.
    ModelNotFound,
    /// A model ends soon, or has ended, by the provider's list.
    ModelRetiring,
    /// Every model that a ModelAccess names is there.
    ModelsFound,
    /// No key has ended.
    KeysCurrent,
    /// A key has ended, and lets nobody in any more.
    KeyEnded,
    /// Every answer came from where it was to.
    RegionKept,
    /// An answer came from elsewhere, or did not say whence.
    RegionMismatch,
    /// The provider answers.
    ProviderAnswering,
    /// The last requests to the provider all failed there or on the way.
    ProviderUnreachable,
    /// Nothing stands in the way of a call.
    Serving,
}

impl Reason {
    /// The reason as written into the condition.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Valid => "Valid",
            Reason::InvalidSpec => "InvalidSpec",
            Reason::ResourceProfileNotFound => "ResourceProfileNotFound",
            Reason::ProviderNotFound => "ProviderNotFound",
            Reason::SecretNotFound => "SecretNotFound",
            Reason::ChildNotOwned => "ChildNotOwned",
            Reason::ChildRefused => "ChildRefused",
            Reason::PodsRefused => "PodsRefused",
            Reason::ClaimNotReady => "ClaimNotReady",
            Reason::ContainerRefused => "ContainerRefused",
            Reason::PodsScheduled => "PodsScheduled",
            Reason::InsufficientCapacity => "InsufficientCapacity",
            Reason::ImagePull => "ImagePull",
            Reason::DownloadFailed => "DownloadFailed",
            Reason::DigestMismatch => "DigestMismatch",
            Reason::OutOfMemory => "OutOfMemory",
            Reason::CrashLoop => "CrashLoop",
            Reason::Progressing => "Progressing",
            Reason::ScaledToZero => "ScaledToZero",
            Reason::EngineAnswering => "EngineAnswering",
            Reason::ProxyAnswering => "ProxyAnswering",
            Reason::ProxyNotReady => "ProxyNotReady",
            Reason::StateUnknown => "StateUnknown",
            Reason::NotProven => "NotProven",
            Reason::CredentialsAccepted => "CredentialsAccepted",
            Reason::CredentialsInvalid => "CredentialsInvalid",
            Reason::QuotaLeft => "QuotaLeft",
            Reason::RateLimited => "RateLimited",
            Reason::QuotaExhausted => "QuotaExhausted",
            Reason::ModelsListed => "ModelsListed",
            Reason::ModelsNotListed => "ModelsNotListed",
            Reason::ModelNotFound => "ModelNotFound",
            Reason::ModelRetiring => "ModelRetiring",
            Reason::ModelsFound => "ModelsFound",
            Reason::KeysCurrent => "KeysCurrent",
            Reason::KeyEnded => "KeyEnded",
            Reason::RegionKept => "RegionKept",
            Reason::RegionMismatch => "RegionMismatch",
            Reason::ProviderAnswering => "ProviderAnswering",
            Reason::ProviderUnreachable => "ProviderUnreachable",
            Reason::Serving => "Serving",
        }
    }
}
