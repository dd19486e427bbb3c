use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, PersistentVolumeClaim, Pod};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde::Deserialize;
use weighbridge_crds::condition::Reason;
use weighbridge_crds::{CacheClaimStatus, CacheEntry, EntryState, ModelCache, labels};

use super::{SecretError, Secrets};
use crate::apply::{CallError, Caller};
use crate::engines::{Said, fetched};
use crate::owner::Owner;
use crate::plan::{ClaimSeen, JobSeen, JobState, ObservedCache, Progress, Work};
use crate::status::PodsView;
use crate::validate::{
    Asker, CacheAsked, CacheReferences, Fetched, KeyLookup, Refusal, Right, as_weights, asks,
};
use crate::watch::Stores;

/// What a ModelDeployment or ModelCache names could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// A Secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The claim.
    #[error("its claim could not be looked at: {0}")]
    Claim(#[source] CallError),
    /// Pods of its Jobs.
    #[error("the pods of its Jobs could not be looked at: {0}")]
    Pods(#[source] CallError),
    /// What pods get claims of devices by.
    #[error("a template of its claims could not be looked at: {0}")]
    ClaimTemplate(#[source] CallError),
}

/// What a ModelCache names and what exists of it.
pub struct Cache {
    /// What is asked of it.
    pub references: CacheReferences,
    /// What exists of it.
    pub observed: ObservedCache,
    /// Whether anything that is asked for lacks a Secret, which nobody watches.
    pub lacks_secret: bool,
}

/// What of the cluster a look at a cache needs.
pub struct Sources<'a> {
    /// The apiserver, for a claim that is not ours to watch.
    pub client: &'a Client,
    /// The one way to it.
    pub caller: &'a Caller,
    /// What is watched.
    pub stores: &'a Stores,
    /// Looks for keys of Secrets.
    pub secrets: &'a Secrets,
    /// What the pods that fetch say, and how fast, by their names.
    pub said: &'a HashMap<String, (Said, Option<u64>)>,
}

/// Looks up what `cache` names, and who asks it to hold something.
///
/// # Errors
/// A Secret or a claim could not be looked at.
pub async fn cache(cache: &ModelCache, owner: &Owner, from: &Sources<'_>) -> Result<Cache, LookError> {
    let namespace = owner.namespace();
    let claims = from.stores.claims.of(owner.uid());
    let claim = claim(cache, owner, &claims, from).await?;
    let recorded = recorded(cache, claim.as_ref());
    let asked = asked(cache, owner, &recorded, from).await?;
    let jobs = jobs(owner, from).await?;
    let missing = |key: &KeyLookup| match key {
        KeyLookup::SecretMissing | KeyLookup::KeyMissing | KeyLookup::Forbidden => true,
        KeyLookup::Unnamed | KeyLookup::Present | KeyLookup::Assumed => false,
    };
    let lacks_secret = asked.iter().any(|asked| match &asked.right {
        Right::Assumed => false,
        Right::Looked { token, credentials } => missing(token) || credentials.iter().any(missing),
    });
    Ok(Cache {
        references: CacheReferences { asked },
        observed: ObservedCache {
            claims,
            claim: claim.map(|(_, seen)| seen),
            network_policies: from.stores.network_policies.of(owner.uid()),
            jobs,
            used: used(from.stores, namespace, owner.name()),
            recorded,
        },
        lacks_secret,
    })
}

/// Its Jobs. One that is complete and has no pod in view that says what came of it may only be so for a moment, for Jobs and
/// pods are watched apart: its pods are looked at then, or it would be made anew as often as pods are told late.
async fn jobs(owner: &Owner, from: &Sources<'_>) -> Result<Vec<JobSeen>, LookError> {
    let jobs = from.stores.jobs.of(owner.uid());
    let all =
        |pods: &[Arc<Pod>]| jobs.iter().filter_map(|job| seen(job, pods, from.said)).collect::<Vec<_>>();
    let found = all(&from.stores.pods.of(owner.uid()));
    if found.iter().all(|job| job.state != JobState::Ended) {
        return Ok(found);
    }
    let api: Api<Pod> = Api::namespaced(from.client.clone(), owner.namespace());
    let of_it = ListParams::default().labels(&format!("{}={}", labels::CACHE_UID, owner.uid()));
    let live = from.caller.read("Pod", api.list(&of_it)).await.map_err(LookError::Pods)?;
    Ok(all(&live.items.into_iter().map(Arc::new).collect::<Vec<_>>()))
}

/// The claim that the spec means, with its name. One that others made is not watched, and one of ours that is not in view may
/// only be so for a moment: both are looked at.
async fn claim(
    cache: &ModelCache,
    owner: &Owner,
    ours: &[Arc<PersistentVolumeClaim>],
    from: &Sources<'_>,
) -> Result<Option<(String, ClaimSeen)>, LookError> {
    let name = cache.spec.claim.name.clone().unwrap_or_else(|| labels::cache_claim(owner.name()));
    let known = ours.iter().find(|claim| claim.name_any() == name && cache.spec.claim.name.is_none());
    let found = match known {
        Some(claim) => Some(Arc::clone(claim)),
        None => {
            let api: Api<PersistentVolumeClaim> = Api::namespaced(from.client.clone(), owner.namespace());
            let found = from.caller.read("PersistentVolumeClaim", api.get_opt(&name)).await;
            found.map_err(LookError::Claim)?.map(Arc::new)
        }
    };
    Ok(found.and_then(|claim| {
        let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
        let trouble = match (claim.metadata.deletion_timestamp.is_some(), phase) {
            (true, _) => Some("is being deleted, and is gone once no pod uses it".to_owned()),
            (false, Some("Lost")) => Some("has lost its volume: see `kubectl describe pvc`".to_owned()),
            // One that is pending may wait for its first pod, which then says what it lacks.
            (false, _) => None,
        };
        Some((name, ClaimSeen { uid: claim.uid()?, trouble }))
    }))
}

/// Entries of the status, as far as they are on this very claim.
fn recorded(cache: &ModelCache, claim: Option<&(String, ClaimSeen)>) -> Vec<CacheEntry> {
    let Some(status) = &cache.status else { return Vec::new() };
    let known = claim.map(|(name, seen)| CacheClaimStatus { name: name.clone(), uid: seen.uid.clone() });
    if known.is_some() && status.claim == known { status.entries.clone() } else { Vec::new() }
}

/// Who asks for what. The right to it is looked up only where it is still to be fetched.
async fn asked(
    cache: &ModelCache,
    owner: &Owner,
    recorded: &[CacheEntry],
    from: &Sources<'_>,
) -> Result<Vec<CacheAsked>, LookError> {
    let namespace = owner.namespace();
    let prefetch = cache.spec.prefetch.iter().map(as_weights).enumerate();
    let mut asked: Vec<_> = prefetch.map(|(index, weights)| (Asker::Prefetch(index), weights)).collect();
    let mut models = from.stores.models.state_filter(|model| {
        model.namespace().as_deref() == Some(namespace)
            && model.metadata.deletion_timestamp.is_none()
            && asks(&model.spec, owner.name()).is_some()
    });
    models.sort_by_key(|model| model.name_any());
    asked.extend(models.iter().filter_map(|model| {
        Some((Asker::Model(model.name_any()), asks(&model.spec, owner.name())?.clone()))
    }));
    let is_held = |entry: &str| {
        recorded.iter().any(|recorded| recorded.name == entry && recorded.state == EntryState::Held)
    };
    let mut found = Vec::with_capacity(asked.len());
    for (by, weights) in asked {
        let all_held = Fetched::asked(&weights, &Right::Assumed)
            .is_ok_and(|fetched| fetched.all().all(|located| is_held(&located.entry())));
        let right = if all_held {
            Right::Assumed
        } else {
            let token = match weights.hub.as_ref().and_then(|hub| hub.token_secret.as_ref()) {
                Some(named) => from.secrets.look(namespace, named).await?,
                None => KeyLookup::Unnamed,
            };
            let credentials = from.secrets.look_for(namespace, &weights.needed_credentials()).await?;
            Right::Looked { token, credentials }
        };
        found.push(CacheAsked { by, weights, right });
    }
    Ok(found)
}

/// Models with pods that read an entry, or will in a moment, by the entry's name. Pods count until they have ended, whatever
/// became of what made them.
fn used(stores: &Stores, namespace: &str, cache: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut note = |all: Option<&BTreeMap<String, String>>| {
        let model = all.and_then(|all| all.get(labels::MODEL)).cloned().unwrap_or_default();
        for (label, of) in all.into_iter().flatten() {
            if let Some(entry) = label.strip_prefix(labels::HELD_PREFIX).filter(|_| of == cache) {
                used.entry(entry.to_owned()).or_default().insert(model.clone());
            }
        }
    };
    let pods = stores.pods.that(|pod: &Pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        pod.namespace().as_deref() == Some(namespace) && !matches!(phase, Some("Succeeded" | "Failed"))
    });
    pods.iter().for_each(|pod| note(pod.metadata.labels.as_ref()));
    let deployments = stores.deployments.that(|deployment| {
        let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas);
        deployment.namespace().as_deref() == Some(namespace) && replicas != Some(0)
    });
    for deployment in &deployments {
        let template = deployment.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
        note(template.and_then(|template| template.labels.as_ref()));
    }
    used
}

