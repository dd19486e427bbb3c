//! How far pods are that start, and how long each part of a start took.

use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use weighbridge_crds::StartPhase;

use super::pods::condition;
use crate::engines::{Said, Took};

/// From the pod's making until it had a node.
const SCHEDULED: &str = "scheduled";
/// From then until its containers ran: images pulled, volumes mounted.
const PULLED: &str = "pulled";
/// From when the kubelet said that it answers until every ready gateway sent calls there.
const ROUTABLE: &str = "routable";
/// Phases of an engine in the order in which they come; the parts of one stand before it.
const ORDER: [&str; 14] = [
    "wait",
    "lookup",
    "download",
    "verify",
    "fetch",
    "open",
    "adapters",
    "map",
    "repack",
    "reserve",
    "load",
    "tokenizer",
    "warm",
    "total",
];

/// What the first of `pods` that starts says of how far it is.
pub(super) fn progress<'a>(pods: &[&Pod], said: &'a HashMap<String, Said>) -> Option<&'a str> {
    pods.iter().find_map(|pod| match said.get(&pod.name_any()) {
        Some(Said::Starting(words)) => Some(words.as_str()),
        Some(Said::Nothing | Said::Started { .. }) | None => None,
    })
}

/// Whether one of `pods` is being asked, and was not heard yet: what was known before may still be so.
pub(super) fn is_unheard(pods: &[&Pod], said: &HashMap<String, Said>) -> bool {
    pods.iter().any(|pod| matches!(said.get(&pod.name_any()), Some(Said::Nothing)))
}

/// Why one of `pods` computes on the CPU. Of several always the same, so that a status does not change with the order of a map.
pub(super) fn without_gpu<'a>(pods: &[&Pod], said: &'a HashMap<String, Said>) -> Option<&'a str> {
    let reasons = pods.iter().filter_map(|pod| match said.get(&pod.name_any())? {
        Said::Started { without_gpu, phases: _ } => without_gpu.as_deref(),
        Said::Nothing | Said::Starting(_) => None,
    });
    reasons.min()
}

/// What the start of the first of `pods` that said so took, phase by phase; since `routable` gateways send calls to the model.
/// What was told of the same start `before` is told again: another pod, or another gateway, does not make it longer.
pub(super) fn phases(
    pods: &[&Pod],
    said: &HashMap<String, Said>,
    routable: Option<Timestamp>,
    before: &[StartPhase],
) -> Vec<StartPhase> {
    let started = pods.iter().find_map(|pod| match said.get(&pod.name_any())? {
        Said::Started { without_gpu: _, phases } => Some((pod, phases)),
        Said::Nothing | Said::Starting(_) => None,
    });
    let Some((pod, took)) = started else { return Vec::new() };
    let place = |name: &str| ORDER.iter().position(|known| *known == name).unwrap_or(ORDER.len());
    let mut took: Vec<&Took> = took.iter().collect();
    took.sort_by_key(|took| place(&took.phase));
    // Milliseconds of anything that starts within a century fit.
    let phase =
        |name: &str, seconds: f64| StartPhase { name: name.to_owned(), milliseconds: (seconds * 1e3) as i64 };
    let own = took.iter().map(|Took { phase: name, seconds }| phase(name, *seconds));
    let mut phases: Vec<_> =
        kubelet(pod).into_iter().map(|(name, seconds)| phase(name, seconds)).chain(own).collect();
    let (told, others): (Vec<_>, Vec<_>) = before.iter().cloned().partition(|phase| phase.name == ROUTABLE);
    if others == phases && !told.is_empty() {
        phases.extend(told);
    } else {
        let answered = condition(pod, "Ready").filter(|ready| ready.status == "True");
        let answered = answered.and_then(|at| Some(at.last_transition_time.as_ref()?.0));
        // A model that was routable before this pod answered says nothing of this start.
        let took = routable.zip(answered).map(|(routable, answered)| routable.duration_since(answered));
        let took = took.map(|took| took.as_secs_f64()).filter(|seconds| *seconds >= 0.0);
        phases.extend(took.map(|seconds| phase(ROUTABLE, seconds)));
    }
    phases
}

