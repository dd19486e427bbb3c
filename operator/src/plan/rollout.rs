//! How one revision of open weights follows another: what goes, when, and whether the current one may come yet.

use std::fmt;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use weighbridge_crds::labels;

use super::model::{pods, removal};
use super::trial::{Trial, trial};
use super::{ChildKind, Decision, Guard, ObservedModel, Removal, Revision, answers, has_ready};
use crate::validate::{Open, Strategy, ValidatedModel};

/// Old pods that are named; with more, their number says enough.
const NAMED: usize = 3;

/// What becomes of old revisions.
pub(super) struct Rollout {
    /// Their Deployments that go.
    pub removals: Vec<Removal>,
    /// What must be gone before the current revision is made.
    pub waiting: Option<OldPods>,
    /// The trial of the current revision beside another.
    pub trial: Option<Trial>,
}

/// Pods of old revisions that hold what the current one is to have; never none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldPods(Vec<String>);

impl fmt::Display for OldPods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(names) = self;
        let is_or_are = if names.len() == 1 { "is" } else { "are" };
        let more = if names.len() > NAMED { ", …" } else { "" };
        let named = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        write!(f, "{} of an old revision {is_or_are} not gone yet: {named}{more}", pods_of(names.len()))
    }
}

fn pods_of(count: usize) -> String {
    pods(i32::try_from(count).unwrap_or(i32::MAX))
}

/// What becomes of all that is not `revision`, whose Deployment is called `current`.
///
/// Guarantees: by Surge, an old revision that answers stays until the current one has all of its pods ready. By Replace the
/// current one is not made before every pod of the old ones is gone, and the old ones go whatever they answer. By Canary one
/// that answers stays whole until the current one has passed its trial; where none does, it is as by Surge.
pub(super) fn rollout(
    model: &ValidatedModel,
    open: &Open,
    (current, revision): (&str, &Revision),
    observed: &ObservedModel,
    decisions: &mut Vec<Decision>,
) -> Rollout {
    match &model.strategy {
        Strategy::Surge => surge(model, current, observed, decisions),
        Strategy::Canary(canary) => match trial(model, canary, (current, revision), observed, decisions) {
            (trial @ Trial { shape: None, .. }, _) => {
                Rollout { trial: Some(trial), ..surge(model, current, observed, decisions) }
            }
            (trial, removals) => Rollout { removals, waiting: None, trial: Some(trial) },
        },
        Strategy::Replace => {
            let old = observed.deployments.iter().filter(|old| old.name_any() != current);
            let removals = old.filter_map(|old| replaced(old, current, open, decisions)).collect();
            let made = observed.deployments.iter().any(|deployment| deployment.name_any() == current);
            // What is made already is not unmade.
            let waiting = if made { None } else { old_pods(observed, revision) };
            if let Some(waiting) = &waiting {
                decisions.push(Decision::new(
                    format!("Deployment {current} is not made yet"),
                    waiting.to_string(),
                ));
            }
            Rollout { removals, waiting, trial: None }
        }
    }
}

fn surge(
    model: &ValidatedModel,
    current: &str,
    observed: &ObservedModel,
    decisions: &mut Vec<Decision>,
) -> Rollout {
    let old = observed.deployments.iter().filter(|old| old.name_any() != current);
    let removals = old.filter_map(|old| superseded(old, current, model.replicas, observed, decisions));
    Rollout { removals: removals.collect(), waiting: None, trial: None }
}

/// Whether and why the Deployment of an old revision goes, where the new one comes first.
fn superseded(
    old: &Deployment,
    current: &str,
    replicas: i32,
    observed: &ObservedModel,
    decisions: &mut Vec<Decision>,
) -> Option<Removal> {
    let name = old.name_any();
    if !answers(old) {
        let why = format!("no pod of this old revision is ready, and {current} is what the spec asks for");
        return removal(ChildKind::Deployment, old, Guard::NothingReady, why);
    }
    let new = observed.deployments.iter().find(|deployment| deployment.name_any() == current);
    if new.is_some_and(|new| has_ready(new, replicas)) {
        let guard = Guard::ReplacedBy { name: current.to_owned(), ready: replicas };
        let why = format!("{current} has its {count} ready", count = pods(replicas));
        return removal(ChildKind::Deployment, old, guard, why);
    }
    decisions.push(Decision::new(
        format!("Deployment {name} stays for now"),
        format!("its pods answer, and {current} does not have its {} ready yet", pods(replicas)),
    ));
    None
}

/// Why it goes, where it goes first. Of what the current revision is made from, the spec alone is looked at before every
/// write: an old view of the profile would take the revision that answers for an old one.
fn replaced(old: &Deployment, current: &str, open: &Open, decisions: &mut Vec<Decision>) -> Option<Removal> {
    let why = format!("{current} is what the spec asks for, and rollout.strategy is Replace");
    decisions.push(Decision::new(format!("Deployment {} goes first", old.name_any()), why.clone()));
    let guard = open.profile.clone().map_or(Guard::SpecOnly, Guard::ProfileUnchanged);
    removal(ChildKind::Deployment, old, guard, why)
}

/// Pods of all but `revision`, and those on their way out, which may be of an earlier Deployment of the same revision. A pod
/// that has ended holds nothing any more.
fn old_pods(observed: &ObservedModel, revision: &Revision) -> Option<OldPods> {
    let is_old = |pod: &Pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let other = pod.labels().get(labels::REVISION).is_none_or(|of| of != revision.as_str());
        !matches!(phase, Some("Failed" | "Succeeded")) && (other || pod.metadata.deletion_timestamp.is_some())
    };
    let old = observed.pods.iter().filter(|pod| is_old(pod));
    let mut names: Vec<String> = old.map(|pod| pod.name_any()).collect();
    // The same words for the same state, whatever order pods come in.
    names.sort();
    (!names.is_empty()).then_some(OldPods(names))
}
