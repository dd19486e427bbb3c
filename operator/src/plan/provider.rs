use std::marker::PhantomData;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use weighbridge_crds::labels;

use super::{
    Decision, Images, Prepared, ProviderChildren, Revision, names, network_policy::network_policy, proxy_pod,
    service::service,
};
use crate::validate::ValidatedProvider;

/// Children of an ExternalProvider that exist already.
#[derive(Clone, Debug, Default)]
pub struct ObservedProvider {
    /// Its Deployments.
    pub deployments: Vec<Arc<Deployment>>,
    /// Its Services.
    pub services: Vec<Arc<Service>>,
    /// Its NetworkPolicies.
    pub network_policies: Vec<Arc<NetworkPolicy>>,
}

/// What should exist for an ExternalProvider, and why. Nothing ever goes: names are fixed, and deletion cascades.
#[derive(Clone, Debug, PartialEq)]
pub struct ProviderPlan {
    /// The proxy and what is around it.
    pub children: ProviderChildren<Prepared>,
    /// Revision of the proxy's pod.
    pub revision: Revision,
    /// Each decision with its reason.
    pub decisions: Vec<Decision>,
}

/// One proxy, shared by every ModelDeployment that uses the provider.
pub fn provider(provider: &ValidatedProvider, images: &Images) -> ProviderPlan {
    let owner = &provider.owner;
    let name = labels::proxy(owner.name());
    let mut decisions = vec![Decision::new(
        format!("one pod, Deployment {name}"),
        "the proxy is the only pod that holds the keys; every ModelDeployment that names this provider shares it",
    )];
    let mut template = proxy_pod::template(provider, images, &mut decisions);
    let revision = Revision::of(&template);
    let template_labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    template_labels.insert(labels::REVISION.to_owned(), revision.to_string());
    let network_policy = network_policy(provider, name.clone(), images, &mut decisions);
    let deployment = Deployment {
        metadata: names::child(owner, name.clone(), names::provider_labels(owner)),
        spec: Some(DeploymentSpec {
            replicas: Some(1),
            revision_history_limit: Some(0),
            selector: LabelSelector {
                match_labels: Some(names::provider_selector(owner)),
                match_expressions: None,
            },
            // A changed URL, or another choice of keys, brings the new proxy up before the old one goes.
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(1)),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            template,
            ..DeploymentSpec::default()
        }),
        status: None,
    };
    let children = ProviderChildren {
        network_policy,
        service: service(owner, name, names::provider_labels(owner), names::provider_selector(owner)),
        deployment,
        state: PhantomData,
    };
    ProviderPlan { children, revision, decisions }
}
