use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use weighbridge_crds::condition::{self, Reason};
use weighbridge_crds::{
    ExternalProvider, InspectedModel, ModelDeployment, ModelDeploymentStatus, OutOfService, PastRevision,
    RolloutPhase, RolloutStatus, StartPhase, World, labels, newest_first,
};

use super::conditions::{Says, Truth, current, is_ready, merge, ours};
use super::pods::{PodsView, answering};
use super::rollout::{rolled_out, running, running_source};
use super::routable::{Told, Wanted, routable, since};
use super::upstream::{BEYOND_THE_PROXY, Listed, standing};
use super::{rollout, start};
use crate::engines::Said;
use crate::plan::{Applied, ModelChildren, ObservedModel, OldPods, Revision, of_gpus, set_aside};
use crate::proxies::Heard;
use crate::validate::{
    Availability, Closed, Fitting, Held, Open, Refusal, Served, ValidatedModel, gigabytes,
};

/// How far reconcile came with a ModelDeployment.
pub enum ModelOutcome {
    /// The spec can't be served, or a child can't be made.
    Refused(Refusal),
    /// Everything planned is so.
    Applied {
        /// What was planned for.
        model: Box<ValidatedModel>,
        /// What the server echoed.
        children: Box<ModelChildren<Applied>>,
        /// Revision of the engine's pods; of those that run, while another is on trial.
        revision: Option<Revision>,
        /// The trial.
        rollout: Option<Box<RolloutStatus>>,
        /// What must be gone before its pods are made.
        waiting: Option<OldPods>,
        /// Why the cache does not have the weights, without which they are not made.
        missing: Option<Refusal>,
        /// What the engine of each pod says of its start, by the pod's name.
        said: HashMap<String, Said>,
    },
}

/// What stands before the reason where a GPU is held and not used.
const ON_CPU: &str = "; the GPU is held and not used, the CPU computes: ";

/// Why the status says that a pod which was given a GPU computes on the CPU, if it does.
fn told_without_gpu(old: &[Condition]) -> Option<String> {
    let accepted = old.iter().find(|condition| condition.type_ == condition::ACCEPTED)?;
    accepted.message.split_once(ON_CPU).map(|(_, reason)| reason.to_owned())
}

/// A provider that a ModelDeployment names.
#[derive(Clone, Debug)]
pub struct ProviderSeen {
    /// It, with its status.
    pub provider: Arc<ExternalProvider>,
    /// What its proxy said last.
    pub heard: Heard,
}

