//! How far a trial is, and what it comes to next.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use weighbridge_crds::{Canary, CanaryStep, Pause, RevisionFigures, RolloutPhase, RolloutStatus, labels};

use super::judge::{Judged, Verdict, judge};
use crate::gateways::Measured;
use crate::plan::{ObservedModel, answers, has_ready};

/// What a trial is decided by, beside what is observed.
pub struct Setting<'a> {
    /// Name of the model.
    pub model: &'a str,
    /// The revision that the spec asks for.
    pub asked: &'a str,
    /// Engine pods of the model; none out of service.
    pub replicas: i32,
    /// The steps.
    pub canary: &'a Canary,
}

/// What becomes of a trial.
#[derive(Debug, PartialEq)]
pub struct Course {
    /// As the status is to say it; none where there is no trial.
    pub status: Option<RolloutStatus>,
    /// When time alone brings something.
    pub due: Option<Timestamp>,
}

/// What a trial comes to, by what the status says of it and what is there.
///
/// Guarantees: one step of the way at a time, so that whoever carries it out is seen by everybody before the next; the same
/// facts give the same step. A revision that was aborted is not tried again while the spec asks for it, unless a person
/// says so.
pub fn course(setting: &Setting<'_>, observed: &ObservedModel) -> Course {
    let status = next(setting, observed);
    let due = status.as_ref().and_then(|status| due(setting, status));
    Course { status, due }
}

fn next(setting: &Setting<'_>, observed: &ObservedModel) -> Option<RolloutStatus> {
    let Setting { asked, canary, .. } = *setting;
    let Some(now) = &observed.rollout else {
        let stable = running(setting, observed)?;
        return Some(begun(setting, stable));
    };
    let gone = |revision: &str| {
        deployment(setting, observed, revision).is_none()
            && !observed.pods.iter().any(|pod| lives(pod, revision))
    };
    if deployment(setting, observed, &now.stable).is_none() {
        // Somebody took it away, or it was promoted away: there is nothing to go back to, or to compare with.
        let goes = now.phase == RolloutPhase::Promoting && !gone(&now.stable);
        return goes.then(|| now.clone());
    }
    if asked == now.stable {
        return (!gone(&now.canary)).then(|| withdrawn(now));
    }
    if asked != now.canary {
        return Some(begun(setting, &now.stable));
    }
    let all = observed.promotion.as_ref().is_some_and(|said| said.passes_all(asked));
    Some(match now.phase {
        RolloutPhase::Promoting => promoting(setting, observed, now),
        RolloutPhase::Preparing
        | RolloutPhase::Measuring
        | RolloutPhase::Paused
        | RolloutPhase::Aborted
        | RolloutPhase::Withdrawn
            if all =>
        {
            promoting(setting, observed, now)
        }
        RolloutPhase::Aborted => now.clone(),
        // It is asked for again before it was gone.
        RolloutPhase::Withdrawn => begun(setting, &now.stable),
        RolloutPhase::Preparing | RolloutPhase::Measuring | RolloutPhase::Paused => {
            let number = usize::try_from(now.step).unwrap_or(1).clamp(1, canary.steps.len().max(1));
            match canary.steps.get(number - 1) {
                Some(step) => at_step(setting, observed, now, (number, step)),
                None => promoting(setting, observed, now),
            }
        }
    })
}

/// The step `number` of a trial under way.
fn at_step(
    setting: &Setting<'_>,
    observed: &ObservedModel,
    now: &RolloutStatus,
    (number, step): (usize, &CanaryStep),
) -> RolloutStatus {
    let Setting { asked, replicas, canary, .. } = *setting;
    let steps = canary.steps.len();
    let place = i32::try_from(number).unwrap_or(i32::MAX);
    if replicas == 0 {
        // Nothing is measured where nothing answers: the step comes anew when something does.
        return preparing(now, (place, steps), 0);
    }
    let is_new = now.step != place || (now.phase != RolloutPhase::Preparing && now.traffic != step.traffic);
    if is_new {
        return preparing(now, (place, steps), now.traffic.min(step.traffic));
    }
    let Some(begun_at) = now.begun_at.clone().filter(|_| now.phase != RolloutPhase::Preparing) else {
        let ready = deployment(setting, observed, asked)
            .is_some_and(|there| has_ready(there, step.capacity.pods(replicas)));
        return if ready {
            measuring(now, (place, steps), step.traffic, observed.now)
        } else {
            preparing(now, (place, steps), now.traffic)
        };
    };
    let nothing = RevisionFigures::default();
    let figures = match &observed.measured {
        // Who was started anew has asked nobody yet, and knows no less in a moment.
        Measured::NotYet => return now.clone(),
        Measured::Known(figures) => {
            figures.as_ref().filter(|figures| Some(&figures.key) == now.key().as_ref())
        }
    };
    let verdict = judge(&Judged {
        step,
        abort: canary.abort,
        on_inconclusive: canary.on_inconclusive,
        elapsed: observed.now.duration_since(begun_at.0).max(SignedDuration::ZERO).unsigned_abs(),
        told: observed.promotion.as_ref().is_some_and(|said| said.passes(asked, place)),
        stable: figures.map_or(&nothing, |figures| &figures.stable_figures),
        canary: figures.map_or(&nothing, |figures| &figures.canary_figures),
    });
    match verdict {
        Verdict::Continue => RolloutStatus { phase: RolloutPhase::Measuring, message: None, ..now.clone() },
        Verdict::Hold(why) => {
            RolloutStatus { phase: RolloutPhase::Paused, message: Some(why), ..now.clone() }
        }
        Verdict::Abort(why) => RolloutStatus {
            phase: RolloutPhase::Aborted,
            traffic: 0,
            progress: "aborted".to_owned(),
            message: Some(why),
            ..now.clone()
        },
        Verdict::Advance if number < steps => preparing(now, (place.saturating_add(1), steps), now.traffic),
        Verdict::Advance => promoting(setting, observed, now),
    }
}

