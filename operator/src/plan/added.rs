use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};

use super::Decision;
use crate::validate::{AddedContainer, AddedMetadata, AddedSpec, PodTemplate};

/// Puts what a model adds to its pods beside what the plan has.
///
/// Guarantees: takes nothing away and changes nothing that is there; validation has refused what would.
pub fn add(template: &mut PodTemplateSpec, added: &PodTemplate, decisions: &mut Vec<Decision>) {
    let PodTemplate { metadata, spec } = added;
    if let Some(AddedMetadata { labels, annotations }) = metadata {
        let to = template.metadata.get_or_insert_default();
        to.labels.get_or_insert_default().extend(labels.clone());
        if !annotations.is_empty() {
            to.annotations.get_or_insert_default().extend(annotations.clone());
        }
    }
    if let Some(spec) = spec {
        add_spec(template.spec.get_or_insert_default(), spec);
    }
    decisions.push(Decision::new(
        "labels, placement, volumes and variables beside these",
        "openWeights.podTemplate adds them",
    ));
}

fn add_spec(to: &mut PodSpec, added: &AddedSpec) {
    let AddedSpec {
        affinity,
        containers,
        dns_config,
        dns_policy,
        host_aliases,
        image_pull_secrets,
        node_selector,
        preemption_policy,
        priority_class_name,
        runtime_class_name,
        scheduler_name,
        tolerations,
        topology_spread_constraints,
        volumes,
    } = added.clone();
    to.affinity = affinity;
    to.dns_config = dns_config;
    to.dns_policy = dns_policy;
    to.preemption_policy = preemption_policy;
    to.priority_class_name = priority_class_name;
    to.runtime_class_name = runtime_class_name;
    to.scheduler_name = scheduler_name;
    extend(&mut to.host_aliases, host_aliases);
    extend(&mut to.image_pull_secrets, image_pull_secrets);
    extend(&mut to.tolerations, tolerations);
    extend(&mut to.topology_spread_constraints, topology_spread_constraints);
    extend(&mut to.volumes, volumes);
    if !node_selector.is_empty() {
        to.node_selector.get_or_insert_default().extend(node_selector);
    }
    for AddedContainer { name, env, volume_mounts } in containers {
        for container in to.containers.iter_mut().filter(|container| container.name == name) {
            extend(&mut container.env, env.clone());
            extend(&mut container.volume_mounts, volume_mounts.clone());
        }
    }
}

/// A list that stays empty stays away.
fn extend<T>(to: &mut Option<Vec<T>>, added: Vec<T>) {
    if !added.is_empty() {
        to.get_or_insert_default().extend(added);
    }
}