/// The status that `model` should have, with what is `known` of headers of its weights.
pub fn model(
    model: &ModelDeployment,
    outcome: &ModelOutcome,
    observed: &ObservedModel,
    known: &[InspectedModel],
    provider: Option<&ProviderSeen>,
    now: Timestamp,
) -> ModelDeploymentStatus {
    let pods = &observed.pods[..];
    let old = model.status.clone().unwrap_or_default();
    let generation = model.metadata.generation.unwrap_or_default();
    let (mut says, revision, served, phases, rollout) = match outcome {
        // What was served before is still there: a spec that can't be served takes nothing down.
        ModelOutcome::Refused(refusal) => (
            refused(refusal, model.spec.suspend, &old),
            old.revision.clone(),
            old.served.clone(),
            old.phases.clone(),
            old.rollout.as_ref().map(set_aside),
        ),
        ModelOutcome::Applied { model: valid, children, revision, rollout, waiting, missing, said } => {
            let revision = revision.as_ref().map(ToString::to_string);
            let view = PodsView::new(pods, revision.as_deref());
            let (world, can_answer) = match &valid.served {
                Served::Open(_) => (World::OpenWeights, view.ready() >= wanted_pods(valid)),
                Served::Closed(_) => (World::External, provider.is_some_and(|seen| is_ready(&seen.provider))),
            };
            // The world before goes on until this one can, whether it answers just now or not: it may again.
            let (before, told) = match model.world_before() {
                Some(before) if !can_answer => (Some(before), Told::Before),
                Some(_) => (None, Told::Now),
                None => (None, Told::Wanted),
            };
            let uid = model.metadata.uid.as_deref().unwrap_or_default();
            let is_routable = |pods: Vec<&str>| {
                let wanted = Wanted { uid, generation, world, pods, told };
                let old = old.conditions.iter().find(|condition| condition.type_ == condition::ROUTABLE);
                routable(&observed.gateways, &wanted, old)
            };
            let (says, phases) = match &valid.served {
                Served::Open(open) => {
                    let (waiting, missing) = (waiting.as_ref(), missing.as_ref());
                    let so_far = SoFar { children, waiting, missing, view: &view, said };
                    let mut says = open_says(valid, open, &so_far, is_routable, &old.conditions);
                    // Ready is the last.
                    let place = says.len().saturating_sub(1);
                    says.splice(place..place, rolled_out(valid, rollout.as_deref(), pods));
                    let routable = since(&says, &old.conditions, now);
                    let phases = start_phases(&view, said, &old, revision.as_deref(), routable);
                    (says, phases)
                }
                Served::Closed(closed) => {
                    let routable = || is_routable(answering(&observed.proxies).collect());
                    let says =
                        closed_says(valid.out_of_service, closed, provider, routable, &old.conditions, now);
                    (says, Vec::new())
                }
            };
            let mut served = model.spec.served(before.unwrap_or(world));
            if let Some(served) = &mut served
                && served.world() == Some(World::OpenWeights)
                && let Some(source) = running_source(children, revision.as_deref())
            {
                served.model = source;
            }
            (says, revision, served, phases, rollout.as_deref().cloned())
        }
    };
    let still = |served: &&weighbridge_crds::Served| served.world() == model.world_before();
    if let Some(before) = served.as_ref().filter(|_| model.world_before().is_some()).filter(still) {
        told_of_swap(&mut says, &before.model);
    }
    let view = PodsView::new(pods, revision.as_deref());
    let count = |pods: usize| i32::try_from(pods).unwrap_or(i32::MAX);
    ModelDeploymentStatus {
        observed_generation: Some(generation),
        conditions: merge(&ours(&old.conditions), says, generation, now),
        replicas: count(view.all),
        ready_replicas: count(view.ready()),
        selector: model.metadata.uid.as_ref().map(|uid| format!("{}={uid}", labels::MODEL_UID)),
        revision: revision.clone(),
        served,
        phases,
        history: history(observed, asked(revision.as_deref(), rollout.as_ref())),
        rollout,
        model: inspected(outcome, known),
    }
}

/// What is kept of the header of the weights: what hardware was chosen by, or, of a spec that is refused, what was read last,
/// which may be why.
fn inspected(outcome: &ModelOutcome, known: &[InspectedModel]) -> Option<InspectedModel> {
    match outcome {
        ModelOutcome::Refused(_) => known.last().cloned(),
        ModelOutcome::Applied { model, .. } => match &model.served {
            Served::Open(open) => match &open.fitting {
                Fitting::Fits { inspection, .. } => {
                    known.iter().find(|known| known.inspection == *inspection).cloned()
                }
                Fitting::Unasked | Fitting::Unread { .. } => None,
            },
            Served::Closed(_) => None,
        },
    }
}

/// The revision that the spec asks for: not the one that runs, while another is on trial or was aborted.
fn asked<'a>(revision: Option<&'a str>, rollout: Option<&'a RolloutStatus>) -> Option<&'a str> {
    rollout.filter(|trial| trial.phase != RolloutPhase::Withdrawn).map(|trial| &*trial.canary).or(revision)
}

/// What may be brought back. What is there again is none of it, though its record goes a moment later.
fn history(observed: &ObservedModel, current: Option<&str>) -> Vec<PastRevision> {
    let mut records: Vec<_> = observed.history.iter().map(AsRef::as_ref).collect();
    newest_first::<&ControllerRevision>(&mut records);
    let past = records.into_iter().filter_map(PastRevision::of);
    past.filter(|past| current != Some(past.revision.as_str())).collect()
}

/// How the last start of this revision went. An operator that was started anew knows it only once it has asked.
fn start_phases(
    view: &PodsView<'_>,
    said: &HashMap<String, Said>,
    old: &ModelDeploymentStatus,
    revision: Option<&str>,
    routable: Option<Timestamp>,
) -> Vec<StartPhase> {
    let before = if old.revision.as_deref() == revision { &old.phases[..] } else { &[] };
    let phases = start::phases(view.current(), said, routable, before);
    if phases.is_empty() { before.to_vec() } else { phases }
}

/// Who looks at why the model is not ready hears that callers are answered all the same.
fn told_of_swap(says: &mut [Says], before: &str) {
    let told = [condition::READY, condition::ROUTABLE];
    for says in says.iter_mut().filter(|says| told.contains(&says.type_)) {
        says.message = format!("{}; calls go to {before} until it can take over", says.message);
    }
}

