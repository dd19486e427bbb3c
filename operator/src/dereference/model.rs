use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::resource::v1::ResourceClaimTemplate;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt};
use weighbridge_crds::{ModelDeployment, OpenWeights, Promotion, RolloutStatus, World, labels};

use super::inspection::{inspections, is_inspection};
use super::{Certificate, LookError, Secrets};
use crate::apply::Means;
use crate::gateways::Gateways;
use crate::plan::{ObservedModel, named_templates};
use crate::proxies::Proxies;
use crate::status::{ProviderSeen, is_ready};
use crate::validate::{CacheSeen, Header, KeyLookup, ModelReferences, Named};
use crate::watch::Stores;

/// What a ModelDeployment names and what exists of it.
pub struct Model {
    /// What the spec names.
    pub references: ModelReferences,
    /// Children.
    pub observed: ObservedModel,
    /// The provider that the spec names, with its status and what its proxy says.
    pub provider: Option<ProviderSeen>,
    /// The certificate of its engines, if there are or will be any.
    pub certificate: Certificate,
}

/// Looks up what `model` names.
///
/// # Errors
/// A Secret, or a template of claims, could not be looked at.
pub async fn model(
    model: &ModelDeployment,
    stores: &Stores,
    secrets: &Secrets,
    means: &Means,
    proxies: &Proxies,
    gateways: &Gateways,
) -> Result<Model, LookError> {
    let namespace = model.namespace().unwrap_or_default();
    let weights = model.spec.open_weights.as_ref();
    let profile = weights.and_then(|weights| weights.resources.as_ref()?.profile.as_ref());
    let profile = profile.map_or(Named::Unnamed, |name| {
        let found = stores.profiles.get(&ObjectRef::new(name));
        found.map_or(Named::Missing, |profile| Named::Found((*profile).clone()))
    });
    let token = match weights.and_then(|weights| weights.hub.as_ref()?.token_secret.as_ref()) {
        Some(named) => secrets.look(&namespace, named).await?,
        None => KeyLookup::Unnamed,
    };
    let cache = weights.and_then(|weights| weights.cache.as_deref());
    let cache = cache.map_or(Named::Unnamed, |name| {
        let found = stores.caches.get(&ObjectRef::new(name).within(&namespace));
        found.map_or(Named::Missing, |cache| Named::Found(CacheSeen::of(&cache)))
    });
    let needed = weights.map(OpenWeights::needed_credentials).unwrap_or_default();
    let credentials = secrets.look_for(&namespace, &needed).await?;
    let named =
        model.spec.external.as_ref().map(|external| ObjectRef::new(&external.provider).within(&namespace));
    let provider = named.as_ref().and_then(|named| stores.providers.get(named));
    let referenced = match (&named, &provider) {
        (None, _) => Named::Unnamed,
        (Some(_), None) => Named::Missing,
        (Some(_), Some(provider)) => Named::Found((**provider).clone()),
    };
    let uid = model.uid().unwrap_or_default();
    let deployments = stores.deployments.of(&uid);
    // Engines run on when the spec is refused, or about to be replaced by a closed API.
    let certificate = if model.spec.world() == Some(World::OpenWeights) || !deployments.is_empty() {
        let name = labels::engine_certificate(&model.name_any());
        secrets.certificate(&namespace, &name, &uid).await?
    } else {
        Certificate::NotNeeded
    };
    let (looking, pods): (Vec<_>, Vec<_>) = stores.pods.of(&uid).into_iter().partition(is_inspection);
    let (inspections, read) = inspections(&model.name_any(), &looking);
    let recorded = model.status.as_ref().and_then(|status| status.model.as_ref());
    let known = recorded.cloned().into_iter().chain(read).collect();
    let heard = gateways.heard(&namespace, &model.name_any());
    let rollout = model.status.as_ref().and_then(|status| status.rollout.clone());
    Ok(Model {
        references: ModelReferences {
            profile,
            token,
            cache,
            credentials,
            provider: referenced,
            header: Header::Inspected(known),
        },
        observed: ObservedModel {
            claim_templates: claim_templates(&namespace, &deployments, means).await?,
            deployments,
            services: stores.services.of(&uid),
            pods,
            history: stores.history.of(&uid),
            provider_ready: provider.as_ref().is_some_and(|provider| is_ready(provider)),
            told: model.status.as_ref().and_then(|status| status.served.as_ref()?.world()),
            inspections,
            proxies: provider
                .as_ref()
                .and_then(|provider| provider.uid())
                .map_or_else(Vec::new, |uid| stores.pods.of(&uid)),
            measured: heard.measured(&uid, rollout.as_ref().and_then(RolloutStatus::key).as_ref()),
            gateways: heard,
            recorded: recorded.map(|known| labels::inspection_pod(&model.name_any(), &known.inspection)),
            rollout,
            promotion: model.annotations().get(labels::PROMOTE).and_then(|said| Promotion::of(said)),
            now: Timestamp::UNIX_EPOCH,
        },
        certificate,
        provider: provider.map(|provider| ProviderSeen {
            heard: proxies.heard(&namespace, &provider.name_any()),
            provider,
        }),
    })
}

/// What the model's Deployments get claims of devices by, looked for by name and never watched: a cluster may serve no such
/// kind, and a model that asks for none costs no call.
async fn claim_templates(
    namespace: &str,
    deployments: &[Arc<Deployment>],
    means: &Means,
) -> Result<Vec<Arc<ResourceClaimTemplate>>, LookError> {
    let names: BTreeSet<_> = deployments.iter().flat_map(|deployment| named_templates(deployment)).collect();
    let mut found = Vec::new();
    for name in names {
        let api: Api<ResourceClaimTemplate> = Api::namespaced(means.client.clone(), namespace);
        let look = means.caller.read("ResourceClaimTemplate", api.get_opt(name)).await;
        found.extend(look.map_err(LookError::ClaimTemplate)?.map(Arc::new));
    }
    Ok(found)
}
