//! Condition types and reasons. Positive polarity: `True` is always the good state.

/// The spec passed validation and everything it names exists.
pub const ACCEPTED: &str = "Accepted";
/// Every wanted pod of the current revision has a node.
pub const SCHEDULED: &str = "Scheduled";
/// Every wanted pod of the current revision produced a token (open), or the proxy holds a key (closed).
pub const ENGINE_READY: &str = "EngineReady";
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
            Reason::Serving => "Serving",
        }
    }
}