/// What a fetch says last.
#[derive(Deserialize)]
struct FilledWords {
    digest: Option<String>,
    bytes: u64,
}

/// What making room says last.
#[derive(Deserialize)]
struct EvictedWords {
    kept: Vec<String>,
}

/// A Job of a cache; `None` where it is none that a plan of ours makes.
fn seen(job: &Job, pods: &[Arc<Pod>], said: &HashMap<String, (Said, Option<u64>)>) -> Option<JobSeen> {
    let uid = job.uid()?;
    let own: Vec<&Pod> = pods
        .iter()
        .map(AsRef::as_ref)
        .filter(|pod| pod.owner_references().iter().any(|owner| owner.uid == uid))
        .collect();
    let work = work(job)?;
    let state = state(job, &work, own, said);
    let made_from = job.labels().get(labels::REVISION).cloned().unwrap_or_default();
    Some(JobSeen { name: job.name_any(), uid, work, made_from, state })
}

fn work(job: &Job) -> Option<Work> {
    let pod = job.spec.as_ref()?.template.spec.as_ref()?;
    let arguments = pod.containers.first()?.args.as_deref().unwrap_or_default();
    let value = |flag: &str| {
        let flag = format!("--{flag}=");
        arguments.iter().find_map(|argument| argument.strip_prefix(&flag).map(str::to_owned))
    };
    match arguments.first().map(String::as_str) {
        Some("fetch") => Some(Work::Fetch {
            entry: value("entry")?,
            source: value("source")?,
            revision: value("revision"),
            failures: job.labels().get(labels::FAILURES).and_then(|count| count.parse().ok()).unwrap_or(0),
        }),
        Some("evict") => {
            let entries = arguments.iter().filter_map(|argument| argument.strip_prefix("--entry="));
            Some(Work::Evict { entries: entries.map(str::to_owned).collect() })
        }
        Some(_) | None => None,
    }
}

