//! From 0 to 1, by the `scale` subresource.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use weighbridge_crds::ModelDeployment;

use crate::directory::Deployment;

/// In `managedFields`, and in an audit log.
const FIELD_MANAGER: &str = "weighbridge-gateway";
/// For the apiserver to answer once.
const CALL: Duration = Duration::from_secs(5);
/// Tries where the apiserver fails, pauses growing between them: it may be one of several that is being replaced.
const TRIES: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Looks where somebody else writes to the same object between our look and our write, as the operator does to its status.
const LOOKS: u32 = 8;

/// A model that is not at zero any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// By us.
    Written,
    /// By somebody else, before us.
    Before,
}

/// A model is not woken. For the log: callers are told [`WakeError::why`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum WakeError {
    /// The apiserver refuses, or can't be reached.
    #[error("the apiserver does not take it")]
    Apiserver(#[source] kube::Error),
    /// The apiserver does not answer.
    #[error("the apiserver did not answer within {CALL:?}")]
    Silent,
    /// Others write to it faster than we look.
    #[error("it changed at each of {LOOKS} looks")]
    Contended,
    /// What the apiserver shows has no revision.
    #[error("its scale has no resourceVersion")]
    Unguarded,
    /// This gateway ends.
    #[error("this gateway ends")]
    Stopped,
}

impl WakeError {
    /// In words that end a sentence, for a caller.
    pub(crate) fn why(&self) -> &'static str {
        match self {
            Self::Apiserver(kube::Error::Api(status)) if status.code == 403 => {
                "the gateway is not allowed to scale it"
            }
            Self::Apiserver(kube::Error::Api(status)) if status.code < 500 => {
                "the cluster refuses to scale it"
            }
            Self::Apiserver(_) | Self::Silent | Self::Contended | Self::Unguarded => {
                "the cluster can't be asked to scale it now"
            }
            Self::Stopped => "this gateway ends",
        }
    }

    /// Whether another try may do better.
    fn may_pass(&self) -> bool {
        match self {
            Self::Apiserver(kube::Error::Api(status)) => status.code >= 500 || status.code == 429,
            Self::Apiserver(_) | Self::Silent => true,
            Self::Contended | Self::Unguarded | Self::Stopped => false,
        }
    }
}

/// Makes `model` one replica if it has none.
///
/// # Errors
/// Where the apiserver does not take it, after as many tries as may help.
pub(super) async fn scale_from_zero(client: &Client, model: &Deployment) -> Result<Woken, WakeError> {
    let api: Api<ModelDeployment> = Api::namespaced(client.clone(), &model.namespace);
    let (mut tries, mut pause) = (1, FIRST_PAUSE);
    loop {
        match guarded(&api, &model.name).await {
            Err(error) if error.may_pass() && tries < TRIES => {
                tokio::time::sleep(pause).await;
                (tries, pause) = (tries + 1, 2 * pause);
            }
            ended => return ended,
        }
    }
}

/// Writes 1 where a look shows 0, on condition that nothing was written since that look.
async fn guarded(api: &Api<ModelDeployment>, name: &str) -> Result<Woken, WakeError> {
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    for _ in 0..LOOKS {
        let scale = within(api.get_scale(name)).await?;
        // 0 may be left out.
        if scale.spec.and_then(|spec| spec.replicas).unwrap_or(0) != 0 {
            return Ok(Woken::Before);
        }
        // Without it the write would be on no condition.
        let seen = scale.metadata.resource_version.ok_or(WakeError::Unguarded)?;
        let one = json!({"metadata": {"resourceVersion": seen}, "spec": {"replicas": 1}});
        match within(api.patch_scale(name, &params, &Patch::Merge(&one))).await {
            Ok(_) => return Ok(Woken::Written),
            Err(WakeError::Apiserver(kube::Error::Api(status))) if status.code == 409 => {}
            Err(error) => return Err(error),
        }
    }
    Err(WakeError::Contended)
}

async fn within<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, WakeError> {
    let answered = tokio::time::timeout(CALL, call).await;
    answered.map_err(|_| WakeError::Silent)?.map_err(WakeError::Apiserver)
}
