//! Claims of devices by dynamic resource allocation: what each pod of a revision gets one by.
//!
//! A ResourceClaimTemplate never changes, so that its name has the hash of what it asks for. It is the model's until a
//! Deployment names it, and from then on belongs to those that do: Kubernetes takes it away with the last of them, whoever
//! deletes that, and nobody has to remember a name.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PodResourceClaim, ResourceClaim};
use k8s_openapi::api::resource::v1::{
    CELDeviceSelector, DeviceClaim, DeviceRequest, DeviceSelector, ExactDeviceRequest, ResourceClaimSpec,
    ResourceClaimTemplate, ResourceClaimTemplateSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};
use weighbridge_crds::{Device, Gpu, labels};

use super::revision::digest;
use super::{ObservedModel, names};
use crate::owner::Owner;

/// What a pod calls its claim, and the claim its one request.
const CLAIM: &str = "gpu";

/// Name of the template by which pods get `gpu`, and what it asks for; none where a device plugin gives it.
pub(super) fn asked(owner: &Owner, gpu: &Gpu) -> Option<(String, ResourceClaimTemplateSpec)> {
    let Device::Class(class) = gpu.device() else { return None };
    let selector = |expression: &String| DeviceSelector {
        cel: Some(CELDeviceSelector { expression: expression.clone() }),
    };
    let selectors = gpu.selectors.iter().map(selector).collect();
    let request = ExactDeviceRequest {
        device_class_name: class.to_owned(),
        allocation_mode: Some("ExactCount".to_owned()),
        count: Some(i64::from(gpu.count)),
        selectors: Some(selectors).filter(|all: &Vec<_>| !all.is_empty()),
        ..ExactDeviceRequest::default()
    };
    let request =
        DeviceRequest { name: CLAIM.to_owned(), exactly: Some(request), ..DeviceRequest::default() };
    let devices = DeviceClaim { requests: Some(vec![request]), ..DeviceClaim::default() };
    let spec =
        ResourceClaimTemplateSpec { metadata: None, spec: ResourceClaimSpec { devices: Some(devices) } };
    Some((format!("{}-{CLAIM}-{}", owner.name(), digest(&spec)), spec))
}

/// Templates that are to be there: the one that `gpu` needs, and those that Deployments still name, each with its owners.
pub(super) fn templates(
    owner: &Owner,
    gpu: Option<&Gpu>,
    observed: &ObservedModel,
) -> Vec<ResourceClaimTemplate> {
    let asked = gpu.and_then(|gpu| asked(owner, gpu));
    let mut all = Vec::new();
    for seen in &observed.claim_templates {
        let name = seen.name_any();
        let ours = seen.labels().get(labels::MODEL_UID).is_some_and(|uid| uid == owner.uid());
        let again = asked.as_ref().is_some_and(|(asked, _)| *asked == name);
        let users = users(&name, &observed.deployments);
        if ours && !again && !users.is_empty() {
            all.push(template(owner, name, seen.spec.clone(), users));
        }
    }
    all.extend(asked.map(|(name, spec)| {
        let users = users(&name, &observed.deployments);
        template(owner, name, spec, users)
    }));
    all
}

fn template(
    owner: &Owner,
    name: String,
    spec: ResourceClaimTemplateSpec,
    users: Vec<OwnerReference>,
) -> ResourceClaimTemplate {
    let mut metadata = names::child(owner, name, names::model_labels(owner));
    if !users.is_empty() {
        metadata.owner_references = Some(users);
    }
    ResourceClaimTemplate { metadata, spec }
}

/// Templates that pods of `deployment` get claims by.
pub fn named_templates(deployment: &Deployment) -> impl Iterator<Item = &str> {
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let claims = pod.and_then(|pod| pod.resource_claims.as_deref()).unwrap_or_default();
    claims.iter().filter_map(|claim| claim.resource_claim_template_name.as_deref())
}

/// Deployments that name the template and stay. None of them is its controller, of which there may be one alone.
fn users(template: &str, deployments: &[Arc<Deployment>]) -> Vec<OwnerReference> {
    let stay = deployments.iter().filter(|deployment| deployment.metadata.deletion_timestamp.is_none());
    let users = stay.filter(|deployment| named_templates(deployment).any(|named| named == template));
    users.filter_map(|user| user.owner_ref(&())).collect()
}

/// What a pod says to get a claim by the template of this name.
pub(super) fn of_pod(template: String) -> PodResourceClaim {
    PodResourceClaim {
        name: CLAIM.to_owned(),
        resource_claim_name: None,
        resource_claim_template_name: Some(template),
    }
}

/// What a container says to get what its pod claims.
pub(super) fn of_container() -> ResourceClaim {
    ResourceClaim { name: CLAIM.to_owned(), request: None }
}
