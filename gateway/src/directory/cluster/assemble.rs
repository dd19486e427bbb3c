//! From facts to directory entries. Pure.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::ResourceExt;
use weighbridge_crds::{ExternalProviderSpec, ModelDeployment, labels};
use weighbridge_tls::Identity;
use weighbridge_wire::lane::Speaks;
use weighbridge_wire::provider::DataPolicy;

use super::super::{Absence, ENGINE, Entry, EntryEndpoint, Seen, Split, World, data_policy, kind, place};
use super::absence;
use super::facts::{Facts, Known};

/// Ready endpoints by namespace and owner (a model or a provider).
type ByOwner = HashMap<(String, String), Vec<EntryEndpoint>>;

/// Every model that can be described. One that can't is left out and harms no other.
pub(super) fn entries(facts: &Facts) -> Vec<Entry> {
    let engine = |namespace, name| Identity::Engine { namespace, name };
    let proxy = |namespace, name| Identity::Proxy { namespace, name };
    let engines = ready_endpoints(&facts.engine_slices, labels::MODEL, engine);
    let proxies = ready_endpoints(&facts.proxy_slices, labels::PROVIDER, proxy);
    facts
        .models
        .iter()
        .filter_map(|((namespace, name), model)| entry(namespace, name, model, facts, &engines, &proxies))
        .collect()
}

fn entry(
    namespace: &str,
    name: &str,
    model: &ModelDeployment,
    facts: &Facts,
    engines: &ByOwner,
    proxies: &ByOwner,
) -> Option<Entry> {
    let at = |owners: &ByOwner, owner: &str| {
        owners.get(&(namespace.to_owned(), owner.to_owned())).cloned().unwrap_or_default()
    };
    let created = model.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second());
    let canonical = format!("{namespace}/{name}");
    let base = Entry {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        world: World::Open,
        provider: None,
        vendor: ENGINE,
        upstream_model: canonical,
        speaks: Speaks::engine(),
        created,
        seen: Seen {
            uid: model.metadata.uid.clone().unwrap_or_default(),
            generation: model.metadata.generation.unwrap_or_default(),
        },
        endpoints: Vec::new(),
        absence: Absence::expected(),
        hold: model.spec.hold.unwrap_or_default(),
        data_policy: None,
        adapters: Vec::new(),
        split: None,
    };
    let provider = model.spec.external.as_ref().map(|external| &external.provider);
    let provider = provider.and_then(|name| facts.providers.get(namespace, name).map(|found| (name, found)));
    let answers = |world| match world {
        weighbridge_crds::World::OpenWeights => !at(engines, name).is_empty(),
        weighbridge_crds::World::External => provider.is_some_and(|(name, _)| !at(proxies, name).is_empty()),
    };
    // Of a swap, the world before goes on while it can. Where it can't, nothing is lost by waiting for the next one.
    let world = model.world_before().filter(|before| answers(*before)).or(model.spec.world());
    let barred = world.and_then(|world| absence::barred(model, world));
    match world {
        Some(weighbridge_crds::World::OpenWeights) => {
            let engine = model.spec.open_weights.as_ref().and_then(|weights| weights.engine.as_ref());
            let adapters = engine.map(|engine| engine.adapters.iter().map(|a| a.name.clone()).collect());
            Some(Entry {
                endpoints: if barred.is_some() { Vec::new() } else { at(engines, name) },
                absence: barred.unwrap_or_else(|| absence::of_engines(model)),
                adapters: adapters.unwrap_or_default(),
                split: split(model),
                ..base
            })
        }
        Some(weighbridge_crds::World::External) => {
            let external = model.spec.external.as_ref()?;
            let provider = provider.map(|(_, found)| found);
            let missing = || {
                let why = format!("ExternalProvider `{}` does not exist", external.provider);
                Absence::lasting("provider_not_found", why)
            };
            let barred = barred.or_else(|| provider.is_none().then(missing));
            Some(Entry {
                world: World::Closed,
                provider: Some(external.provider.clone()),
                vendor: provider.map_or(ENGINE, |provider| kind(provider.spec.kind).vendor()),
                upstream_model: external.model.clone(),
                speaks: provider
                    .map_or(base.speaks, |provider| kind(provider.spec.kind).speaks(&external.model)),
                data_policy: provider.and_then(|provider| demanded(&provider.spec)),
                // The proxy is shared and answers on: what keeps calls from it is that this model has no endpoint.
                endpoints: if barred.is_some() { Vec::new() } else { at(proxies, &external.provider) },
                absence: barred.unwrap_or_else(|| absence::of_proxy(model, &external.provider)),
                ..base
            })
        }
        None => {
            tracing::warn!(%namespace, %name, "a ModelDeployment names no world to serve; it is left out");
            None
        }
    }
}

