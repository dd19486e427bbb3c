use json_patch::jsonptr::PointerBuf;
use json_patch::{
    AddOperation, CopyOperation, MoveOperation, PatchOperation, RemoveOperation, TestOperation,
};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams};
use kube::core::Status;
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use weighbridge_crds::condition::Reason;
use weighbridge_crds::labels::MANAGED_BY;
use weighbridge_crds::{
    ExternalProvider, ExternalProviderStatus, ModelAccess, ModelAccessStatus, ModelCache, ModelCacheStatus,
    ModelDeployment, ModelDeploymentStatus, condition,
};

use super::conditions::{OURS, ours};
use crate::apply::{CallError, Means};

/// A change of Ready's reason, or of a trial, for an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyChange {
    /// Whether it is ready now.
    pub good: bool,
    /// The new reason.
    pub reason: String,
    /// The new message.
    pub message: String,
}

/// Writes the status of a ModelDeployment, unless it says so already. Returns what is news of Ready and of a trial.
///
/// Guarantees: a trial goes on from where it was seen to be, or not at all.
///
/// # Errors
/// The apiserver did not take it.
pub async fn write_model(
    means: &Means,
    model: &ModelDeployment,
    new: &ModelDeploymentStatus,
) -> Result<Vec<ReadyChange>, CallError> {
    let old = model.status.clone().unwrap_or_default();
    let conditions = ours(&old.conditions);
    let changes = ready_change(&conditions, &new.conditions).into_iter().chain(trial_change(&old, new));
    let changes: Vec<_> = changes.collect();
    let on_trial = old.rollout.is_some() || new.rollout.is_some();
    if model.status.is_some() && (ModelDeploymentStatus { conditions, ..old } == *new) {
        return Ok(Vec::new());
    }
    if on_trial {
        trial_is_as_seen(means, model).await?;
    }
    let told = write(means, model, model.status.as_ref(), new).await?;
    Ok(if told { changes } else { Vec::new() })
}

/// Looks at whether the trial is where it was seen to be: by an old view it would be taken a step back. Who leads writes it and
/// nobody else, so that a look is enough, and somebody who writes to the model all the time keeps no status from it.
async fn trial_is_as_seen(means: &Means, model: &ModelDeployment) -> Result<(), CallError> {
    let api: Api<ModelDeployment> =
        Api::namespaced(means.client.clone(), &model.namespace().unwrap_or_default());
    let name = model.name_any();
    let live = means.caller.read("ModelDeployment", api.get_opt(&name)).await?;
    let trial = |model: &ModelDeployment| model.status.as_ref().and_then(|status| status.rollout.clone());
    if live.is_some_and(|live| live.uid() == model.uid() && trial(&live) == trial(model)) {
        return Ok(());
    }
    let status = Status::failure("the trial is not where it was seen to be", "Conflict").with_code(409);
    Err(CallError::Api {
        verb: "patch-status",
        kind: "ModelDeployment".to_owned(),
        source: Box::new(kube::Error::Api(Box::new(status))),
    })
}

/// Writes the status of an ExternalProvider, unless it says so already.
///
/// # Errors
/// The apiserver did not take it.
pub async fn write_provider(
    means: &Means,
    provider: &ExternalProvider,
    new: &ExternalProviderStatus,
) -> Result<Option<ReadyChange>, CallError> {
    let old = provider.status.clone().unwrap_or_default();
    let conditions = ours(&old.conditions);
    let change = ready_change(&conditions, &new.conditions);
    if provider.status.is_some() && (ExternalProviderStatus { conditions, ..old } == *new) {
        return Ok(None);
    }
    let told = write(means, provider, provider.status.as_ref(), new).await?;
    Ok(change.filter(|_| told))
}

/// Writes the status of a ModelCache, unless it says so already.
///
/// # Errors
/// The apiserver did not take it.
pub async fn write_cache(
    means: &Means,
    cache: &ModelCache,
    new: &ModelCacheStatus,
) -> Result<Option<ReadyChange>, CallError> {
    let old = cache.status.clone().unwrap_or_default();
    let conditions = ours(&old.conditions);
    let change = ready_change(&conditions, &new.conditions);
    if cache.status.is_some() && (ModelCacheStatus { conditions, ..old } == *new) {
        return Ok(None);
    }
    let told = write(means, cache, cache.status.as_ref(), new).await?;
    Ok(change.filter(|_| told))
}

/// Writes the status of a ModelAccess, unless it says so already.
///
/// # Errors
/// The apiserver did not take it.
pub async fn write_access(
    means: &Means,
    access: &ModelAccess,
    new: &ModelAccessStatus,
) -> Result<(), CallError> {
    let old = access.status.clone().unwrap_or_default();
    let conditions = ours(&old.conditions);
    if access.status.is_some() && (ModelAccessStatus { conditions, ..old } == *new) {
        return Ok(());
    }
    write(means, access, access.status.as_ref(), new).await.map(drop)
}

