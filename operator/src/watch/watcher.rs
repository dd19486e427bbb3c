use std::fmt::Debug;
use std::future::ready;

use futures::{Stream, StreamExt};
use kube::core::DeserializeGuard;
use kube::runtime::watcher::{Config, Event};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use super::Unreadable;
use super::prune::Prune;
use crate::metrics::Metrics;

/// Events of one kind for ever, each object pruned.
///
/// Guarantees: an object that can't be read is left out, named in the log and counted; it never ends the
/// watch. What was readable before keeps its last readable view; apply finds on the server that it is old, and
/// writes nothing on it.
pub fn events<K>(
    api: Api<DeserializeGuard<K>>,
    config: Config,
    metrics: Metrics,
) -> impl Stream<Item = Event<K>> + Send
where
    K: Resource<DynamicType = ()> + Prune + Clone + Debug + DeserializeOwned + Send + 'static,
{
    events_told(api, config, metrics, Unreadable::default())
}

/// The same, and what can't be read is put down in `unreadable`.
pub fn events_told<K>(
    api: Api<DeserializeGuard<K>>,
    config: Config,
    metrics: Metrics,
    unreadable: Unreadable,
) -> impl Stream<Item = Event<K>> + Send
where
    K: Resource<DynamicType = ()> + Prune + Clone + Debug + DeserializeOwned + Send + 'static,
{
    watcher(api, config).default_backoff().filter_map(move |event| {
        ready(match event {
            Ok(event) => readable(event, &metrics, &unreadable),
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
fn readable<K>(
    event: Event<DeserializeGuard<K>>,
    metrics: &Metrics,
    unreadable: &Unreadable,
) -> Option<Event<K>>
where
    K: Resource<DynamicType = ()> + Prune,
{
    match event {
        Event::Apply(object) => guarded(object, metrics, unreadable).map(Event::Apply),
        Event::Delete(object) => {
            unreadable.passed::<K>(object.meta());
            object.0.ok().map(pruned).map(Event::Delete)
        }
        Event::InitApply(object) => guarded(object, metrics, unreadable).map(Event::InitApply),
        Event::Init => Some(Event::Init),
        Event::InitDone => Some(Event::InitDone),
    }
}

fn guarded<K: Resource<DynamicType = ()> + Prune>(
    object: DeserializeGuard<K>,
    metrics: &Metrics,
    unreadable: &Unreadable,
) -> Option<K> {
    match object.0 {
        Ok(object) => {
            unreadable.passed::<K>(object.meta());
            Some(pruned(object))
        }
        Err(invalid) => {
            unreadable.found::<K>(&invalid);
            let kind = K::kind(&());
            metrics.malformed(&kind);
            let (namespace, name) =
                (invalid.metadata.namespace.unwrap_or_default(), invalid.metadata.name.unwrap_or_default());
            tracing::error!(%kind, namespace, name, error = %invalid.error, "an object can't be read and is left out");
            None
        }
    }
}

fn pruned<K: Prune>(mut object: K) -> K {
    object.prune();
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Response};
    use k8s_openapi::api::core::v1::Service;
    use kube::client::Body;
    use kube::{Client, ResourceExt};
    use serde_json::json;

    /// A list with a malformed object in it, then a watch with one.
    async fn answer(request: Request<Body>) -> Result<Response<Body>, std::io::Error> {
        let service = |name: &str, spec: serde_json::Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "n", "resourceVersion": "1"}, "spec": spec});
        let body = if request.uri().query().is_some_and(|query| query.contains("watch=true")) {
            let events = [service("broken-later", json!("text")), service("good-later", json!({}))];
            events.map(|object| format!("{}\n", json!({"type": "ADDED", "object": object}))).concat()
        } else {
            json!({"apiVersion": "v1", "kind": "ServiceList", "metadata": {"resourceVersion": "1"},
                "items": [service("broken", json!({"ports": "none"})), service("good", json!({}))]})
            .to_string()
        };
        Ok(Response::new(Body::from(body.into_bytes())))
    }

    #[tokio::test]
    async fn a_malformed_object_is_left_out_and_the_others_go_on() {
        let client = Client::new(tower::service_fn(answer), "default");
        let metrics = Metrics::default();
        let events = events::<Service>(Api::all(client), Config::default(), metrics.clone());
        let mut names = Box::pin(events.filter_map(|event| {
            ready(match event {
                Event::Apply(object) | Event::InitApply(object) => Some(object.name_any()),
                Event::Delete(_) | Event::Init | Event::InitDone => None,
            })
        }));
        assert_eq!(names.next().await.as_deref(), Some("good"));
        assert_eq!(names.next().await.as_deref(), Some("good-later"));
        assert!(
            metrics.text().contains("weighbridge_reconcile_malformed_objects_total{kind=\"Service\"} 2"),
            "{}",
            metrics.text()
        );
    }
}
