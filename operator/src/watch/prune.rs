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

impl Prune for Pod {
    fn prune(&mut self) {
        bookkeeping(self);
        let node_name = self.spec.take().and_then(|spec| spec.node_name);
        self.spec = Some(PodSpec { node_name, ..PodSpec::default() });
    }
}

impl Prune for Deployment {
    fn prune(&mut self) {
        keep(self, &[labels::MADE_FROM, labels::CANARY_OF]);
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