fn wanted_pods(model: &ValidatedModel) -> usize {
    usize::try_from(model.replicas).unwrap_or_default()
}

fn refused(refusal: &Refusal, suspended: bool, old: &ModelDeploymentStatus) -> Vec<Says> {
    let accepted = Says::no(condition::ACCEPTED, refusal.reason, refusal.message.clone());
    let active = active(suspended);
    let ready = if suspended { &active } else { &accepted }.as_type(condition::READY);
    let told = rollout::refused(old);
    [accepted, active].into_iter().chain(told).chain([ready]).collect()
}

/// Whether somebody has taken the model out of service.
fn active(suspended: bool) -> Says {
    if suspended {
        Says::no(condition::ACTIVE, Reason::Suspended, OutOfService::Suspended.field())
    } else {
        Says::yes(condition::ACTIVE, Reason::NotSuspended, "spec.suspend is false")
    }
}

/// How far open weights are.
struct SoFar<'a> {
    children: &'a ModelChildren<Applied>,
    waiting: Option<&'a OldPods>,
    missing: Option<&'a Refusal>,
    view: &'a PodsView<'a>,
    said: &'a HashMap<String, Said>,
}

fn open_says(
    model: &ValidatedModel,
    open: &Open,
    so_far: &SoFar<'_>,
    routable: impl FnOnce(Vec<&str>) -> Says,
    old: &[Condition],
) -> Vec<Says> {
    let SoFar { children, waiting, missing, view, said } = *so_far;
    // Who pays for a GPU is told where they look first: beside Accepted, and beside Ready.
    let on_cpu = start::without_gpu(view.current(), said).map(str::to_owned);
    // Who begins to lead has asked nobody yet, and changes no status for it.
    let unheard = start::is_unheard(view.current(), said);
    let on_cpu = on_cpu.or_else(|| told_without_gpu(old).filter(|_| unheard));
    let gpu = open.hardware.gpu().map_or_else(String::new, |gpu| match on_cpu {
        Some(reason) => format!("{ON_CPU}{reason}"),
        None => format!("; {}", of_gpus(gpu.count)),
    });
    let fits = open.fitting.words().map_or_else(String::new, |words| format!("; it {words}"));
    let valid = format!("the spec is valid and everything it names exists{fits}{gpu}");
    let accepted = Says::yes(condition::ACCEPTED, Reason::Valid, valid);
    if let Some(why) = model.out_of_service {
        return out_of_service(accepted, why, "no pod is wanted");
    }
    if let Some(why) = missing {
        let no = |type_| Says::no(type_, why.reason, why.message.clone());
        let artifact = no(condition::ARTIFACT_READY);
        let [scheduled, engine, routable, ready] =
            [condition::SCHEDULED, condition::ENGINE_READY, condition::ROUTABLE, condition::READY].map(no);
        return vec![accepted, artifact, scheduled, engine, routable, active(false), ready];
    }
    let artifact = open.held.as_ref().map(artifact);
    if let Some(old_pods) = waiting {
        let message = format!("rollout.strategy is Replace: {old_pods}; the current revision is made then");
        let no = |type_| Says::no(type_, Reason::WaitingForOldPods, message.clone());
        let [scheduled, engine, routable, ready] =
            [condition::SCHEDULED, condition::ENGINE_READY, condition::ROUTABLE, condition::READY].map(no);
        let says = [scheduled, engine, routable, active(false), ready];
        return [accepted].into_iter().chain(artifact).chain(says).collect();
    }
    let wanted = wanted_pods(model);
    let ready = view.ready();
    let running = running(children, view.revision());
    let scheduled = scheduled(wanted, running, view);
    let mut engine = engine(wanted, ready, view);
    if engine.reason == Reason::Progressing.as_str() {
        let told = old.iter().find(|condition| condition.type_ == condition::ENGINE_READY && unheard);
        let told = told.filter(|told| told.message.starts_with(&format!("{}: ", engine.message)));
        match (start::progress(view.current(), said), told) {
            (Some(words), _) => engine.message = format!("{}: {words}", engine.message),
            (None, Some(told)) => engine.message.clone_from(&told.message),
            (None, None) => {}
        }
    }
    let (routable, ready) = if ready > 0 {
        let names = view.answering().filter_map(|pod| pod.metadata.name.as_deref()).collect();
        let source = running_source(children, view.revision()).unwrap_or_else(|| open.source.clone());
        let answers = format!("{ready} of {wanted} pods answer for {source}{gpu}");
        with_routable(routable(names), answers)
    } else {
        let hindered = if scheduled.good() { &engine } else { &scheduled };
        (hindered.as_type(condition::ROUTABLE), hindered.as_type(condition::READY))
    };
    let says = [scheduled, engine, routable, active(false), ready];
    [accepted].into_iter().chain(artifact).chain(says).collect()
}

