use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{Resource, ResourceExt};
use weighbridge_crds::condition::Reason;
use weighbridge_crds::manifest::Manifest;
use weighbridge_crds::{
    EVERY_MODEL, ExternalProvider, ModelAccess, ModelCache, ModelDeployment, OpenWeights, ResourceProfile,
    SecretKey,
};
use weighbridge_fit::ModelFacts;

use super::{
    CacheChildren, Decision, Images, ModelChildren, ObservedCache, ObservedModel, Prepared, ProviderChildren,
};
use crate::validate::{
    self, Asker, CacheAsked, CacheReferences, CacheSeen, Header, KeyLookup, ModelReferences, Named, Open,
    Place, ProviderReferences, Refusal, Right, Served, ValidatedModel, ValidatedProvider,
};

/// Stands in for the UID that a server would give. No server has it.
const NO_UID: &str = "00000000-0000-0000-0000-000000000000";

/// An object of a file that can't be served.
#[derive(Debug, thiserror::Error)]
#[error("{kind} {namespace}/{name}: {source}")]
pub struct OfflineError {
    /// Kind of the object.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The field and the fix.
    #[source]
    pub source: Refusal,
}

/// What the operator would make of one object of a file in an empty cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// Kind of the parent.
    pub kind: String,
    /// Namespace of the parent.
    pub namespace: String,
    /// Name of the parent.
    pub name: String,
    /// Children, as JSON with apiVersion and kind.
    pub objects: Vec<serde_json::Value>,
    /// Each decision with its reason.
    pub decisions: Vec<Decision>,
}

/// Reads the header of weights; none where they are not at hand; in words, why it can't be read.
pub type Look<'a> = dyn FnMut(&Open) -> Result<Option<ModelFacts>, String> + 'a;

/// Plans every ModelDeployment, ExternalProvider and ModelAccess of a file, with no cluster.
///
/// Assumptions: profiles and providers are in the file; Secrets that are not are taken to exist, and the
/// decisions say so. `look` reads the header of a model's weights, where they are at hand.
///
/// # Errors
/// The first object that can't be served.
pub fn plan_offline(
    manifests: &[Manifest],
    images: &Images,
    look: &mut Look<'_>,
) -> Result<Vec<Planned>, OfflineError> {
    let mut planned = Vec::new();
    for manifest in manifests {
        match manifest {
            Manifest::ModelDeployment(model) => planned.push(one_model(model, manifests, images, look)?),
            Manifest::ExternalProvider(provider) => planned.push(one_provider(provider, manifests, images)?),
            Manifest::ModelAccess(access) => planned.push(one_access(access)),
            Manifest::ModelCache(cache) => planned.push(one_cache(cache, manifests, images)?),
            Manifest::ResourceProfile(_)
            | Manifest::Secret(_)
            | Manifest::ConfigMap(_)
            | Manifest::Other { .. } => {}
        }
    }
    Ok(planned)
}

/// Every ModelDeployment and ExternalProvider of a file, checked for serving on this machine.
///
/// # Errors
/// The first object that can't be served.
pub fn validate_local(
    manifests: &[Manifest],
) -> Result<(Vec<ValidatedModel>, Vec<ValidatedProvider>), OfflineError> {
    let (mut models, mut providers) = (Vec::new(), Vec::new());
    for manifest in manifests {
        match manifest {
            Manifest::ModelDeployment(model) => {
                let model = placed(&**model);
                let checked = validate::model(&model, &references(&model, manifests), Place::Machine);
                models.push(checked.map_err(|source| refused(&model, source))?);
            }
            Manifest::ExternalProvider(provider) => {
                let provider = placed(&**provider);
                let checked = validate::provider(&provider, &keys_of(&provider, manifests));
                providers.push(checked.map_err(|source| refused(&provider, source))?);
            }
            Manifest::ResourceProfile(_)
            | Manifest::ModelAccess(_)
            | Manifest::ModelCache(_)
            | Manifest::Secret(_)
            | Manifest::ConfigMap(_)
            | Manifest::Other { .. } => {}
        }
    }
    Ok((models, providers))
}

fn one_model(
    model: &ModelDeployment,
    manifests: &[Manifest],
    images: &Images,
    look: &mut Look<'_>,
) -> Result<Planned, OfflineError> {
    let model = placed(model);
    let mut named = references(&model, manifests);
    let mut checked =
        validate::model(&model, &named, Place::Cluster).map_err(|source| refused(&model, source))?;
    if let Served::Open(open) = &checked.served {
        let found = look(open).map_err(|problem| {
            let problem = format!("openWeights: the header of the weights can't be read: {problem}");
            refused(&model, Refusal::new(Reason::InvalidSpec, problem))
        })?;
        if let Some(facts) = found {
            named.header = Header::Here(Some(Box::new(facts)));
            checked =
                validate::model(&model, &named, Place::Cluster).map_err(|source| refused(&model, source))?;
        }
    }
    let plan = super::model(&checked, &ObservedModel::default(), images);
    // With nothing there, nothing runs that another revision could be tried beside.
    let ModelChildren::<Prepared> { deployment, stable: _, service, state: _ } = &plan.children;
    let objects = plan.inspection.iter().map(typed).chain(plan.claim_templates.iter().map(typed));
    let objects = objects.chain(deployment.iter().map(typed)).chain(service.iter().map(typed)).collect();
    Ok(described(&model, objects, plan.decisions))
}

