use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodSpec, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::{Resource, ResourceExt};
use serde_json::json;
use weighbridge_crds::{ExternalProvider, ModelAccess, ModelCache, ModelDeployment, ResourceProfile, labels};

/// Drops what no step of reconcile reads, before it is kept.
pub trait Prune {
    /// As above.
    fn prune(&mut self);
}

/// managedFields are often half of an object, and few annotations are ours.
fn bookkeeping<K: Resource>(object: &mut K) {
    object.managed_fields_mut().clear();
    object.meta_mut().managed_fields = None;
    object.meta_mut().annotations = None;
}

/// The same, but for these annotations.
fn keep<K: Resource>(object: &mut K, annotations: &[&str]) {
    let of = |name: &&str| object.annotations_mut().remove_entry(*name);
    let kept: BTreeMap<_, _> = annotations.iter().filter_map(of).collect();
    bookkeeping(object);
    object.meta_mut().annotations = Some(kept).filter(|kept| !kept.is_empty());
}

/// Only those of `list` that are `read`, and no room for others.
fn retain<T>(list: &mut Option<Vec<T>>, read: impl Fn(&T) -> bool) {
    let Some(kept) = list else { return };
    kept.retain(read);
    kept.shrink_to_fit();
}

impl Prune for Pod {
    fn prune(&mut self) {
        bookkeeping(self);
        let node_name = self.spec.take().and_then(|spec| spec.node_name);
        self.spec = Some(PodSpec { node_name, ..PodSpec::default() });
        let Some(status) = &mut self.status else { return };
        retain(&mut status.conditions, |told| matches!(&*told.type_, "PodScheduled" | "Ready"));
        (status.pod_ips, status.host_ips, status.host_ip) = (None, None, None);
        let init = status.init_container_statuses.iter_mut().flatten();
        for container in init.chain(status.container_statuses.iter_mut().flatten()) {
            container.volume_mounts = None;
            (container.resources, container.allocated_resources) = (None, None);
            (container.container_id, container.user) = (None, None);
        }
    }
}

impl Prune for Deployment {
    fn prune(&mut self) {
        keep(self, &[labels::MADE_FROM, labels::CANARY_OF]);
        // How far it is, its numbers say.
        let Some(status) = &mut self.status else { return };
        retain(&mut status.conditions, |told| told.type_ == "ReplicaFailure");
    }
}

impl Prune for ControllerRevision {
    fn prune(&mut self) {
        bookkeeping(self);
        // Of what it holds the source alone is told.
        if let Some(data) = &mut self.data {
            data.0 =
                json!({"spec": {"openWeights": {"source": data.0["spec"]["openWeights"]["source"].take()}}});
        }
    }
}

impl Prune for ModelDeployment {
    fn prune(&mut self) {
        keep(self, &[labels::PROMOTE]);
    }
}

macro_rules! prune_bookkeeping {
    ($($kind:ty),+) => {
        $(impl Prune for $kind {
            fn prune(&mut self) {
                bookkeeping(self);
            }
        })+
    };
}

prune_bookkeeping!(
    Service,
    NetworkPolicy,
    Job,
    PersistentVolumeClaim,
    EndpointSlice,
    ExternalProvider,
    ModelAccess,
    ModelCache,
    ResourceProfile
);

#[cfg(test)]
mod tests {
    use super::*;

    fn pruned<K: Prune + serde::de::DeserializeOwned + serde::Serialize>(
        object: serde_json::Value,
    ) -> serde_json::Value {
        let mut object: K = serde_json::from_value(object).unwrap();
        object.prune();
        serde_json::to_value(object).unwrap()
    }

    #[test]
    fn of_a_pods_status_what_conditions_and_phases_are_told_by_stays() {
        let running = json!({"name": "engine", "ready": true, "restartCount": 1, "image": "i", "imageID": "id",
            "state": {"running": {"startedAt": "2026-01-01T00:00:32Z"}}, "lastState": {"terminated": {"exitCode": 137}}});
        let ready = json!([{"type": "Ready", "status": "True"}]);
        let mut told = json!({"phase": "Running", "podIP": "10.0.0.1", "conditions": ready, "containerStatuses": [running],
            "initContainerStatuses": [running]});
        let kept = told.clone();
        told["podIPs"] = json!([{"ip": "10.0.0.1"}]);
        (told["hostIP"], told["hostIPs"]) = (json!("10.1.0.1"), json!([{"ip": "10.1.0.1"}]));
        told["conditions"] = json!([{"type": "Initialized", "status": "True"}, ready[0]]);
        for containers in ["containerStatuses", "initContainerStatuses"] {
            let container = &mut told[containers][0];
            container["containerID"] = json!("containerd://1");
            container["volumeMounts"] = json!([{"name": "models", "mountPath": "/models"}]);
            container["resources"] = json!({"limits": {"cpu": "1"}});
            container["allocatedResources"] = json!({"cpu": "1"});
            container["user"] = json!({"linux": {"uid": 1, "gid": 1}});
        }
        let pod = pruned::<Pod>(
            json!({"metadata": {}, "spec": {"nodeName": "node", "containers": []}, "status": told}),
        );
        assert_eq!(pod["status"], kept);
        assert_eq!(pod["spec"]["nodeName"], "node");
    }

    #[test]
    fn of_a_deployments_conditions_the_refusal_of_its_pods_stays() {
        let refused = json!({"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"});
        let conditions = json!([{"type": "Available", "status": "False"}, refused]);
        let deployment = pruned::<Deployment>(
            json!({"metadata": {}, "status": {"replicas": 2, "conditions": conditions}}),
        );
        assert_eq!(deployment["status"], json!({"replicas": 2, "conditions": [refused]}));
    }
}