fn state(
    job: &Job,
    work: &Work,
    mut pods: Vec<&Pod>,
    said: &HashMap<String, (Said, Option<u64>)>,
) -> JobState {
    if job.metadata.deletion_timestamp.is_some() {
        return JobState::Going;
    }
    // The last one last.
    pods.sort_by_key(|pod| (pod.creation_timestamp(), pod.name_any()));
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let is = |type_: &str| {
        conditions.iter().find(|condition| condition.type_ == type_ && condition.status == "True")
    };
    if is("Complete").is_some() {
        return pods
            .iter()
            .rev()
            .find_map(|pod| ended(pod))
            .map_or(JobState::Ended, |words| said_last(work, &words));
    }
    if let Some(failed) = is("Failed") {
        let JobCondition { last_transition_time, message, .. } = failed;
        let trouble = pods.iter().rev().find_map(|pod| PodsView::of(pod).not_running());
        let why = match trouble {
            Some(trouble) => Refusal::new(trouble.reason, trouble.message),
            None => Refusal::new(Reason::DownloadFailed, message.clone().unwrap_or_default()),
        };
        let at = last_transition_time.as_ref().map(|time| time.0).unwrap_or_default();
        return JobState::Failed { at, why };
    }
    let Some(last) = pods.last() else { return JobState::Running { progress: None, trouble: None } };
    let view = PodsView::of(last);
    let trouble = view.unplaced().or_else(|| view.not_running().filter(|_| ended(last).is_none()));
    let trouble = trouble.map(|trouble| Refusal::new(trouble.reason, trouble.message));
    let progress = said.get(&last.name_any()).and_then(|(said, per_second)| match said {
        Said::Starting(words) => {
            let (bytes, total) = fetched(words)?;
            Some(Progress { bytes, total, per_second: *per_second })
        }
        Said::Nothing | Said::Started { .. } => None,
    });
    JobState::Running { progress, trouble }
}

/// The last words of a pod that ended well.
fn ended(pod: &Pod) -> Option<String> {
    let containers = pod.status.as_ref()?.container_statuses.as_deref()?;
    let ended = containers.iter().find_map(|container| container.state.as_ref()?.terminated.as_ref());
    let ContainerStateTerminated { exit_code, message, .. } = ended?;
    (*exit_code == 0).then(|| message.clone().unwrap_or_default())
}

fn said_last(work: &Work, words: &str) -> JobState {
    match work {
        Work::Fetch { .. } => serde_json::from_str(words).map_or(JobState::Ended, |said: FilledWords| {
            JobState::Fetched { digest: said.digest, bytes: said.bytes }
        }),
        Work::Evict { .. } => serde_json::from_str(words)
            .map_or(JobState::Ended, |said: EvictedWords| JobState::Evicted { kept: said.kept }),
    }
}
