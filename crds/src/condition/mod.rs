//! Condition types and reasons. Positive polarity: `True` is always the good state.
//!
//! Both are tables, from which `docs/operator.md` is made: whoever adds a reason says there what to do about it.

mod page;
mod reason;

pub use page::page;
pub use reason::Reason;

/// Names condition types, and lists them for the page.
macro_rules! types {
    ($($constant:ident, $name:literal, $kinds:literal, $meaning:literal;)*) => {
        $(#[doc = $meaning] pub const $constant: &str = $name;)*

        /// Each condition type with the kinds that have it and what it means where it is `True`.
        pub const TYPES: &[(&str, &str, &str)] = &[$(($name, $kinds, $meaning),)*];
    };
}

types! {
    ACCEPTED, "Accepted", "ModelDeployment, ExternalProvider, ModelCache",
        "The spec passed validation and everything it names exists.";
    ARTIFACT_READY, "ArtifactReady", "ModelDeployment with `cache`, ModelCache",
        "The ModelCache holds the weights that the model names, or all that it is to hold.";
    SCHEDULED, "Scheduled", "ModelDeployment, ExternalProvider",
        "Every wanted pod of the current revision has a node.";
    ENGINE_READY, "EngineReady", "ModelDeployment, ExternalProvider",
        "Every wanted pod of the current revision produced a token (open), or the proxy holds a key (closed).";
    ROUTABLE, "Routable", "ModelDeployment",
        "Every ready gateway says that it sends calls to a pod of the current revision (open), or to the provider's proxy (closed).";
    CREDENTIALS_VALID, "CredentialsValid", "ExternalProvider",
        "The provider takes every key of the account.";
    QUOTA_AVAILABLE, "QuotaAvailable", "ExternalProvider",
        "A key of the account can be used now: neither limited nor used up.";
    MODELS_CURRENT, "ModelsCurrent", "ExternalProvider",
        "Every model that a ModelDeployment names is in the provider's own list, and does not end soon.";
    RESIDENCY_KEPT, "ResidencyKept", "ExternalProvider",
        "No answer came from elsewhere than `dataPolicy.region`.";
    MODELS_FOUND, "ModelsFound", "ModelAccess",
        "Every model that a ModelAccess names is there.";
    KEYS_CURRENT, "KeysCurrent", "ModelAccess",
        "No key of a ModelAccess has ended.";
    ACTIVE, "Active", "ModelDeployment",
        "Nobody has taken the model out of service by `spec.suspend`.";
    ROLLED_OUT, "RolledOut", "ModelDeployment",
        "By `rollout.strategy: Canary`: no revision is on trial, nor was the last one aborted.";
    HEALTHY, "Healthy", "ModelDeployment, ExternalProvider",
        "What answers behind the pods does: of an external model, its provider.";
    READY, "Ready", "every kind but ResourceProfile",
        "Calls can be answered by the current revision.";
}
