use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use weighbridge_crds::labels;

use crate::owner::Owner;
use crate::validate::Held;

/// Key of the label whose value on every child is [`labels::MANAGED_BY`].
pub const MANAGED_BY_KEY: &str = "app.kubernetes.io/managed-by";
/// Key of the label that tells engines, proxies and gateways apart.
pub const COMPONENT_KEY: &str = "app.kubernetes.io/component";

/// Labels, as Kubernetes keeps them.
pub type Labels = BTreeMap<String, String>;

/// Labels of every child of a ModelDeployment.
pub fn model_labels(owner: &Owner) -> Labels {
    common("engine", (labels::MODEL, labels::MODEL_UID), owner)
}

/// Labels of an engine's pod: which entries of which cache it reads are among them.
pub fn engine_labels(owner: &Owner, held: Option<&Held>) -> Labels {
    let mut all = model_labels(owner);
    if let Some(held) = held {
        let names = held.entries().map(|entry| format!("{}{}", labels::HELD_PREFIX, entry.name));
        all.extend(names.map(|name| (name, held.cache.clone())));
    }
    all
}

/// Labels of the pod that reads the header of a ModelDeployment's weights. None of them is an engine's, so that no Service,
/// scale or policy takes it for one.
pub fn inspection_labels(owner: &Owner) -> Labels {
    common("inspection", (labels::INSPECTED, labels::INSPECTED_UID), owner)
}

/// Labels of every child of an ExternalProvider.
pub fn provider_labels(owner: &Owner) -> Labels {
    common("provider-proxy", (labels::PROVIDER, labels::PROVIDER_UID), owner)
}

/// Labels of what is made for a ModelCache; `component` tells its Jobs and their pods apart.
pub fn cache_labels(owner: &Owner, component: &str) -> Labels {
    common(component, (labels::CACHE, labels::CACHE_UID), owner)
}

fn common(component: &str, (name, uid): (&str, &str), owner: &Owner) -> Labels {
    Labels::from([
        ("app.kubernetes.io/name".to_owned(), "weighbridge".to_owned()),
        (COMPONENT_KEY.to_owned(), component.to_owned()),
        (MANAGED_BY_KEY.to_owned(), labels::MANAGED_BY.to_owned()),
        (name.to_owned(), owner.name().to_owned()),
        (uid.to_owned(), owner.uid().to_owned()),
    ])
}

/// Selector of a ModelDeployment's pods, of every revision.
pub fn model_selector(owner: &Owner) -> Labels {
    Labels::from([(labels::MODEL_UID.to_owned(), owner.uid().to_owned())])
}

/// Selector of a proxy's pods.
pub fn provider_selector(owner: &Owner) -> Labels {
    Labels::from([(labels::PROVIDER_UID.to_owned(), owner.uid().to_owned())])
}

/// Selector of the pods of a ModelCache's Jobs.
pub fn cache_selector(owner: &Owner) -> Labels {
    Labels::from([(labels::CACHE_UID.to_owned(), owner.uid().to_owned())])
}

/// Metadata of a child.
pub fn child(owner: &Owner, name: String, labels: Labels) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(owner.namespace().to_owned()),
        labels: Some(labels),
        owner_references: Some(vec![owner.reference()]),
        ..ObjectMeta::default()
    }
}
