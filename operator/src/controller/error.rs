use crate::apply::{ApplyError, CallError};
use crate::dereference::{LookError, SecretError};
use crate::validate::Refusal;

/// A reconcile that did not go through. One variant a step.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// What the spec names could not be looked up.
    #[error("dereference: {0}")]
    Dereference(#[source] SecretError),
    /// What a ModelDeployment or ModelCache names could not be looked up.
    #[error("dereference: {0}")]
    Look(#[source] LookError),
    /// The object has no identity to make children from.
    #[error("identify: {0}")]
    Identify(#[source] Refusal),
    /// The plan was not carried out whole.
    #[error("apply: {0}")]
    Apply(#[source] ApplyError),
    /// The status was not written.
    #[error("update status: {0}")]
    Status(#[source] CallError),
}

/// What a failure asks for, and its name in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// Another process leads: nothing to do until it does not.
    NotLeading,
    /// The view was old, or somebody wrote at the same time: the next view decides.
    Conflict,
    /// No answer in time.
    Timeout,
    /// The apiserver refused, or could not be reached, or what it was to be given could not be made.
    Api,
    /// The object itself.
    Invalid,
}

impl Category {
    /// The category as written into metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Category::NotLeading => "not_leading",
            Category::Conflict => "conflict",
            Category::Timeout => "timeout",
            Category::Api => "api_error",
            Category::Invalid => "invalid",
        }
    }
}

impl ReconcileError {
    /// What this failure asks for.
    pub fn category(&self) -> Category {
        match self {
            ReconcileError::Dereference(error) => of_call(&error.source),
            ReconcileError::Identify(_) => Category::Invalid,
            ReconcileError::Look(error) => match error {
                LookError::Secret(error) => of_call(&error.source),
                LookError::Claim(error) | LookError::Pods(error) | LookError::ClaimTemplate(error) => {
                    of_call(error)
                }
            },
            ReconcileError::Status(error) => of_call(error),
            ReconcileError::Apply(error) => match error {
                ApplyError::StaleParent | ApplyError::Terminating { .. } | ApplyError::GuardBroken { .. } => {
                    Category::Conflict
                }
                ApplyError::NotOwned { .. }
                | ApplyError::NoImageVolumes
                | ApplyError::NoClaims
                | ApplyError::SecretsForbidden => Category::Invalid,
                ApplyError::Issue(_) | ApplyError::NoAuthority => Category::Api,
                ApplyError::Call(error) => of_call(error),
            },
        }
    }
}

fn of_call(error: &CallError) -> Category {
    match error {
        CallError::NotLeading => Category::NotLeading,
        CallError::Timeout { .. } => Category::Timeout,
        CallError::Api { .. } => {
            let gone = error.status().is_some_and(|status| status.code == 404);
            if gone || error.is_conflict() { Category::Conflict } else { Category::Api }
        }
    }
}