/// `Routable`, and `Ready` of a model that `answers`: where a gateway says that calls go elsewhere, they can't be answered by it.
/// Where nothing is said, nothing is known against it.
fn with_routable(routable: Says, answers: String) -> (Says, Says) {
    let ready = match routable.truth {
        Truth::True | Truth::Unknown => Says::yes(condition::READY, Reason::Serving, answers),
        Truth::False => {
            let message = format!("{answers}, but {}", routable.message);
            Says { message, ..routable.as_type(condition::READY) }
        }
    };
    (routable, ready)
}

/// What the cache has of a model whose pods are made.
fn artifact(held: &Held) -> Says {
    if let Some(why) = held.missing() {
        return Says::no(condition::ARTIFACT_READY, why.reason, why.message.clone());
    }
    let sizes = held.entries().filter_map(|entry| match &entry.there {
        Availability::Held { digest, bytes } => {
            let digest = digest.as_ref().map_or_else(String::new, |digest| format!(" ({digest})"));
            Some(format!("{}{digest}", gigabytes(i64::try_from(*bytes).unwrap_or(i64::MAX))))
        }
        Availability::Assumed | Availability::Missing(_) => None,
    });
    let message = format!("ModelCache {} holds {}", held.cache, sizes.collect::<Vec<_>>().join(", "));
    Says::yes(condition::ARTIFACT_READY, Reason::ArtifactHeld, message)
}

/// The same in both worlds: nothing stands in the way, and nothing answers.
fn out_of_service(accepted: Says, why: OutOfService, what: &str) -> Vec<Says> {
    let reason = match why {
        OutOfService::Suspended => Reason::Suspended,
        OutOfService::ScaledToZero => Reason::ScaledToZero,
    };
    let message = format!("{}: {what}", why.field());
    let scheduled = Says::yes(condition::SCHEDULED, reason, message.clone());
    let engine = Says::no(condition::ENGINE_READY, reason, message);
    let [routable, ready] = [condition::ROUTABLE, condition::READY].map(|type_| engine.as_type(type_));
    vec![accepted, scheduled, engine, routable, active(why == OutOfService::Suspended), ready]
}

pub(super) fn scheduled(wanted: usize, deployment: Option<&Deployment>, view: &PodsView<'_>) -> Says {
    let placed = view.placed();
    if placed >= wanted {
        return Says::yes(
            condition::SCHEDULED,
            Reason::PodsScheduled,
            format!("{wanted} of {wanted} pods have a node"),
        );
    }
    if let Some(trouble) = view.unplaced() {
        let message = format!("{placed} of {wanted} pods have a node: {}", trouble.message);
        return Says::no(condition::SCHEDULED, trouble.reason, message);
    }
    if let Some(words) = deployment.and_then(pods_refused) {
        return Says::no(
            condition::SCHEDULED,
            Reason::PodsRefused,
            format!("the apiserver refuses a pod: {words}"),
        );
    }
    Says::no(condition::SCHEDULED, Reason::Progressing, format!("{placed} of {wanted} pods have a node"))
}

/// The words with which the apiserver refused a pod to the Deployment.
fn pods_refused(deployment: &Deployment) -> Option<String> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let failure = conditions
        .iter()
        .find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True")?;
    failure.message.clone()
}

pub(super) fn engine(wanted: usize, ready: usize, view: &PodsView<'_>) -> Says {
    if ready >= wanted {
        return Says::yes(
            condition::ENGINE_READY,
            Reason::EngineAnswering,
            format!("{wanted} of {wanted} pods answer"),
        );
    }
    match view.not_running() {
        Some(trouble) => {
            let message = format!("{ready} of {wanted} pods answer: {}", trouble.message);
            Says::no(condition::ENGINE_READY, trouble.reason, message)
        }
        None => {
            Says::no(condition::ENGINE_READY, Reason::Progressing, format!("{ready} of {wanted} pods answer"))
        }
    }
}

