//! What the watches have brought, by kind.

use std::collections::BTreeMap;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use weighbridge_crds::{ExternalProvider, ModelDeployment};

/// Namespace and name.
pub(crate) type Key = (String, String);

/// One change, of one kind.
#[allow(clippy::large_enum_variant, reason = "one is alive at a time")]
pub(super) enum Change {
    Model(Event<DeserializeGuard<ModelDeployment>>),
    Provider(Event<DeserializeGuard<ExternalProvider>>),
    EngineSlice(Event<DeserializeGuard<EndpointSlice>>),
    ProxySlice(Event<DeserializeGuard<EndpointSlice>>),
    GatewaySlice(Event<DeserializeGuard<EndpointSlice>>),
}

/// Everything known about the cluster.
#[derive(Default)]
pub(super) struct Facts {
    pub models: Known<ModelDeployment>,
    pub providers: Known<ExternalProvider>,
    pub engine_slices: Known<EndpointSlice>,
    pub proxy_slices: Known<EndpointSlice>,
    /// Of the Service in front of the gateways themselves; none where nobody names it.
    pub gateway_slices: Known<EndpointSlice>,
}

impl Facts {
    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Model(event) => self.models.apply(event),
            Change::Provider(event) => self.providers.apply(event),
            Change::EngineSlice(event) => self.engine_slices.apply(event),
            Change::ProxySlice(event) => self.proxy_slices.apply(event),
            Change::GatewaySlice(event) => self.gateway_slices.apply(event),
        }
    }

    /// Whether each kind was listed once. How many gateways there are is no reason to wait.
    pub(super) fn complete(&self) -> bool {
        self.models.listed && self.providers.listed && self.engine_slices.listed && self.proxy_slices.listed
    }
}

/// The objects of one kind.
pub(crate) struct Known<K> {
    objects: BTreeMap<Key, K>,
    /// A list under way; it replaces `objects` only when complete, so a relist hides nothing.
    listing: Option<BTreeMap<Key, K>>,
    listed: bool,
}

impl<K> Default for Known<K> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), listing: None, listed: false }
    }
}

impl<K: kube::Resource<DynamicType = ()> + Clone> Known<K> {
    pub(crate) fn apply(&mut self, event: Event<DeserializeGuard<K>>) {
        match event {
            Event::Init => self.listing = Some(BTreeMap::new()),
            Event::InitApply(object) => {
                let read = self.read(object);
                if let (Some(listing), Some((key, object))) = (&mut self.listing, read) {
                    listing.insert(key, object);
                }
            }
            Event::InitDone => {
                if let Some(listing) = self.listing.take() {
                    self.objects = listing;
                    self.listed = true;
                }
            }
            Event::Apply(object) => {
                if let Some((key, object)) = self.read(object) {
                    self.objects.insert(key, object);
                }
            }
            Event::Delete(object) => {
                self.objects.remove(&key(&object));
            }
        }
    }

    /// A malformed object leaves its last readable state in place and harms no other.
    fn read(&self, object: DeserializeGuard<K>) -> Option<(Key, K)> {
        let key = key(&object);
        match object.0 {
            Ok(object) => Some((key, object)),
            Err(invalid) => {
                let (namespace, name) = &key;
                tracing::warn!(kind = %K::kind(&()), %namespace, %name, error = %invalid.error,
                    "an object can't be read; its last readable state is used");
                self.objects.get(&key).cloned().map(|last| (key, last))
            }
        }
    }

    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<&K> {
        self.objects.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// Whether the kind was listed once.
    pub(crate) fn is_listed(&self) -> bool {
        self.listed
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Key, &K)> {
        self.objects.iter()
    }
}

fn key<K: kube::Resource>(object: &K) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}