/// Writes `status` where `old` is, and returns whether it was sent.
async fn write<K, S>(means: &Means, parent: &K, old: Option<&S>, status: &S) -> Result<bool, CallError>
where
    S: Serialize,
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Serialize
        + DeserializeOwned
        + Clone
        + std::fmt::Debug,
{
    // Where the server keeps it otherwise than asked, asking again would change nothing and never end.
    let (key, wanted) = (format!("status of {}", parent.uid().unwrap_or_default()), said(&status));
    if means.settled.knows(&key, &wanted, &said(&old)) {
        return Ok(false);
    }
    let api: Api<K> = Api::namespaced(means.client.clone(), &parent.namespace().unwrap_or_default());
    let parameters = PatchParams { field_manager: Some(MANAGED_BY.to_owned()), ..PatchParams::default() };
    let patch = Patch::Json::<()>(replacing(parent.uid().as_deref(), &said(&old), json!(status)));
    let name = parent.name_any();
    let written = Box::pin(api.patch_status(&name, &parameters, &patch));
    let made = means.caller.write("patch-status", &K::kind(&()), written).await?;
    // Status and echo are maps with string keys: turning them into values can't fail.
    let echo = serde_json::to_value(&made).unwrap_or_default()["status"].take();
    if json!(status) == echo {
        means.settled.forget(&key);
    } else {
        means.settled.remember(&key, &wanted, &said(&echo));
    }
    Ok(true)
}

/// What puts `status` in the place of the one that is there.
///
/// Guarantees: an object of the same name made anew, with another UID than `uid`, keeps the status of its own, where server-side
/// apply looks at no UID. Conditions of others that were `seen` stay as they are by now, or nothing is written.
fn replacing(uid: Option<&str>, seen: &Value, status: Value) -> json_patch::Patch {
    let at = |tokens: &[&str]| PointerBuf::from_tokens(tokens.iter().copied());
    let is = |path, value| PatchOperation::Test(TestOperation { path, value });
    let conditions = seen["said"]["conditions"].as_array().into_iter().flatten().enumerate();
    let types = conditions.filter_map(|(place, seen)| Some((place.to_string(), seen["type"].as_str()?)));
    let theirs: Vec<_> = types.filter(|(_, type_)| !OURS.contains(type_)).collect();
    let put = PatchOperation::Add(AddOperation { path: at(&["status"]), value: status });
    let mut edits = vec![is(at(&["metadata", "uid"]), json!(uid))];
    if theirs.is_empty() {
        edits.push(put);
        return json_patch::Patch(edits);
    }
    // They wait beside the status while it is replaced whole.
    edits.push(PatchOperation::Add(AddOperation { path: at(&["theirs"]), value: json!([]) }));
    for (place, type_) in &theirs {
        edits.push(is(at(&["status", "conditions", place, "type"]), json!(type_)));
        let from = at(&["status", "conditions", place]);
        edits.push(PatchOperation::Copy(CopyOperation { from, path: at(&["theirs", "-"]) }));
    }
    edits.push(put);
    edits.extend(theirs.iter().map(|_| {
        let (from, path) = (at(&["theirs", "0"]), at(&["status", "conditions", "-"]));
        PatchOperation::Move(MoveOperation { from, path })
    }));
    edits.push(PatchOperation::Remove(RemoveOperation { path: at(&["theirs"]) }));
    json_patch::Patch(edits)
}

/// What is remembered of a status.
fn said(status: &impl Serialize) -> Value {
    json!({ "said": status })
}

/// A step of a trial, or its end, is news.
fn trial_change(old: &ModelDeploymentStatus, new: &ModelDeploymentStatus) -> Option<ReadyChange> {
    let place = |status: &ModelDeploymentStatus| {
        let trial = status.rollout.as_ref()?;
        Some((trial.canary.clone(), trial.phase, trial.step, trial.traffic))
    };
    let said = new.conditions.iter().find(|found| found.type_ == condition::ROLLED_OUT)?;
    (place(old) != place(new)).then(|| ReadyChange {
        good: said.status == "True",
        reason: said.reason.clone(),
        message: said.message.clone(),
    })
}

/// The first word on an object is news only if it is bad: that its children were made is an Event already. That a start went
/// well is in the status, and no news beside it.
fn ready_change(old: &[Condition], new: &[Condition]) -> Option<ReadyChange> {
    let ready =
        |conditions: &[Condition]| conditions.iter().find(|found| found.type_ == condition::READY).cloned();
    let now = ready(new)?;
    let changed = match ready(old) {
        Some(before) if before.reason == Reason::Progressing.as_str() => {
            now.status != "True" && before.reason != now.reason
        }
        Some(before) => before.reason != now.reason || before.status != now.status,
        None => now.reason != Reason::Progressing.as_str(),
    };
    changed.then(|| ReadyChange { good: now.status == "True", reason: now.reason, message: now.message })
}