/// How requests are shared out while a revision is on trial, and until the last pod of one that was is gone.
fn split(model: &ModelDeployment) -> Option<Split> {
    let trial = model.status.as_ref()?.rollout.as_ref()?;
    Some(Split {
        stable: trial.stable.clone(),
        canary: trial.canary.clone(),
        traffic: u64::try_from(trial.traffic).unwrap_or(0).min(100),
        key: trial.key(),
    })
}

/// What a provider's spec demands. A place that no host is made from has no proxy either.
fn demanded(spec: &ExternalProviderSpec) -> Option<Arc<DataPolicy>> {
    let place = place(spec.vertex.as_ref(), spec.bedrock.as_ref()).ok().flatten();
    let place = place.filter(|_| spec.base_url.is_none());
    data_policy(spec.kind, spec.data_policy.as_ref(), place.as_ref())
}

/// How many gateways are ready; 0 where nobody knows.
pub(super) fn gateways(facts: &Facts) -> usize {
    let slices = facts.gateway_slices.iter();
    let ready = slices.flat_map(|(_, slice)| &slice.endpoints).filter(|endpoint| is_ready(endpoint));
    // With two families of addresses a pod is in a slice of each.
    let who = ready.filter_map(|endpoint| {
        let pod = endpoint.target_ref.as_ref().and_then(|target| target.name.as_ref());
        pod.or_else(|| endpoint.addresses.first())
    });
    who.collect::<HashSet<_>>().len()
}

/// Kubernetes: unknown readiness means ready; a terminating endpoint is never ready.
fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint
        .conditions
        .as_ref()
        .is_none_or(|conditions| conditions.ready.unwrap_or(true) && !conditions.terminating.unwrap_or(false))
}

fn ready_endpoints(
    slices: &Known<EndpointSlice>,
    owner_label: &str,
    identity: fn(String, String) -> Identity,
) -> ByOwner {
    let mut owners = ByOwner::new();
    for ((namespace, _), slice) in slices.iter() {
        let (Some(owner), Some(port)) = (slice.labels().get(owner_label), serving_port(slice)) else {
            continue;
        };
        let endpoints = owners.entry((namespace.clone(), owner.clone())).or_default();
        for endpoint in &slice.endpoints {
            // All addresses of an endpoint are one pod's: the first is enough.
            let address = endpoint.addresses.first().and_then(|address| address.parse::<IpAddr>().ok());
            let Some(address) = address.filter(|_| is_ready(endpoint)) else { continue };
            let address = SocketAddr::new(address, port);
            // A pod is in two slices for a moment while the controller moves it.
            if endpoints.iter().any(|known| known.address == address) {
                continue;
            }
            let pod = endpoint.target_ref.as_ref().and_then(|target| target.name.clone());
            endpoints.push(EntryEndpoint {
                address,
                name: pod.unwrap_or_else(|| address.to_string()),
                identity: Some(identity(namespace.clone(), owner.clone())),
            });
        }
    }
    owners
}

/// The port called `http`, or the only port.
fn serving_port(slice: &EndpointSlice) -> Option<u16> {
    let ports = slice.ports.as_deref().unwrap_or_default();
    let named = ports.iter().find(|port| port.name.as_deref() == Some(labels::SERVING_PORT_NAME));
    let only = match ports {
        [only] => Some(only),
        _ => None,
    };
    named.or(only)?.port.and_then(|port| u16::try_from(port).ok())
}

#[cfg(test)]
mod tests;
