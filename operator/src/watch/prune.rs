use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, PodSpec, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::{Resource, ResourceExt};
use weighbridge_crds::{ExternalProvider, ModelAccess, ModelDeployment, ResourceProfile};

/// Drops what no step of reconcile reads, before it is kept.
pub trait Prune {
    /// As above.
    fn prune(&mut self);
}

/// managedFields are often half of an object, and annotations of ours do not exist.
fn bookkeeping<K: Resource>(object: &mut K) {
    object.managed_fields_mut().clear();
    object.meta_mut().managed_fields = None;
    object.meta_mut().annotations = None;
}

impl Prune for Pod {
    fn prune(&mut self) {
        bookkeeping(self);
        let node_name = self.spec.take().and_then(|spec| spec.node_name);
        self.spec = Some(PodSpec { node_name, ..PodSpec::default() });
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
    Deployment,
    Service,
    NetworkPolicy,
    ModelDeployment,
    ExternalProvider,
    ModelAccess,
    ResourceProfile
);
