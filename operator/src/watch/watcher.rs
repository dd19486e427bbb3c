use std::fmt::Debug;
use std::future::ready;

use futures::{Stream, StreamExt};
use kube::core::DeserializeGuard;
use kube::runtime::watcher::{Config, Event};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use super::prune::Prune;
use crate::metrics::Metrics;

/// Events of one kind for ever, each object pruned.
///
/// Guarantees: an object that can't be read is left out, named in the log and counted; it never ends the
/// watch. What was readable before keeps its last readable view; apply finds on the server that it is old, and
/// writes nothing on it.
pub fn events<K>(api: Api<DeserializeGuard<K>>, config: Config, metrics: Metrics) -> impl Stream<Item = Event<K>> + Send
where
    K: Resource<DynamicType = ()> + Prune + Clone + Debug + DeserializeOwned + Send + 'static,
{
    watcher(api, config).default_backoff().filter_map(move |event| {
        ready(match event {
            Ok(event) => readable(event, &metrics),
            Err(error) => {
                let kind = K::kind(&());
                metrics.watch_error(&kind);
                tracing::warn!(%kind, %error, "a watch ended and is begun anew");
                None
            }
        })
    })
}

/// The event with a readable object in it, or none.
fn readable<K>(event: Event<DeserializeGuard<K>>, metrics: &Metrics) -> Option<Event<K>>
where
    K: Resource<DynamicType = ()> + Prune,
{
    match event {
        Event::Apply(object) => guarded(object, metrics).map(Event::Apply),
        Event::Delete(object) => guarded(object, metrics).map(Event::Delete),
        Event::InitApply(object) => guarded(object, metrics).map(Event::InitApply),
        Event::Init => Some(Event::Init),
        Event::InitDone => Some(Event::InitDone),
    }
}

fn guarded<K: Resource<DynamicType = ()> + Prune>(object: DeserializeGuard<K>, metrics: &Metrics) -> Option<K> {
    match object.0 {
        Ok(mut object) => {
            object.prune();
            Some(object)
        }
        Err(invalid) => {
            let kind = K::kind(&());
            metrics.malformed(&kind);
            let (namespace, name) = (invalid.metadata.namespace.unwrap_or_default(), invalid.metadata.name.unwrap_or_default());
            tracing::error!(%kind, namespace, name, error = %invalid.error, "an object can't be read and is left out");
            None
        }
    }
}
