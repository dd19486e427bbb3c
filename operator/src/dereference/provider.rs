use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use weighbridge_crds::{ExternalProvider, labels};

use super::{Certificate, SecretError, Secrets};
use crate::plan::ObservedProvider;
use crate::validate::ProviderReferences;
use crate::watch::Stores;

/// What an ExternalProvider names and what exists of it.
pub struct Provider {
    /// What the spec names.
    pub references: ProviderReferences,
    /// Children.
    pub observed: ObservedProvider,
    /// Pods of the proxy.
    pub pods: Vec<Arc<Pod>>,
    /// The certificate of the proxy.
    pub certificate: Certificate,
}

/// Looks up what `provider` names.
///
/// # Errors
/// A Secret could not be looked at.
pub async fn provider(
    provider: &ExternalProvider,
    stores: &Stores,
    secrets: &Secrets,
) -> Result<Provider, SecretError> {
    let namespace = provider.namespace().unwrap_or_default();
    let uid = provider.uid().unwrap_or_default();
    let mut keys = Vec::with_capacity(provider.spec.api_keys.len());
    for key in &provider.spec.api_keys {
        keys.push(secrets.look(&namespace, &key.secret_key()).await?);
    }
    let name = labels::proxy_certificate(&provider.name_any());
    let certificate = Certificate::Needed(secrets.certificate(&namespace, &name).await?);
    Ok(Provider {
        references: ProviderReferences { keys },
        observed: ObservedProvider {
            deployments: stores.deployments.of(&uid),
            services: stores.services.of(&uid),
            network_policies: stores.network_policies.of(&uid),
        },
        pods: stores.pods.of(&uid),
        certificate,
    })
}
