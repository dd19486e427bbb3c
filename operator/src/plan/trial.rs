//! The children of a trial: what the status says already, made so.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use weighbridge_crds::{Canary, RolloutPhase, RolloutStatus, labels};

use super::canary::{Course, Setting, course};
use super::model::{pods, removal};
use super::names;
use super::{ChildKind, Decision, Guard, ObservedModel, Removal, Revision, answers, has_ready};
use crate::owner::Owner;
use crate::validate::ValidatedModel;

/// A trial, or that there is none.
#[derive(Default)]
pub(super) struct Trial {
    /// As the status is to say it.
    pub status: Option<RolloutStatus>,
    /// When time alone brings something.
    pub due: Option<Timestamp>,
    /// The two revisions; none where the current one comes as by Surge.
    pub shape: Option<Shape>,
}

/// Pods of two revisions.
pub(super) struct Shape {
    /// The Deployment of the revision that runs, where that is another one than is asked for.
    pub stable: Option<Deployment>,
    /// The revision that the status speaks of.
    pub running: String,
    /// Pods of the current revision; none where it has no Deployment.
    pub pods: Option<i32>,
    /// The revision beside which the current one is tried, as its Deployment is marked.
    pub canary_of: Option<String>,
}

/// The trial of `revision`, whose Deployment is called `current`, and what goes.
pub(super) fn trial(
    model: &ValidatedModel,
    canary: &Canary,
    (current, revision): (&str, &Revision),
    observed: &ObservedModel,
    decisions: &mut Vec<Decision>,
) -> (Trial, Vec<Removal>) {
    let owner = &model.owner;
    let setting = Setting { model: owner.name(), asked: revision.as_str(), replicas: model.replicas, canary };
    let Course { status, due } = course(&setting, observed);
    let Some(next) = &status else {
        return (Trial { status, due, shape: None }, Vec::new());
    };
    decisions.push(told(next));
    // What is only decided is done once everybody knows it.
    let so = observed.rollout.as_ref();
    let so = so.filter(|so| so.stable == next.stable && so.canary == next.canary);
    let shape = shape(model, canary, (current, revision), (next, so), observed);
    let mut removals = Vec::new();
    match so {
        None => decisions.push(Decision::new(
            format!("nothing is made or taken away for {}", next.canary),
            "gateways are told first that it is on trial",
        )),
        Some(so) => removals = gone(model, (current, revision), so, observed, decisions),
    }
    (Trial { status, due, shape: Some(shape) }, removals)
}

fn shape(
    model: &ValidatedModel,
    canary: &Canary,
    (current, revision): (&str, &Revision),
    (next, so): (&RolloutStatus, Option<&RolloutStatus>),
    observed: &ObservedModel,
) -> Shape {
    let (owner, replicas) = (&model.owner, model.replicas);
    if revision.as_str() == next.stable {
        return Shape { stable: None, running: next.stable.clone(), pods: Some(replicas), canary_of: None };
    }
    let stable = find(observed, &labels::revision_deployment(owner.name(), &next.stable));
    let (pods, canary_of, running) = match so.map(|so| (so.phase, so)) {
        None => (None, None, &next.stable),
        Some((RolloutPhase::Preparing | RolloutPhase::Measuring | RolloutPhase::Paused, so)) => {
            let step = usize::try_from(so.step).ok().and_then(|step| canary.steps.get(step.checked_sub(1)?));
            let step = step.or(canary.steps.last());
            (step.map(|step| step.capacity.pods(replicas)), Some(next.stable.clone()), &next.stable)
        }
        Some((RolloutPhase::Promoting, _)) => (Some(replicas), None, &next.canary),
        Some((RolloutPhase::Aborted, _)) => (None, None, &next.stable),
        // It was withdrawn, and is asked for again: the next look begins anew.
        Some((RolloutPhase::Withdrawn, _)) => {
            let there = find(observed, current).and_then(|there| there.spec.as_ref()?.replicas);
            (there, Some(next.stable.clone()), &next.stable)
        }
    };
    Shape {
        // What goes is not written to before.
        stable: stable
            .filter(|old| so.is_none_or(|so| superseded(old, current, so, replicas, observed).is_none()))
            .map(|there| rescaled(owner, there, replicas)),
        running: running.clone(),
        pods,
        canary_of,
    }
}

fn find<'a>(observed: &'a ObservedModel, name: &str) -> Option<&'a Deployment> {
    observed.deployments.iter().map(AsRef::as_ref).find(|there| there.name_any() == name)
}

