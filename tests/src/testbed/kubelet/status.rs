//! The status that a kubelet would report for a pod: pure, from the pod and its scripted fate.

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::behaviour::Behaviour;

/// A patch for the pod's status, or nothing where the status already says it.
pub fn patch(pod: &Pod, fare: Behaviour, ip: &str, now: Timestamp) -> Option<Value> {
    let stopping = pod.metadata.deletion_timestamp.is_some();
    let ready = !stopping && matches!(fare, Behaviour::Ready | Behaviour::LingersWhenDeleted);
    let (phase, started) = match fare {
        Behaviour::ImagePullFailure => ("Pending", false),
        Behaviour::Succeeds => ("Succeeded", true),
        _ => ("Running", true),
    };
    let spec = pod.spec.as_ref()?;
    let start = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    let start = start.map_or(now, |time| time.0);
    let reason = if phase == "Succeeded" { "PodCompleted" } else { "ContainersNotReady" };
    let mut status = json!({
        "phase": phase,
        "startTime": start,
        "conditions": [
            condition(pod, "Initialized", true, "", now),
            condition(pod, "ContainersReady", ready, reason, now),
            condition(pod, "Ready", ready, reason, now),
        ],
        "containerStatuses": spec.containers.iter()
            .map(|container| container_status(container, fare, ready, start)).collect::<Vec<_>>(),
        "initContainerStatuses": spec.init_containers.iter().flatten()
            .map(|container| init_status(container, fare, start)).collect::<Vec<_>>(),
    });
    if started {
        status["podIP"] = json!(ip);
        status["podIPs"] = json!([{"ip": ip}]);
        status["hostIP"] = json!("10.0.0.1");
    }
    (!says(pod, &status)).then(|| json!({"metadata": {"uid": pod.uid()}, "status": status}))
}

fn condition(pod: &Pod, kind: &str, holds: bool, reason: &str, now: Timestamp) -> Value {
    let status = if holds { "True" } else { "False" };
    let known = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    // A transition time moves only with the condition, or every look would be a write.
    let since = known
        .filter(|known| known.type_ == kind && known.status == status)
        .find_map(|known| known.last_transition_time.as_ref().map(|time| time.0));
    let mut condition = json!({"type": kind, "status": status, "lastTransitionTime": since.unwrap_or(now)});
    if !holds {
        condition["reason"] = json!(reason);
    }
    condition
}

fn container_status(container: &Container, fare: Behaviour, ready: bool, start: Timestamp) -> Value {
    let terminated = |reason: &str, code: i32| json!({"terminated": {"exitCode": code, "reason": reason, "startedAt": start, "finishedAt": start}});
    let waiting = |reason: &str, message: &str| json!({"waiting": {"reason": reason, "message": message}});
    let running = || json!({"running": {"startedAt": start}});
    let restarting = || waiting("CrashLoopBackOff", "back-off 10s restarting failed container");
    let (state, last, restarts) = match fare {
        Behaviour::ImagePullFailure => {
            let message = format!("Back-off pulling image \"{}\"", container.image.as_deref().unwrap_or(""));
            (waiting("ImagePullBackOff", &message), json!({}), 0)
        }
        Behaviour::OutOfMemory => (restarting(), terminated("OOMKilled", 137), 1),
        Behaviour::Crash => (restarting(), terminated("Error", 1), 1),
        Behaviour::Succeeds => (terminated("Completed", 0), json!({}), 0),
        Behaviour::Ready | Behaviour::NeverReady | Behaviour::LingersWhenDeleted => (running(), json!({}), 0),
    };
    json!({
        "name": container.name, "image": container.image, "imageID": "", "ready": ready,
        "started": ready, "restartCount": restarts, "state": state, "lastState": last,
    })
}

fn init_status(container: &Container, fare: Behaviour, start: Timestamp) -> Value {
    let fare = match fare {
        Behaviour::ImagePullFailure => fare,
        // A sidecar, which in Kubernetes is an init container that keeps running.
        _ if container.restart_policy.as_deref() == Some("Always") => Behaviour::Ready,
        _ => Behaviour::Succeeds,
    };
    container_status(container, fare, fare != Behaviour::ImagePullFailure, start)
}

/// Whether everything in `wanted` already stands in the pod's status.
fn says(pod: &Pod, wanted: &Value) -> bool {
    pod.status
        .as_ref()
        .and_then(|status| serde_json::to_value(status).ok())
        .is_some_and(|status| within(wanted, &status))
}

fn within(wanted: &Value, have: &Value) -> bool {
    match (wanted, have) {
        (Value::Object(wanted), _) => wanted.iter().all(|(key, value)| within(value, &have[key])),
        // Conditions and containers are keyed lists, and others may have added theirs.
        (Value::Array(wanted), Value::Array(have)) => {
            wanted.iter().all(|value| have.iter().any(|other| within(value, other)))
        }
        (Value::Array(wanted), Value::Null) => wanted.is_empty(),
        _ => wanted == have,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Pod {
        let containers = json!([{"name": "engine", "image": "images.weighbridge.local/engine"}]);
        serde_json::from_value(
            json!({"metadata": {"name": "p", "uid": "1"}, "spec": {"containers": containers}}),
        )
        .unwrap()
    }

    #[test]
    fn a_status_once_written_is_not_written_again() {
        for fare in [Behaviour::Ready, Behaviour::OutOfMemory, Behaviour::ImagePullFailure] {
            let mut pod = pod();
            let first = patch(&pod, fare, "10.244.0.1", Timestamp::UNIX_EPOCH).unwrap();
            pod.status = Some(serde_json::from_value(first["status"].clone()).unwrap());
            let later = Timestamp::UNIX_EPOCH + std::time::Duration::from_secs(9);
            assert_eq!(patch(&pod, fare, "10.244.0.1", later), None, "{fare:?}");
        }
    }

    #[test]
    fn memory_kills_are_reported_as_a_kubelet_reports_them() {
        let patch = patch(&pod(), Behaviour::OutOfMemory, "10.244.0.1", Timestamp::UNIX_EPOCH).unwrap();
        let container = &patch["status"]["containerStatuses"][0];
        assert_eq!(container["lastState"]["terminated"]["reason"], "OOMKilled");
        assert_eq!(container["lastState"]["terminated"]["exitCode"], 137);
        assert_eq!(container["state"]["waiting"]["reason"], "CrashLoopBackOff");
    }
}