/// A trial that nobody was told of yet: no pod of it is made before.
fn begun(setting: &Setting<'_>, stable: &str) -> RolloutStatus {
    let now = RolloutStatus {
        phase: RolloutPhase::Preparing,
        stable: stable.to_owned(),
        canary: setting.asked.to_owned(),
        step: 1,
        traffic: 0,
        progress: String::new(),
        begun_at: None,
        message: None,
    };
    preparing(&now, (1, setting.canary.steps.len()), 0)
}

/// Pods are made for a step; what goes to the revision stays as it was.
fn preparing(now: &RolloutStatus, (step, steps): (i32, usize), traffic: i32) -> RolloutStatus {
    RolloutStatus {
        phase: RolloutPhase::Preparing,
        step,
        traffic,
        progress: progress(step, steps, traffic),
        begun_at: None,
        message: None,
        ..now.clone()
    }
}

fn measuring(
    now: &RolloutStatus,
    (step, steps): (i32, usize),
    traffic: i32,
    time: Timestamp,
) -> RolloutStatus {
    // A status holds whole seconds.
    let begun_at = Timestamp::from_second(time.as_second()).ok().map(Time);
    RolloutStatus {
        phase: RolloutPhase::Measuring,
        traffic,
        progress: progress(step, steps, traffic),
        begun_at,
        ..now.clone()
    }
}

/// It gets all pods, and once they are ready, all requests.
fn promoting(setting: &Setting<'_>, observed: &ObservedModel, now: &RolloutStatus) -> RolloutStatus {
    let is_promoting = now.phase == RolloutPhase::Promoting;
    let ready = is_promoting
        && deployment(setting, observed, setting.asked)
            .is_some_and(|there| has_ready(there, setting.replicas));
    RolloutStatus {
        phase: RolloutPhase::Promoting,
        traffic: if ready { 100 } else { now.traffic },
        progress: "promoted".to_owned(),
        begun_at: None,
        message: None,
        ..now.clone()
    }
}

/// Its pods are not asked for any more.
pub fn withdrawn(now: &RolloutStatus) -> RolloutStatus {
    RolloutStatus {
        phase: RolloutPhase::Withdrawn,
        traffic: 0,
        progress: "withdrawn".to_owned(),
        begun_at: None,
        message: None,
        ..now.clone()
    }
}

/// Its step is taken up again once the spec can be served: nobody judges it meanwhile, so that it gets no request.
pub fn set_aside(now: &RolloutStatus) -> RolloutStatus {
    if !now.phase.is_on_trial() || now.traffic == 0 {
        return now.clone();
    }
    RolloutStatus {
        phase: RolloutPhase::Preparing,
        traffic: 0,
        progress: format!("step {}, set aside", now.step),
        begun_at: None,
        message: None,
        ..now.clone()
    }
}

fn progress(step: i32, steps: usize, traffic: i32) -> String {
    format!("step {step} of {steps}, {traffic} %")
}

/// When the step is over.
fn due(setting: &Setting<'_>, status: &RolloutStatus) -> Option<Timestamp> {
    let step =
        usize::try_from(status.step).ok().and_then(|step| setting.canary.steps.get(step.checked_sub(1)?))?;
    match (status.phase, step.pause) {
        (RolloutPhase::Measuring, Pause::For(pause)) => {
            status.begun_at.as_ref()?.0.checked_add(pause.get()).ok()
        }
        _ => None,
    }
}

/// The revision that answers beside the one asked for, and has the most pods that do. None where nothing does, or what is
/// asked for came without a trial and only has to come whole.
fn running<'a>(setting: &Setting<'_>, observed: &'a ObservedModel) -> Option<&'a str> {
    let marked = |there: &Deployment| there.annotations().contains_key(labels::CANARY_OF);
    let is_asked =
        |there: &Deployment| there.labels().get(labels::REVISION).is_some_and(|of| of == setting.asked);
    if setting.replicas == 0 || observed.deployments.iter().any(|there| is_asked(there) && !marked(there)) {
        return None;
    }
    let old =
        observed.deployments.iter().filter(|there| !is_asked(there) && !marked(there) && answers(there));
    let ready = |there: &Deployment| there.status.as_ref().and_then(|status| status.ready_replicas);
    old.max_by_key(|there| (ready(there), std::cmp::Reverse(there.name_any())))?
        .labels()
        .get(labels::REVISION)
        .map(String::as_str)
}

/// The Deployment of a revision.
fn deployment<'a>(
    setting: &Setting<'_>,
    observed: &'a ObservedModel,
    revision: &str,
) -> Option<&'a Deployment> {
    let name = labels::revision_deployment(setting.model, revision);
    observed.deployments.iter().map(AsRef::as_ref).find(|there| there.name_any() == name)
}

/// Whether `pod` is of this revision, and not on its way out.
fn lives(pod: &Pod, revision: &str) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && pod.labels().get(labels::REVISION).is_some_and(|of| of == revision)
}

#[cfg(test)]
mod tests;