fn one_provider(
    provider: &ExternalProvider,
    manifests: &[Manifest],
    images: &Images,
) -> Result<Planned, OfflineError> {
    let provider = placed(provider);
    let checked = validate::provider(&provider, &keys_of(&provider, manifests))
        .map_err(|source| refused(&provider, source))?;
    let plan = super::provider(&checked, images);
    let ProviderChildren::<Prepared> { network_policy, service, deployment, state: _ } = &plan.children;
    let objects = vec![typed(network_policy), typed(service), typed(deployment)];
    Ok(described(&provider, objects, plan.decisions))
}

/// Its claim, and a Job for each source that the file asks it to hold, as if none were held.
fn one_cache(cache: &ModelCache, manifests: &[Manifest], images: &Images) -> Result<Planned, OfflineError> {
    let cache = placed(cache);
    let found = CacheReferences { asked: asked_of(&cache, manifests) };
    let checked = validate::cache(&cache, &found).map_err(|source| refused(&cache, source))?;
    if let Some(why) = checked.wanted.iter().find_map(|wanted| wanted.located.as_ref().err()) {
        return Err(refused(&cache, why.clone()));
    }
    // A claim that is named is taken to exist, and the epoch for a time: nothing here depends on it.
    let claim = Some(super::ClaimSeen { uid: NO_UID.to_owned(), trouble: None });
    let observed = ObservedCache { claim, ..ObservedCache::default() };
    let plan = super::cache(&checked, &observed, images, Timestamp::UNIX_EPOCH);
    let CacheChildren::<Prepared> { claim, network_policy, state: _ } = &plan.children;
    let objects = claim.iter().map(typed).chain([typed(network_policy)]);
    let objects = objects.chain(plan.jobs.iter().map(typed)).collect();
    Ok(described(&cache, objects, plan.decisions))
}

/// What the file asks `cache` to hold.
fn asked_of(cache: &ModelCache, manifests: &[Manifest]) -> Vec<CacheAsked> {
    let namespace = cache.namespace();
    let right = |weights: &OpenWeights| {
        let look = |key: &SecretKey| secret_of(key, namespace.clone(), manifests);
        let named = weights.hub.as_ref().and_then(|hub| hub.token_secret.as_ref());
        let credentials = weights.needed_credentials().iter().map(look).collect();
        Right::Looked { token: named.map_or(KeyLookup::Unnamed, look), credentials }
    };
    let prefetch = cache.spec.prefetch.iter().map(validate::as_weights).enumerate();
    let prefetch = prefetch.map(|(index, weights)| CacheAsked {
        by: Asker::Prefetch(index),
        right: right(&weights),
        weights,
    });
    let models = manifests.iter().filter_map(|manifest| {
        let Manifest::ModelDeployment(model) = manifest else { return None };
        let weights = validate::asks(&model.spec, &cache.name_any())?;
        let of_it = placed(&**model).namespace() == namespace;
        of_it.then(|| CacheAsked {
            by: Asker::Model(model.name_any()),
            right: right(weights),
            weights: weights.clone(),
        })
    });
    prefetch.chain(models).collect()
}

fn cache_of(name: &str, namespace: Option<String>, manifests: &[Manifest]) -> Option<CacheSeen> {
    manifests.iter().find_map(|manifest| match manifest {
        Manifest::ModelCache(cache) => {
            let is_meant = cache.name_any() == name && placed(&**cache).namespace() == namespace;
            is_meant.then(|| CacheSeen::assumed(cache))
        }
        Manifest::ModelDeployment(_)
        | Manifest::ExternalProvider(_)
        | Manifest::ResourceProfile(_)
        | Manifest::Secret(_)
        | Manifest::ConfigMap(_)
        | Manifest::ModelAccess(_)
        | Manifest::Other { .. } => None,
    })
}

/// It owns nothing: the gateway reads it.
fn one_access(access: &ModelAccess) -> Planned {
    let access = placed(access);
    let keys: Vec<_> = access.spec.keys.iter().map(|key| key.name.as_str()).collect();
    let models = match access.spec.models.as_slice() {
        [every] if every == EVERY_MODEL => "every model of the namespace".to_owned(),
        models => models.join(", "),
    };
    let why = "the gateway holds callers' keys against the hashes here";
    let decision = Decision::new(format!("{} may call {models}", keys.join(", ")), why);
    described(&access, Vec::new(), vec![decision])
}

