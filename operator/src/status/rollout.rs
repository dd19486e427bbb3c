//! What people read of a trial.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::Value;
use weighbridge_crds::condition::{self, Reason};
use weighbridge_crds::{ModelDeploymentStatus, RolloutPhase, RolloutStatus, labels};

use super::conditions::Says;
use super::pods::PodsView;
use crate::plan::{Applied, ModelChildren};
use crate::validate::{Strategy, ValidatedModel};

/// How a model's trial is; none where its revisions follow each other otherwise.
pub(super) fn rolled_out(
    model: &ValidatedModel,
    rollout: Option<&RolloutStatus>,
    pods: &[Arc<Pod>],
) -> Option<Says> {
    let Strategy::Canary(canary) = &model.strategy else { return None };
    let type_ = condition::ROLLED_OUT;
    let Some(trial) = rollout else {
        let words = "no revision is on trial";
        return Some(Says::yes(type_, Reason::RolloutComplete, words));
    };
    let RolloutStatus { phase, stable, canary: revision, step, traffic, progress, begun_at: _, message } =
        trial;
    let message = message.clone().unwrap_or_default();
    let view = PodsView::new(pods, Some(revision));
    let waits = |wanted: i32| {
        let ready = format!("{} of {wanted} pods of revision {revision} are ready", view.ready());
        let trouble = view.unplaced().or_else(|| view.not_running());
        trouble.map_or_else(|| ready.clone(), |trouble| format!("{ready}: {}", trouble.message))
    };
    Some(match phase {
        RolloutPhase::Preparing => {
            let step = usize::try_from(*step).ok().and_then(|step| canary.steps.get(step.checked_sub(1)?));
            let wanted = step.map_or(1, |step| step.capacity.pods(model.replicas));
            Says::no(type_, Reason::CanaryProgressing, format!("{progress}: {}", waits(wanted)))
        }
        RolloutPhase::Measuring => {
            let words = format!("{progress}: revision {revision} is measured beside {stable}");
            Says::no(type_, Reason::CanaryProgressing, words)
        }
        RolloutPhase::Paused => {
            let words = format!("{progress}: revision {revision} stays beside {stable}: {message}");
            Says::no(type_, Reason::CanaryPaused, words)
        }
        RolloutPhase::Promoting if *traffic == 100 => {
            let words = format!("revision {revision} has every request, and the pods of {stable} go");
            Says::no(type_, Reason::CanaryProgressing, words)
        }
        RolloutPhase::Promoting => {
            let words = format!("every step is passed: {}", waits(model.replicas));
            Says::no(type_, Reason::CanaryProgressing, words)
        }
        RolloutPhase::Aborted => {
            let words = format!("revision {revision} was aborted, and {stable} has every request: {message}");
            Says::no(type_, Reason::RolloutAborted, words)
        }
        RolloutPhase::Withdrawn => {
            let words = format!("revision {revision} is not asked for any more, and its pods go");
            Says::no(type_, Reason::CanaryProgressing, words)
        }
    })
}

/// The same of a spec that can't be served: what was over stays over, and what was on trial is set aside.
pub(super) fn refused(old: &ModelDeploymentStatus) -> Option<Says> {
    let type_ = condition::ROLLED_OUT;
    match &old.rollout {
        Some(trial) if trial.phase.is_on_trial() => {
            let words = format!("revision {} gets no request while the spec is refused", trial.canary);
            Some(Says::no(type_, Reason::CanaryProgressing, words))
        }
        Some(_) | None => {
            let told = old.conditions.iter().find(|told| told.type_ == type_);
            told.map(|told| Says::again(type_, told))
        }
    }
}

/// The Deployment of `revision`.
pub(super) fn running<'a>(
    children: &'a ModelChildren<Applied>,
    revision: Option<&str>,
) -> Option<&'a Deployment> {
    let ModelChildren { deployment, stable, service: _, state: _ } = children;
    let is_running =
        |there: &&Deployment| there.labels().get(labels::REVISION).map(String::as_str) == revision;
    stable.as_deref().filter(is_running).or(deployment.as_ref())
}

/// Source of the weights of the revision that runs, where that is not the one that the spec asks for.
pub(super) fn running_source(children: &ModelChildren<Applied>, revision: Option<&str>) -> Option<String> {
    let stable = children.stable.as_deref();
    let stable =
        stable.filter(|there| there.labels().get(labels::REVISION).map(String::as_str) == revision)?;
    let made_from: Value = serde_json::from_str(stable.annotations().get(labels::MADE_FROM)?).ok()?;
    Some(made_from["spec"]["openWeights"]["source"].as_str()?.to_owned())
}
