//! Waiting for the cluster by watching it, always with a deadline and with what was seen last.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::ready;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use futures::{Stream, StreamExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

/// Generous, because a compiler may share the machine: it bounds a failure and delays no success.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// What can be waited for.
pub trait Watched:
    Resource<DynamicType: Default + Clone> + Clone + Debug + DeserializeOwned + Serialize + Send + 'static
{
}
impl<K> Watched for K where
    K: Resource<DynamicType: Default + Clone> + Clone + Debug + DeserializeOwned + Serialize + Send + 'static
{
}

/// Waits until the object is there and `accept` says yes, and returns it.
///
/// `what` ends the sentence "waited 90 s for …".
pub async fn until<K: Watched>(
    api: &Api<K>,
    name: &str,
    what: &str,
    accept: impl Fn(&K) -> bool,
) -> Result<K> {
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let found = until_all(api, only, what, |all| all.iter().any(&accept)).await?;
    found.into_iter().next().ok_or_else(|| anyhow!("{name} vanished"))
}

/// Waits until the object is gone.
pub async fn until_gone<K: Watched>(api: &Api<K>, name: &str) -> Result<()> {
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    until_all(api, only, &format!("the end of {name}"), <[K]>::is_empty).await.map(drop)
}

/// Waits until the objects that `config` selects, taken together, satisfy `accept`.
pub async fn until_all<K: Watched>(
    api: &Api<K>,
    config: watcher::Config,
    what: &str,
    accept: impl Fn(&[K]) -> bool,
) -> Result<Vec<K>> {
    let mut last = Vec::new();
    let found = async {
        let mut states = pin!(states(api, config));
        while let Some(state) = states.next().await {
            last = state?;
            if accept(&last) {
                return Ok(());
            }
        }
        bail!("the watch ended")
    };
    let outcome = timeout(DEADLINE, found).await;
    match outcome {
        Ok(Ok(())) => Ok(last),
        Ok(Err(error)) => Err(error).with_context(|| format!("waiting for {what}")),
        Err(_) => bail!("waited {} s for {what}; last seen:\n{}", DEADLINE.as_secs(), describe(&mut last)),
    }
}

/// The whole set of selected objects, after the first list and after each change.
fn states<K: Watched>(api: &Api<K>, config: watcher::Config) -> impl Stream<Item = Result<Vec<K>>> {
    let mut objects = BTreeMap::new();
    let mut listed = false;
    watcher(api.clone(), config).default_backoff().filter_map(move |event| {
        let key = |object: &K| (object.namespace(), object.name_any());
        match event {
            // The watcher retries by itself; only a refusal will not get better.
            Err(watcher::Error::InitialListFailed(kube::Error::Api(status)))
                if status.is_not_found() || status.is_forbidden() =>
            {
                return ready(Some(Err(anyhow!(status.message))));
            }
            Err(_) => return ready(None),
            Ok(Event::Init) => {
                objects.clear();
                listed = false;
            }
            Ok(Event::InitApply(object) | Event::Apply(object)) => {
                objects.insert(key(&object), object);
            }
            Ok(Event::InitDone) => listed = true,
            Ok(Event::Delete(object)) => {
                objects.remove(&key(&object));
            }
        }
        ready(listed.then(|| Ok(objects.values().cloned().collect())))
    })
}

fn describe<K: Watched>(objects: &mut [K]) -> String {
    for object in objects.iter_mut() {
        object.managed_fields_mut().clear();
    }
    match objects {
        [] => "nothing".to_owned(),
        _ => serde_json::to_string_pretty(objects).unwrap_or_else(|error| error.to_string()),
    }
}
