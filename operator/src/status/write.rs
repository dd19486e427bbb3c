use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use weighbridge_crds::condition::Reason;
use weighbridge_crds::labels::MANAGED_BY;
use weighbridge_crds::{
    ExternalProvider, ExternalProviderStatus, ModelAccess, ModelAccessStatus, ModelDeployment,
    ModelDeploymentStatus, condition,
};

use super::conditions::ours;
use crate::apply::{CallError, Caller};

/// A change of Ready's reason, for an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyChange {
    /// Whether it is ready now.
    pub good: bool,
    /// The new reason.
    pub reason: String,
    /// The new message.
    pub message: String,
}

/// Writes the status of a ModelDeployment, unless it says so already.
///
/// # Errors
/// The apiserver did not take it.
pub async fn write_model(
    client: &Client,
    caller: &Caller,
    model: &ModelDeployment,
    new: &ModelDeploymentStatus,
) -> Result<Option<ReadyChange>, CallError> {
    let old = model.status.clone().unwrap_or_default();
    let conditions = ours(&old.conditions);
    let change = ready_change(&conditions, &new.conditions);
    if model.status.is_some() && (ModelDeploymentStatus { conditions, ..old } == *new) {
        return Ok(None);
    }
    write(client, caller, model, new).await?;
    Ok(change)
}

/// Writes the status of an ExternalProvider, unless it says so already.
///
/// # Errors
/// The apiserver did not take it.
pub async fn write_provider(
    client: &Client,
    caller: &Caller,
    provider: &ExternalProvider,
    new: &ExternalProviderStatus,
) -> Result<Option<ReadyChange>, CallError> {
    let old = provider.status.clone().unwrap_or_default();
    let conditions = ours(&old.conditions);
    let change = ready_change(&conditions, &new.conditions);
    if provider.status.is_some() && (ExternalProviderStatus { conditions, ..old } == *new) {
        return Ok(None);
    }
    write(client, caller, provider, new).await?;
    Ok(change)
}

/// Writes the status of a ModelAccess, unless it says so already.
///
/// # Errors
/// The apiserver did not take it.
pub async fn write_access(
    client: &Client,
    caller: &Caller,
    access: &ModelAccess,
    new: &ModelAccessStatus,
) -> Result<(), CallError> {
    let old = access.status.clone().unwrap_or_default();
    let conditions = ours(&old.conditions);
    if access.status.is_some() && (ModelAccessStatus { conditions, ..old } == *new) {
        return Ok(());
    }
    write(client, caller, access, new).await
}

async fn write<K>(
    client: &Client,
    caller: &Caller,
    parent: &K,
    status: &impl Serialize,
) -> Result<(), CallError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + DeserializeOwned
        + Clone
        + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), &parent.namespace().unwrap_or_default());
    // The UID is the precondition: an object of the same name made anew has a status of its own.
    let body = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": { "name": parent.name_any(), "uid": parent.uid() },
        "status": status,
    });
    let parameters = PatchParams::apply(MANAGED_BY).force();
    let body = Patch::Apply(body);
    let name = parent.name_any();
    caller
        .write("apply-status", &K::kind(&()), Box::pin(api.patch_status(&name, &parameters, &body)))
        .await
        .map(|_| ())
}

/// The first word on an object is news only if it is bad: that its children were made is an Event already.
fn ready_change(old: &[Condition], new: &[Condition]) -> Option<ReadyChange> {
    let ready =
        |conditions: &[Condition]| conditions.iter().find(|found| found.type_ == condition::READY).cloned();
    let now = ready(new)?;
    let changed = match ready(old) {
        Some(before) => before.reason != now.reason || before.status != now.status,
        None => now.reason != Reason::Progressing.as_str(),
    };
    changed.then(|| ReadyChange { good: now.status == "True", reason: now.reason, message: now.message })
}
