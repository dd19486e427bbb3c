use json_patch::jsonptr::PointerBuf;
use json_patch::{
    AddOperation, CopyOperation, MoveOperation, PatchOperation, RemoveOperation, TestOperation,
};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams};
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
    if model.status.is_some() && (ModelDeploymentStatus { conditions, ..old } == *new) {
        return Ok(Vec::new());
    }
    let told = write(means, model, model.status.as_ref(), new, trial_is_as_seen(model)).await?;
    Ok(if told { changes } else { Vec::new() })
}

/// What must hold on the server for a status to follow on what was seen of `model`: the trial is where it was, and none has
/// begun or ended. By an old view, or a call that arrives late, it would be taken a step back. Of what else is in the status
/// nothing is held, so that somebody who writes there all the time keeps no status from the model.
fn trial_is_as_seen(model: &ModelDeployment) -> Vec<PatchOperation> {
    let Some(status) = &model.status else {
        // Nothing is there yet to go by, and without another spec no trial begins.
        return vec![is(&["metadata", "generation"], json!(model.metadata.generation))];
    };
    // Field by field: what another version knows beside them is none of this one's business.
    let seen = json!(status.rollout);
    let Some(fields) = seen.as_object() else { return vec![is(&["status", "rollout"], Value::Null)] };
    fields.iter().map(|(name, value)| is(&["status", "rollout", name], value.clone())).collect()
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
    let told = write(means, provider, provider.status.as_ref(), new, Vec::new()).await?;
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
    let told = write(means, cache, cache.status.as_ref(), new, Vec::new()).await?;
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
    write(means, access, access.status.as_ref(), new, Vec::new()).await.map(drop)
}

/// Writes `status` where `old` is and all of `tests` holds, and returns whether it was sent.
async fn write<K, S>(
    means: &Means,
    parent: &K,
    old: Option<&S>,
    status: &S,
    tests: Vec<PatchOperation>,
) -> Result<bool, CallError>
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
    let uid = is(&["metadata", "uid"], json!(parent.uid()));
    let tests = [vec![uid], tests].concat();
    let patch = Patch::Json::<()>(replacing(tests, &said(&old), json!(status)));
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

/// What puts `status` in the place of the one that is there, where all of `tests` holds: the UID among them, at which
/// server-side apply would not look, so that an object of the same name made anew keeps a status of its own.
///
/// Guarantees: conditions of others that were `seen` stay as they are by now, or nothing is written.
fn replacing(tests: Vec<PatchOperation>, seen: &Value, status: Value) -> json_patch::Patch {
    let conditions = seen["said"]["conditions"].as_array().into_iter().flatten().enumerate();
    let types = conditions.filter_map(|(place, seen)| Some((place.to_string(), seen["type"].as_str()?)));
    let theirs: Vec<_> = types.filter(|(_, type_)| !OURS.contains(type_)).collect();
    let put = PatchOperation::Add(AddOperation { path: at(&["status"]), value: status });
    let mut edits = tests;
    if theirs.is_empty() {
        edits.push(put);
        return json_patch::Patch(edits);
    }
    // They wait beside the status while it is replaced whole.
    edits.push(PatchOperation::Add(AddOperation { path: at(&["theirs"]), value: json!([]) }));
    for (place, type_) in &theirs {
        edits.push(is(&["status", "conditions", place, "type"], json!(type_)));
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

fn at(tokens: &[&str]) -> PointerBuf {
    PointerBuf::from_tokens(tokens.iter().copied())
}

/// Fails where what is at `tokens` is not `value`; of null, where anything is.
fn is(tokens: &[&str], value: Value) -> PatchOperation {
    PatchOperation::Test(TestOperation { path: at(tokens), value })
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