/// An external model is as its provider is, or out of service.
fn closed_says(
    rests: Option<OutOfService>,
    closed: &Closed,
    seen: Option<&ProviderSeen>,
    routable: impl FnOnce() -> Says,
    old: &[Condition],
    now: Timestamp,
) -> Vec<Says> {
    let Closed { provider: name, model, kept_replicas } = closed;
    let kept = kept_replicas.map_or_else(String::new, |kept| {
        format!("; spec.replicas {kept} is kept for openWeights: external is served, which has no pods")
    });
    let valid = format!("the spec is valid and ExternalProvider {name} exists{kept}");
    let accepted = Says::yes(condition::ACCEPTED, Reason::Valid, valid);
    if let Some(why) = rests {
        return out_of_service(accepted, why, &format!("no call goes to ExternalProvider {name}"));
    }
    let provider = seen.map(|seen| &*seen.provider);
    let mut says = vec![accepted];
    for type_ in [condition::SCHEDULED, condition::ENGINE_READY] {
        says.push(match provider.and_then(|provider| current(provider, type_)) {
            Some(theirs) => {
                let message = format!("proxy of ExternalProvider {name}: {}", theirs.message);
                Says { message, ..Says::again(type_, theirs) }
            }
            None => not_yet(type_, name, provider),
        });
    }
    let (routable, ready) = if provider.is_some_and(is_ready) {
        with_routable(routable(), format!("the proxy of ExternalProvider {name} answers for {model}"))
    } else {
        let why = dead(condition::READY, name, provider);
        let ready = why.unwrap_or_else(|| not_yet(condition::READY, name, provider));
        (ready.as_type(condition::ROUTABLE), ready)
    };
    says.push(routable);
    says.push(active(false));
    says.push(healthy(name, model, seen, old, now));
    says.push(ready);
    says
}

/// Whether the provider answers for `model`, as far as anybody knows.
fn healthy(name: &str, model: &str, seen: Option<&ProviderSeen>, old: &[Condition], now: Timestamp) -> Says {
    let type_ = condition::HEALTHY;
    let provider = seen.map(|seen| &*seen.provider);
    if let Some(dead) = dead(type_, name, provider) {
        return dead;
    }
    let unknown = || {
        let message =
            format!("the proxy of ExternalProvider {name} does not say how it stands with the provider");
        Says::unknown(type_, Reason::StateUnknown, message)
    };
    let state = match seen.map(|seen| &seen.heard) {
        None | Some(Heard::Lost) => return unknown(),
        Some(Heard::NotYet) => {
            let before = old.iter().find(|condition| condition.type_ == type_);
            return before.map_or_else(unknown, |before| Says::again(type_, before));
        }
        Some(Heard::Said(state)) => state,
    };
    let answers = format!("ExternalProvider {name} answers");
    match state.models.as_ref().map(|list| standing(list, model, now)) {
        Some(Listed::Missing) => {
            let message = format!(
                "{answers}, and does not list a model {model:?}: see its list, and correct external.model"
            );
            Says::no(type_, Reason::ModelNotFound, message)
        }
        Some(Listed::Ending(end)) => {
            let message = format!("{answers}; by its list of models, {model} {end}");
            Says::yes(type_, Reason::ModelRetiring, message)
        }
        Some(Listed::Current) => {
            Says::yes(type_, Reason::ProviderAnswering, format!("{answers}, and lists {model}"))
        }
        Some(Listed::Unlisted) | None => Says::yes(type_, Reason::ProviderAnswering, answers),
    }
}

/// Why the provider can answer no call, where its proxy runs and the fault is beyond it.
fn dead(type_: &'static str, name: &str, provider: Option<&ExternalProvider>) -> Option<Says> {
    let theirs = provider.and_then(|provider| current(provider, condition::READY))?;
    let is_beyond =
        theirs.status != "True" && BEYOND_THE_PROXY.iter().any(|reason| reason.as_str() == theirs.reason);
    is_beyond.then(|| {
        let message = format!("ExternalProvider {name}: {}", theirs.message);
        Says { message, ..Says::again(type_, theirs) }
    })
}

fn not_yet(type_: &'static str, name: &str, provider: Option<&ExternalProvider>) -> Says {
    let theirs = provider.and_then(|provider| current(provider, condition::READY));
    let words = theirs.map_or_else(
        || "is being set up".to_owned(),
        |ready| format!("is not ready: {}: {}", ready.reason, ready.message),
    );
    Says::no(type_, Reason::ProxyNotReady, format!("ExternalProvider {name} {words}"))
}
