use std::sync::Arc;

use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};
use kube::ResourceExt;
use weighbridge_crds::condition::Reason;
use weighbridge_crds::{InspectedModel, labels};

use crate::plan::{Inspection, InspectionState};
use crate::status::PodsView;
use crate::validate::Refusal;

/// Whether a pod of a model's reads a header, and serves nothing.
pub(super) fn is_inspection(pod: &Arc<Pod>) -> bool {
    pod.labels().contains_key(labels::INSPECTED_UID)
}

/// What is known of the pods in `pods` that are not on their way out, and what those that have ended read.
pub(super) fn inspections(model: &str, pods: &[Arc<Pod>]) -> (Vec<Inspection>, Vec<InspectedModel>) {
    let (mut inspections, mut read) = (Vec::new(), Vec::new());
    let prefix = labels::inspection_pod(model, "");
    for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let name = pod.name_any();
        let state = state(pod);
        if let (InspectionState::Read(facts), Some(inspection)) = (&state, name.strip_prefix(&prefix)) {
            read.push(InspectedModel { inspection: inspection.to_owned(), facts: (**facts).clone() });
        }
        inspections.push(Inspection { name, uid: pod.uid().unwrap_or_default(), state });
    }
    (inspections, read)
}

fn state(pod: &Pod) -> InspectionState {
    let status = pod.status.as_ref();
    let containers = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    let ended = containers.iter().find_map(|container| container.state.as_ref()?.terminated.as_ref());
    if let Some(ended) = ended.filter(|ended| ended.exit_code == 0) {
        return said(ended);
    }
    match status.and_then(|status| status.phase.as_deref()) {
        Some("Succeeded" | "Failed") => InspectionState::Ended,
        _ => {
            let view = PodsView::of(pod);
            let trouble = view.unplaced().or_else(|| view.not_running());
            trouble.map_or(InspectionState::Running, |trouble| {
                InspectionState::Troubled(Refusal::new(trouble.reason, trouble.message))
            })
        }
    }
}

fn said(ended: &ContainerStateTerminated) -> InspectionState {
    let words = ended.message.as_deref().unwrap_or_default();
    match serde_json::from_str(words) {
        Ok(facts) => InspectionState::Read(facts),
        Err(error) => {
            let message =
                format!("it said what is no description of a model: {error}: see the image of the engine");
            InspectionState::Troubled(Refusal::new(Reason::CrashLoop, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn found(status: Value) -> (Vec<Inspection>, Vec<InspectedModel>) {
        let pod = json!({"metadata": {"name": "m-inspect-0123456789", "uid": "u"}, "status": status});
        inspections("m", &[Arc::new(serde_json::from_value(pod).unwrap())])
    }

    fn ended(code: i32, message: &str) -> Value {
        json!([{"name": "inspect", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": code, "message": message}}}])
    }

    #[test]
    fn what_a_pod_says_last_is_what_the_header_says() {
        let facts = json!({"architecture": "llama", "parameters": 1, "bytes": 2, "bytesByType": {"BF16": 2}, "layers": 1,
            "heads": 1, "kvHeads": 1, "headLength": 1, "vocabulary": 1, "builtContext": 1, "contextLength": 1,
            "maxSequences": 1, "kvBytesPerToken": 1, "devices": []});
        let status = json!({"phase": "Succeeded", "containerStatuses": ended(0, &facts.to_string())});
        let (inspections, read) = found(status);
        assert!(
            matches!(&inspections[0].state, InspectionState::Read(facts) if facts.architecture == "llama")
        );
        assert_eq!((read[0].inspection.as_str(), read[0].facts.bytes), ("0123456789", 2));
    }

    #[test]
    fn what_stands_in_its_way_is_told_and_a_pod_without_a_word_has_ended() {
        let state = |status| found(status).0.remove(0).state;
        assert_eq!(state(json!({"phase": "Pending"})), InspectionState::Running);
        let failed = state(
            json!({"phase": "Running", "containerStatuses": ended(1, "Error: can't fetch hf://o/r/f")}),
        );
        assert!(
            matches!(&failed, InspectionState::Troubled(why) if why.reason == Reason::DownloadFailed),
            "{failed:?}"
        );
        let scheduled = json!([{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]);
        let waiting = state(json!({"phase": "Pending", "conditions": scheduled}));
        assert!(
            matches!(&waiting, InspectionState::Troubled(why) if why.message == "0/1 nodes"),
            "{waiting:?}"
        );
        let nonsense = state(json!({"phase": "Succeeded", "containerStatuses": ended(0, "{}")}));
        assert!(
            matches!(&nonsense, InspectionState::Troubled(why) if why.message.contains("no description"))
        );
        assert_eq!(state(json!({"phase": "Failed", "reason": "Evicted"})), InspectionState::Ended);
        let gone = json!({"metadata": {"name": "m-inspect-1", "uid": "u", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        assert_eq!(inspections("m", &[Arc::new(serde_json::from_value(gone).unwrap())]).0, []);
    }
}