/// As a server would have stored it: with a namespace and a UID.
fn placed<K: Resource + Clone>(object: &K) -> K {
    let mut object = object.clone();
    object.meta_mut().namespace.get_or_insert_with(|| "default".to_owned());
    object.meta_mut().uid = Some(NO_UID.to_owned());
    object
}

fn references(model: &ModelDeployment, manifests: &[Manifest]) -> ModelReferences {
    let weights = model.spec.open_weights.as_ref();
    let profile = weights.and_then(|weights| weights.resources.as_ref()?.profile.as_deref());
    let token = weights.and_then(|weights| weights.hub.as_ref()?.token_secret.as_ref());
    let cache = weights.and_then(|weights| weights.cache.as_deref());
    let credentials = weights.map(OpenWeights::needed_credentials).unwrap_or_default();
    let provider = model.spec.external.as_ref().map(|external| external.provider.as_str());
    ModelReferences {
        profile: named(profile, |name| profile_of(name, manifests)),
        token: token.map_or(KeyLookup::Unnamed, |key| secret_of(key, model.namespace(), manifests)),
        cache: named(cache, |name| cache_of(name, model.namespace(), manifests)),
        credentials: credentials.iter().map(|key| secret_of(key, model.namespace(), manifests)).collect(),
        provider: named(provider, |name| provider_of(name, model.namespace(), manifests)),
        header: Header::Here(None),
    }
}

fn named<T: Clone>(name: Option<&str>, find: impl FnOnce(&str) -> Option<T>) -> Named<T> {
    name.map_or(Named::Unnamed, |name| find(name).map_or(Named::NotInFile, Named::Found))
}

fn profile_of(name: &str, manifests: &[Manifest]) -> Option<ResourceProfile> {
    manifests.iter().find_map(|manifest| match manifest {
        Manifest::ResourceProfile(profile) => (profile.name_any() == name).then(|| (**profile).clone()),
        Manifest::ModelDeployment(_)
        | Manifest::ExternalProvider(_)
        | Manifest::Secret(_)
        | Manifest::ConfigMap(_)
        | Manifest::ModelAccess(_)
        | Manifest::ModelCache(_)
        | Manifest::Other { .. } => None,
    })
}

fn provider_of(name: &str, namespace: Option<String>, manifests: &[Manifest]) -> Option<ExternalProvider> {
    manifests.iter().find_map(|manifest| match manifest {
        Manifest::ExternalProvider(provider) => {
            let is_meant = provider.name_any() == name && placed(&**provider).namespace() == namespace;
            is_meant.then(|| (**provider).clone())
        }
        Manifest::ModelDeployment(_)
        | Manifest::ResourceProfile(_)
        | Manifest::Secret(_)
        | Manifest::ConfigMap(_)
        | Manifest::ModelAccess(_)
        | Manifest::ModelCache(_)
        | Manifest::Other { .. } => None,
    })
}

fn keys_of(provider: &ExternalProvider, manifests: &[Manifest]) -> ProviderReferences {
    let keys = provider.spec.api_keys.iter();
    let keys = keys.map(|key| secret_of(&key.secret_key(), provider.namespace(), manifests)).collect();
    ProviderReferences { keys }
}

fn secret_of(named: &SecretKey, namespace: Option<String>, manifests: &[Manifest]) -> KeyLookup {
    let secret = manifests.iter().find_map(|manifest| match manifest {
        Manifest::Secret(secret) => {
            let is_meant =
                secret.name_any() == named.name && placed::<Secret>(secret).namespace() == namespace;
            is_meant.then_some(secret)
        }
        Manifest::ModelDeployment(_)
        | Manifest::ExternalProvider(_)
        | Manifest::ResourceProfile(_)
        | Manifest::ModelAccess(_)
        | Manifest::ModelCache(_)
        | Manifest::ConfigMap(_)
        | Manifest::Other { .. } => None,
    });
    let Some(secret) = secret else { return KeyLookup::Assumed };
    let plain = secret.string_data.as_ref().is_some_and(|data| data.contains_key(&named.key));
    let encoded = secret.data.as_ref().is_some_and(|data| data.contains_key(&named.key));
    if plain || encoded { KeyLookup::Present } else { KeyLookup::KeyMissing }
}

fn refused<K: Resource<DynamicType = ()>>(object: &K, source: Refusal) -> OfflineError {
    OfflineError {
        kind: K::kind(&()).into_owned(),
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        source,
    }
}

fn described<K: Resource<DynamicType = ()>>(
    parent: &K,
    objects: Vec<serde_json::Value>,
    decisions: Vec<Decision>,
) -> Planned {
    Planned {
        kind: K::kind(&()).into_owned(),
        namespace: parent.namespace().unwrap_or_default(),
        name: parent.name_any(),
        objects,
        decisions,
    }
}

/// k8s-openapi writes apiVersion and kind itself; a child is maps with string keys, so this can't fail.
fn typed<K: serde::Serialize>(object: &K) -> serde_json::Value {
    serde_json::to_value(object).unwrap_or_default()
}
