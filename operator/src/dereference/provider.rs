use kube::ResourceExt;
use weighbridge_crds::{ExternalProvider, labels};

use super::{Certificate, SecretError, Secrets};
use crate::plan::ObservedProvider;
use crate::proxies::Proxies;
use crate::status::{NamedModel, ProviderView};
use crate::validate::ProviderReferences;
use crate::watch::Stores;

/// What an ExternalProvider names and what exists of it.
pub struct Provider {
    /// What the spec names.
    pub references: ProviderReferences,
    /// Children.
    pub observed: ObservedProvider,
    /// The proxy, and whom it serves.
    pub view: ProviderView,
    /// The certificate of the proxy.
    pub certificate: Certificate,
}

/// Looks up what `provider` names, and who names it.
///
/// # Errors
/// A Secret could not be looked at.
pub async fn provider(
    provider: &ExternalProvider,
    stores: &Stores,
    secrets: &Secrets,
    proxies: &Proxies,
) -> Result<Provider, SecretError> {
    let namespace = provider.namespace().unwrap_or_default();
    let uid = provider.uid().unwrap_or_default();
    let mut keys = Vec::with_capacity(provider.spec.api_keys.len());
    for key in &provider.spec.api_keys {
        keys.push(secrets.look(&namespace, &key.secret_key()).await?);
    }
    let name = provider.name_any();
    let certificate = secrets.certificate(&namespace, &labels::proxy_certificate(&name), &uid).await?;
    let pods = stores.pods.of(&uid);
    let heard = proxies.follow(&namespace, &name, &pods);
    let models = stores.models.state_filter(|model| model.namespace().as_ref() == Some(&namespace));
    let mut models: Vec<NamedModel> = models
        .iter()
        .filter_map(|model| {
            let external = model.spec.external.as_ref().filter(|external| external.provider == name)?;
            Some(NamedModel { deployment: model.name_any(), model: external.model.clone() })
        })
        .collect();
    // The same words for the same state, whatever order models come in.
    models.sort_by(|one, other| one.deployment.cmp(&other.deployment));
    Ok(Provider {
        references: ProviderReferences { keys },
        observed: ObservedProvider {
            deployments: stores.deployments.of(&uid),
            services: stores.services.of(&uid),
            network_policies: stores.network_policies.of(&uid),
        },
        certificate,
        view: ProviderView { pods, heard, models },
    })
}
