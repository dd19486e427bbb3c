use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::error_boundary::InvalidObject;
use tokio::sync::Notify;

use crate::events::Events;
use crate::leader::Leadership;

/// Objects of our kinds that can't be read, most often because their CRD is of a later version than this program. Who leads
/// tells each once, on the object itself: no reconcile comes to it. Cheap to clone.
#[derive(Clone, Default)]
pub struct Unreadable(Arc<Inner>);

#[derive(Default)]
struct Inner {
    found: Mutex<BTreeMap<Key, Found>>,
    changed: Notify,
}

/// Time until what was not taken is told again.
const RETRY: Duration = Duration::from_secs(2);

/// Kind, namespace and name.
type Key = (String, String, String);

struct Found {
    object: ObjectReference,
    why: String,
    told: bool,
}

impl Unreadable {
    /// One was found.
    pub(super) fn found<K: Resource<DynamicType = ()>>(&self, invalid: &InvalidObject) {
        let InvalidObject { error, metadata } = invalid;
        let key = key::<K>(metadata);
        let object = ObjectReference {
            api_version: Some(K::api_version(&()).into_owned()),
            kind: Some(key.0.clone()),
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone(),
            uid: metadata.uid.clone(),
            ..ObjectReference::default()
        };
        let mut found = self.all();
        if found.get(&key).is_some_and(|found| found.why == *error && found.object.uid == object.uid) {
            return;
        }
        found.insert(key, Found { object, why: error.clone(), told: false });
        self.0.changed.notify_one();
    }

    /// One can be read, or is gone.
    pub(super) fn passed<K: Resource<DynamicType = ()>>(&self, metadata: &ObjectMeta) {
        self.all().remove(&key::<K>(metadata));
    }

    /// Tells of them while this process leads; never ends.
    pub async fn told(self, events: Events, leadership: Leadership) {
        loop {
            leadership.gained().await;
            let mut told = true;
            while let Some((key, object, why)) = self.untold().filter(|_| told) {
                told = events.unreadable(&object, &why).await;
                if let Some(found) = self.all().get_mut(&key).filter(|found| found.why == why) {
                    found.told = told;
                }
            }
            if told {
                self.0.changed.notified().await;
            } else {
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    fn untold(&self) -> Option<(Key, ObjectReference, String)> {
        let found = self.all();
        let (key, Found { object, why, told: _ }) = found.iter().find(|(_, found)| !found.told)?;
        Some((key.clone(), object.clone(), why.clone()))
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Key, Found>> {
        self.0.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key<K: Resource<DynamicType = ()>>(metadata: &ObjectMeta) -> Key {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    (K::kind(&()).into_owned(), text(&metadata.namespace), text(&metadata.name))
}
