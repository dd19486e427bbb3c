use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};
use weighbridge_crds::labels;

use crate::owner::controller_uid;

/// Kinds of parents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParentKind {
    /// A ModelDeployment.
    Model,
    /// An ExternalProvider.
    Provider,
    /// A ModelCache.
    Cache,
}

/// The parent that a child's labels name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Parent {
    /// Its kind.
    pub kind: ParentKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

impl Parent {
    /// The parent of `child`, by its labels. A child whose controller is somebody else has none; pods belong to
    /// their ReplicaSets, so that their labels alone count.
    pub fn of<K: Resource<DynamicType = ()>>(child: &K) -> Option<Parent> {
        let labels = child.labels();
        let find = |kind, name: &str, uid: &str| {
            let (name, uid) = (labels.get(name)?.clone(), labels.get(uid)?.clone());
            Some(Parent { kind, namespace: child.namespace().unwrap_or_default(), name, uid })
        };
        let parent = find(ParentKind::Model, labels::MODEL, labels::MODEL_UID)
            .or_else(|| find(ParentKind::Model, labels::INSPECTED, labels::INSPECTED_UID))
            .or_else(|| find(ParentKind::Provider, labels::PROVIDER, labels::PROVIDER_UID))
            .or_else(|| find(ParentKind::Cache, labels::CACHE, labels::CACHE_UID))?;
        let is_pod = K::kind(&()) == Pod::kind(&());
        let foreign = controller_uid(child).is_some_and(|controller| controller != parent.uid);
        (is_pod || !foreign).then_some(parent)
    }
}

/// The caches that a pod reads from, or the pods that a Deployment makes, by name alone: pods outlive what they were made by.
fn read_by<K: Resource<DynamicType = ()> + 'static>(child: &K) -> Vec<Parent> {
    let deployment = (child as &dyn Any).downcast_ref::<Deployment>();
    let template = deployment.and_then(|it| it.spec.as_ref()?.template.metadata.as_ref()?.labels.as_ref());
    let all = child.labels().iter().chain(template.into_iter().flatten());
    let held = all.filter(|(label, _)| label.starts_with(labels::HELD_PREFIX));
    let mut caches: Vec<_> = held.map(|(_, cache)| cache.clone()).collect();
    caches.dedup();
    let namespace = child.namespace().unwrap_or_default();
    let parent =
        |name| Parent { kind: ParentKind::Cache, namespace: namespace.clone(), name, uid: String::new() };
    caches.into_iter().map(parent).collect()
}

/// Whom a change of `child` touches.
fn touched_by<K: Resource<DynamicType = ()> + 'static>(child: &K) -> Vec<Parent> {
    let mut touched = read_by(child);
    touched.extend(Parent::of(child));
    touched
}

type Key = (String, String);

struct Inner<K> {
    objects: HashMap<Key, Arc<K>>,
    by_parent: HashMap<String, Vec<Key>>,
    /// Objects of a listing that is not whole yet.
    listing: Option<HashMap<Key, Arc<K>>>,
}

/// Children of one kind, found by the UID of their parent.
pub struct Index<K>(RwLock<Inner<K>>);

impl<K> Default for Index<K> {
    fn default() -> Self {
        Index(RwLock::new(Inner { objects: HashMap::new(), by_parent: HashMap::new(), listing: None }))
    }
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Index<K> {
    /// Children of the parent with this UID, by name.
    pub fn of(&self, uid: &str) -> Vec<Arc<K>> {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let keys = inner.by_parent.get(uid).map(Vec::as_slice).unwrap_or_default();
        let mut found: Vec<_> = keys.iter().filter_map(|key| inner.objects.get(key).cloned()).collect();
        found.sort_by_key(|child| child.name_any());
        found
    }

    /// Children of every parent for which `fits` holds.
    pub fn that(&self, fits: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        inner.objects.values().filter(|object| fits(object)).cloned().collect()
    }

    /// Takes an event in, and returns the parents that it touches.
    pub fn take(&self, event: Event<K>) -> Vec<Parent> {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Init => {
                inner.listing = Some(HashMap::new());
                Vec::new()
            }
            Event::InitApply(object) => {
                inner.listing.get_or_insert_default().insert(key(&object), Arc::new(object));
                Vec::new()
            }
            Event::InitDone => {
                let fresh = inner.listing.take().unwrap_or_default();
                let old = std::mem::replace(&mut inner.objects, fresh);
                inner.by_parent.clear();
                let placed: Vec<_> =
                    inner.objects.iter().map(|(key, object)| (key.clone(), Parent::of(&**object))).collect();
                for (key, parent) in placed {
                    if let Some(parent) = parent {
                        inner.by_parent.entry(parent.uid.clone()).or_default().push(key);
                    }
                }
                old.values().chain(inner.objects.values()).flat_map(|object| touched_by(&**object)).collect()
            }
            Event::Apply(object) => inner.put(object),
            Event::Delete(object) => inner.take_out(&key(&object)),
        }
    }
}

impl<K: Resource<DynamicType = ()> + 'static> Inner<K> {
    fn put(&mut self, object: K) -> Vec<Parent> {
        let key = key(&object);
        let mut touched = self.take_out(&key);
        if let Some(parent) = Parent::of(&object) {
            self.by_parent.entry(parent.uid).or_default().push(key.clone());
        }
        for parent in touched_by(&object) {
            if !touched.contains(&parent) {
                touched.push(parent);
            }
        }
        self.objects.insert(key, Arc::new(object));
        touched
    }

    fn take_out(&mut self, key: &Key) -> Vec<Parent> {
        let Some(object) = self.objects.remove(key) else { return Vec::new() };
        if let Some(parent) = Parent::of(&*object)
            && let Some(keys) = self.by_parent.get_mut(&parent.uid)
        {
            keys.retain(|other| other != key);
            if keys.is_empty() {
                self.by_parent.remove(&parent.uid);
            }
        }
        touched_by(&*object)
    }
}

fn key<K: Resource>(object: &K) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Its pods count as readers while it asks for some, whoever is told of last.
    #[test]
    fn a_deployment_whose_pods_read_from_a_cache_touches_it() {
        let deployment = |labels: Value| -> Deployment {
            let template = json!({"metadata": {"labels": labels}, "spec": {"containers": []}});
            serde_json::from_value(json!({"metadata": {"name": "d", "namespace": "n"},
                "spec": {"selector": {}, "template": template}}))
            .unwrap()
        };
        let index = Index::default();
        let held = format!("{}94b2bd9c94", labels::HELD_PREFIX);
        let touched = index.take(Event::Apply(deployment(json!({held: "store"}))));
        let names: Vec<_> = touched.iter().map(|parent| (parent.kind, parent.name.as_str())).collect();
        assert_eq!(names, [(ParentKind::Cache, "store")]);
        assert_eq!(
            index.take(Event::Apply(deployment(json!({})))),
            touched,
            "the one that it read from before"
        );
    }
}
