//! The watches.

use futures::stream::{BoxStream, select_all};
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use weighbridge_crds::{ExternalProvider, ModelDeployment, labels};

use super::super::Directory;
use super::assemble::{entries, gateways};
use super::facts::{Change, Facts};

/// Changes taken together before a new snapshot is made: a list of 1,000 models costs a few rebuilds, and
/// a steady stream of changes can't put the snapshot off for ever.
const BATCH: usize = 512;

/// On the EndpointSlices of a Service: its name.
const SERVICE: &str = "kubernetes.io/service-name";

/// A directory that follows the cluster, and the future that does so. It ends only when dropped: with the
/// apiserver gone it tries again, ever less often, while the last state is served. `service` is the one in front of the
/// gateways, in the client's own namespace: how many of them are ready is seen there.
pub fn follow(
    client: Client,
    service: Option<&str>,
) -> (Directory, impl Future<Output = ()> + Send + 'static) {
    let directory = Directory::unsynced();
    let mut watches = vec![
        changes::<ModelDeployment, _>(&client, watcher::Config::default(), Change::Model),
        changes::<ExternalProvider, _>(&client, watcher::Config::default(), Change::Provider),
        changes::<EndpointSlice, _>(&client, labelled(labels::MODEL), Change::EngineSlice),
        changes::<EndpointSlice, _>(&client, labelled(labels::PROVIDER), Change::ProxySlice),
    ];
    if let Some(service) = service {
        let own = Api::default_namespaced(client.clone());
        watches.push(watched(own, labelled(&format!("{SERVICE}={service}")), Change::GatewaySlice));
    }
    (directory.clone(), keep(directory, select_all(watches)))
}

async fn keep(directory: Directory, mut changes: impl futures::Stream<Item = Change> + Unpin) {
    let mut facts = Facts::default();
    while let Some(change) = changes.next().await {
        facts.apply(change);
        for _ in 0..BATCH {
            let Some(Some(change)) = changes.next().now_or_never() else { break };
            facts.apply(change);
        }
        directory.set_gateways(gateways(&facts));
        if facts.complete() {
            directory.replace(entries(&facts));
        }
    }
}

fn labelled(label: &str) -> watcher::Config {
    watcher::Config::default().labels(label)
}

/// Every change of one kind, of every namespace, each made into what the caller keeps.
pub(crate) fn changes<K, C>(
    client: &Client,
    config: watcher::Config,
    change: fn(Event<DeserializeGuard<K>>) -> C,
) -> BoxStream<'static, C>
where
    C: Send + 'static,
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    watched(Api::all(client.clone()), config, change)
}

fn watched<K, C>(
    api: Api<DeserializeGuard<K>>,
    config: watcher::Config,
    change: fn(Event<DeserializeGuard<K>>) -> C,
) -> BoxStream<'static, C>
where
    C: Send + 'static,
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    watch(api, config)
        .default_backoff()
        .modify(|object| object.meta_mut().managed_fields = None)
        .filter_map(move |event| {
            let change = match event {
                Ok(event) => Some(change(event)),
                Err(error) => {
                    tracing::warn!(kind = %K::kind(&()), %error, "a watch failed; it is tried again");
                    None
                }
            };
            std::future::ready(change)
        })
        .boxed()
}