/// Deployments that go.
fn gone(
    model: &ValidatedModel,
    (current, revision): (&str, &Revision),
    so: &RolloutStatus,
    observed: &ObservedModel,
    decisions: &mut Vec<Decision>,
) -> Vec<Removal> {
    let stable = labels::revision_deployment(model.owner.name(), &so.stable);
    let canary = labels::revision_deployment(model.owner.name(), &so.canary);
    let mut removals = Vec::new();
    for old in &observed.deployments {
        let name = old.name_any();
        let why = if name == canary {
            match so.phase {
                RolloutPhase::Aborted => so.message.clone().unwrap_or_default(),
                RolloutPhase::Withdrawn if revision.as_str() == so.stable => {
                    format!("{stable} is what the spec asks for")
                }
                RolloutPhase::Preparing
                | RolloutPhase::Measuring
                | RolloutPhase::Paused
                | RolloutPhase::Promoting
                | RolloutPhase::Withdrawn => continue,
            }
        } else if name == stable {
            removals.extend(superseded(old, current, so, model.replicas, observed));
            continue;
        } else {
            "it is neither the revision that runs nor the one on trial".to_owned()
        };
        removals.extend(without_requests(old, &stable, model.replicas, observed, decisions, why));
    }
    removals
}

fn told(next: &RolloutStatus) -> Decision {
    let RolloutStatus { phase, stable, canary, step: _, traffic, progress, begun_at: _, message } = next;
    let why = match phase {
        RolloutPhase::Preparing => "the pods of the step are to be ready first".to_owned(),
        RolloutPhase::Measuring => "it is measured".to_owned(),
        RolloutPhase::Promoting => "every step is passed".to_owned(),
        RolloutPhase::Withdrawn => "the spec asks for the revision that runs".to_owned(),
        RolloutPhase::Paused | RolloutPhase::Aborted => message.clone().unwrap_or_default(),
    };
    Decision::new(format!("revision {canary} beside {stable}: {progress}, {traffic} % of requests"), why)
}

/// What becomes of a Deployment that gets no request: it goes, while the revision that runs answers.
fn without_requests(
    old: &Deployment,
    stable: &str,
    replicas: i32,
    observed: &ObservedModel,
    decisions: &mut Vec<Decision>,
    why: String,
) -> Option<Removal> {
    if replicas == 0 {
        return removal(ChildKind::Deployment, old, Guard::SpecOnly, why);
    }
    if !answers(old) {
        return removal(ChildKind::Deployment, old, Guard::NothingReady, why);
    }
    if find(observed, stable).is_some_and(|there| has_ready(there, 1)) {
        let guard = Guard::ReplacedBy { name: stable.to_owned(), ready: 1 };
        return removal(ChildKind::Deployment, old, guard, why);
    }
    decisions.push(Decision::new(
        format!("Deployment {} stays for now", old.name_any()),
        format!("it answers, and {stable} does not"),
    ));
    None
}

/// The revision that ran goes, once what was on trial has all pods ready, and all requests.
fn superseded(
    old: &Deployment,
    current: &str,
    so: &RolloutStatus,
    replicas: i32,
    observed: &ObservedModel,
) -> Option<Removal> {
    if so.phase != RolloutPhase::Promoting || so.traffic != 100 || old.name_any() == current {
        return None;
    }
    let there = find(observed, current).filter(|there| has_ready(there, replicas))?;
    let guard = Guard::ReplacedBy { name: there.name_any(), ready: replicas };
    let why = format!("{current} has passed its trial, and has its {} ready", pods(replicas));
    removal(ChildKind::Deployment, old, guard, why)
}

/// A Deployment of an earlier spec, whose template nothing but itself says any more, with as many pods as the model is to have.
pub(super) fn rescaled(owner: &Owner, there: &Deployment, replicas: i32) -> Deployment {
    let mut labels = names::model_labels(owner);
    let revision = there.labels().get(labels::REVISION).map(|of| (labels::REVISION.to_owned(), of.clone()));
    labels.extend(revision);
    let mut metadata = names::child(owner, there.name_any(), labels);
    metadata.annotations = there
        .annotations()
        .get_key_value(labels::MADE_FROM)
        .map(|(key, part)| BTreeMap::from([(key.clone(), part.clone())]));
    let mut spec = there.spec.clone().unwrap_or_default();
    spec.replicas = Some(replicas);
    spec.paused = None;
    Deployment { metadata, spec: Some(spec), status: None }
}