/// What came before the engine's own, by the pod's status, in seconds.
fn kubelet(pod: &Pod) -> Vec<(&'static str, f64)> {
    let made = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let scheduled = condition(pod, "PodScheduled").and_then(|at| Some(at.last_transition_time.as_ref()?.0));
    let containers = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let started = containers.into_iter().flatten().filter_map(|container| {
        // A container that was started anew says nothing of how long the first start took.
        let running = container.state.as_ref()?.running.as_ref().filter(|_| container.restart_count == 0)?;
        Some(running.started_at.as_ref()?.0)
    });
    let between = |from: Option<Timestamp>, to: Option<Timestamp>| {
        Some(to?.duration_since(from?).as_secs_f64().max(0.0))
    };
    let parts = [(SCHEDULED, between(made, scheduled)), (PULLED, between(scheduled, started.max()))];
    parts.into_iter().filter_map(|(name, seconds)| Some((name, seconds?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, restarts: i32) -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "status": {
                "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:02Z"}],
                "containerStatuses": [{"name": "engine", "ready": true, "image": "", "imageID": "i", "restartCount": restarts,
                    "state": {"running": {"startedAt": "2026-01-01T00:00:32Z"}}}],
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_start_is_told_in_the_order_in_which_it_went() {
        let took = |phase: &str, seconds| Took { phase: phase.to_owned(), seconds };
        let phases_of = vec![took("download", 7.25), took("new", 1.0), took("total", 9.0), took("wait", 0.5)];
        let started = Said::Started { without_gpu: None, phases: phases_of };
        let said = HashMap::from([("b".to_owned(), started)]);
        let (a, b, restarted) = (pod("a", 0), pod("b", 0), pod("b", 1));
        let told = |pods: &[&Pod]| -> Vec<_> {
            phases(pods, &said, None, &[]).into_iter().map(|phase| (phase.name, phase.milliseconds)).collect()
        };
        let own = [("wait", 500), ("download", 7250), ("total", 9000), ("new", 1000)];
        let own = own.map(|(name, milliseconds)| (name.to_owned(), milliseconds));
        let before = [("scheduled".to_owned(), 2000), ("pulled".to_owned(), 30_000)];
        assert_eq!(told(&[&a, &b]), [&before[..], &own[..]].concat());
        assert_eq!(told(&[&restarted]), [&before[..1], &own[..]].concat());
        assert!(told(&[&a]).is_empty());
    }

    #[test]
    fn how_long_gateways_took_is_told_once() {
        let mut pod = pod("a", 0);
        let ready: Vec<k8s_openapi::api::core::v1::PodCondition> =
            serde_json::from_value(serde_json::json!([
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:01:00Z"}]))
            .unwrap();
        pod.status.as_mut().unwrap().conditions.as_mut().unwrap().extend(ready);
        let took = vec![Took { phase: "total".to_owned(), seconds: 1.0 }];
        let said = HashMap::from([("a".to_owned(), Said::Started { without_gpu: None, phases: took })]);
        let told = |at: Option<&str>, before: &[StartPhase]| {
            phases(&[&pod], &said, at.map(|at| at.parse().unwrap()), before)
        };
        let routable = |phases: &[StartPhase]| {
            phases.iter().find(|phase| phase.name == ROUTABLE).map(|phase| phase.milliseconds)
        };
        assert_eq!(routable(&told(None, &[])), None, "not yet");
        let first = told(Some("2026-01-01T00:01:00.25Z"), &[]);
        assert_eq!(
            (routable(&first), first.last().map(|last| last.name.as_str())),
            (Some(250), Some(ROUTABLE))
        );
        assert_eq!(told(Some("2026-01-02T00:00:00Z"), &first), first, "it was routable before");
        assert_eq!(told(None, &first), first);
        let another = [StartPhase { name: "total".to_owned(), milliseconds: 7 }];
        assert_eq!(routable(&told(Some("2026-01-01T00:01:02Z"), &another)), Some(2000));
        assert_eq!(routable(&told(Some("2026-01-01T00:00:59Z"), &[])), None, "before this pod answered");
    }
}
