use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{ObjectRef, Store, store::Writer};
use kube::runtime::watcher::{Config, Event};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use weighbridge_crds::labels::MANAGED_BY;
use weighbridge_crds::{ExternalProvider, ModelAccess, ModelCache, ModelDeployment, ResourceProfile};

use super::prune::Prune;
use super::watcher::{events, events_told};
use super::{Index, Triggers, Unreadable};
use crate::metrics::Metrics;
use crate::plan::MANAGED_BY_KEY;
use crate::status;

/// Kinds that are watched.
const KINDS: usize = 12;

/// Namespaces that an operator looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every one.
    Cluster,
    /// This one.
    Namespace(String),
}

impl Scope {
    /// A view of one namespaced kind.
    pub fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType: Default>,
    {
        match self {
            Scope::Cluster => Api::all(client.clone()),
            Scope::Namespace(name) => Api::namespaced(client.clone(), name),
        }
    }
}

/// The operator's view of the cluster.
pub struct Stores {
    /// Every ModelDeployment.
    pub models: Store<ModelDeployment>,
    /// Every ExternalProvider.
    pub providers: Store<ExternalProvider>,
    /// Every ModelAccess.
    pub accesses: Store<ModelAccess>,
    /// Every ModelCache.
    pub caches: Store<ModelCache>,
    /// Every ResourceProfile.
    pub profiles: Store<ResourceProfile>,
    /// Our Deployments.
    pub deployments: Index<Deployment>,
    /// Our Services.
    pub services: Index<Service>,
    /// Our NetworkPolicies.
    pub network_policies: Index<NetworkPolicy>,
    /// Our pods.
    pub pods: Index<Pod>,
    /// Our records of past revisions.
    pub history: Index<ControllerRevision>,
    /// Our Jobs.
    pub jobs: Index<Job>,
    /// Our claims.
    pub claims: Index<PersistentVolumeClaim>,
    synced: tokio::sync::watch::Sender<BTreeSet<&'static str>>,
}

impl Stores {
    /// Begins to watch `scope`; what of our kinds can't be read goes into `unreadable`. The watches end with `tasks`.
    pub fn watch(
        client: &Client,
        scope: &Scope,
        triggers: &Triggers,
        metrics: &Metrics,
        unreadable: &Unreadable,
        tasks: &mut JoinSet<()>,
    ) -> Arc<Stores> {
        let (models, models_writer) = kube::runtime::reflector::store();
        let (providers, providers_writer) = kube::runtime::reflector::store();
        let (accesses, accesses_writer) = kube::runtime::reflector::store();
        let (caches, caches_writer) = kube::runtime::reflector::store();
        let (profiles, profiles_writer) = kube::runtime::reflector::store();
        let stores = Arc::new(Stores {
            models,
            providers,
            accesses,
            caches,
            profiles,
            deployments: Index::default(),
            services: Index::default(),
            network_policies: Index::default(),
            pods: Index::default(),
            history: Index::default(),
            jobs: Index::default(),
            claims: Index::default(),
            synced: tokio::sync::watch::Sender::new(BTreeSet::new()),
        });
        let watching = |kind| Watching {
            kind,
            metrics: metrics.clone(),
            stores: Arc::clone(&stores),
            triggers: triggers.clone(),
            unreadable: unreadable.clone(),
        };
        tasks.spawn(watching("ModelDeployment").primary(scope.api(client), models_writer, touched_by_model));
        tasks.spawn(watching("ExternalProvider").primary(
            scope.api(client),
            providers_writer,
            touched_by_provider,
        ));
        tasks.spawn(watching("ModelAccess").primary(scope.api(client), accesses_writer, touched_by_access));
        tasks.spawn(watching("ModelCache").primary(scope.api(client), caches_writer, touched_by_cache));
        let profiles = Api::all(client.clone());
        tasks.spawn(watching("ResourceProfile").primary(profiles, profiles_writer, touched_by_profile));
        tasks.spawn(watching("Deployment").children(scope.api(client), |stores| &stores.deployments));
        tasks.spawn(watching("Service").children(scope.api(client), |stores| &stores.services));
        tasks.spawn(watching("NetworkPolicy").children(scope.api(client), |stores| &stores.network_policies));
        tasks.spawn(watching("Pod").children(scope.api(client), |stores| &stores.pods));
        tasks.spawn(watching("ControllerRevision").children(scope.api(client), |stores| &stores.history));
        tasks.spawn(watching("Job").children(scope.api(client), |stores| &stores.jobs));
        tasks.spawn(watching("PersistentVolumeClaim").children(scope.api(client), |stores| &stores.claims));
        stores
    }

    /// Whether every kind was listed once.
    pub fn is_synced(&self) -> bool {
        self.synced.borrow().len() == KINDS
    }

    /// Waits until every kind was listed once.
    pub async fn synced(&self) {
        let _ = self.synced.subscribe().wait_for(|kinds| kinds.len() == KINDS).await;
    }

    /// Names everything to the controllers.
    pub async fn trigger_all(&self, triggers: &Triggers) {
        for touched in self.providers.state().iter().map(|object| Touched::Provider(reference(&**object))) {
            touched.send(triggers).await;
        }
        for touched in self.caches.state().iter().map(|object| Touched::Cache(reference(&**object))) {
            touched.send(triggers).await;
        }
        self.trigger_models(triggers).await;
        for touched in self.accesses.state().iter().map(|object| Touched::Access(reference(&**object))) {
            touched.send(triggers).await;
        }
    }

    /// Names every ModelDeployment to its controller.
    pub async fn trigger_models(&self, triggers: &Triggers) {
        for touched in self.models.state().iter().map(|object| Touched::Model(reference(&**object))) {
            touched.send(triggers).await;
        }
    }

    /// Names the provider and every model that it answers for to the controllers: something was heard of it, which may
    /// change what a model says though the provider says the same.
    pub async fn heard(&self, triggers: &Triggers, namespace: &str, name: &str) {
        triggers.provider(namespace, name).await;
        for touched in self.models_of(namespace, name) {
            touched.send(triggers).await;
        }
    }

    fn models_of(&self, namespace: &str, provider: &str) -> Vec<Touched> {
        self.models_that(|model| {
            let named = model.spec.external.as_ref().is_some_and(|external| external.provider == provider);
            named && model.namespace().as_deref() == Some(namespace)
        })
    }

    fn models_that(&self, holds: impl Fn(&ModelDeployment) -> bool) -> Vec<Touched> {
        self.models
            .state_filter(|model| holds(model))
            .iter()
            .map(|model| Touched::Model(reference(&**model)))
            .collect()
    }
}

/// A parent to look at again.
enum Touched {
    Model((String, String)),
    /// Nothing but its status is new.
    ModelStatus((String, String)),
    Provider((String, String)),
    Access((String, String)),
    Cache((String, String)),
}

impl Touched {
    async fn send(&self, triggers: &Triggers) {
        match self {
            Touched::Model((namespace, name)) => triggers.model(namespace, name).await,
            Touched::ModelStatus((namespace, name)) => triggers.model_soon(namespace, name).await,
            Touched::Provider((namespace, name)) => triggers.provider(namespace, name).await,
            Touched::Access((namespace, name)) => triggers.access(namespace, name).await,
            Touched::Cache((namespace, name)) => triggers.cache(namespace, name).await,
        }
    }
}

fn reference<K: Resource>(object: &K) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// The model, the providers and caches that it names or named, and those who may be named in an access: each says in its status
/// which models there are, or does what they ask.
fn touched_by_model(
    stores: &Stores,
    before: Option<&ModelDeployment>,
    model: &ModelDeployment,
) -> Vec<Touched> {
    let external = model.spec.external.as_ref();
    let external_before = before.and_then(|before| before.spec.external.as_ref());
    let mut touched = vec![if before.is_some_and(|before| wants_the_same(before, model)) {
        Touched::ModelStatus(reference(model))
    } else {
        Touched::Model(reference(model))
    }];
    // A status changes with every pod, and who it names does not.
    if before.is_none() || external != external_before {
        let named = external.into_iter().chain(external_before);
        let namespace = model.namespace().unwrap_or_default();
        touched
            .extend(named.map(|external| Touched::Provider((namespace.clone(), external.provider.clone()))));
    }
    if before.is_none_or(|before| before.spec != model.spec) {
        let named = before.into_iter().chain([model]).filter_map(|model| {
            let cache = model.spec.open_weights.as_ref()?.cache.clone()?;
            Some(Touched::Cache((model.namespace().unwrap_or_default(), cache)))
        });
        touched.extend(named);
    }
    let named_alike = before.is_some_and(|before| status::adapters(before).eq(status::adapters(model)));
    if !named_alike {
        let accesses = stores.accesses.state_filter(|access| access.namespace() == model.namespace());
        touched.extend(accesses.iter().map(|access| Touched::Access(reference(&**access))));
    }
    touched
}

/// Whether people want the same of both.
fn wants_the_same(before: &ModelDeployment, model: &ModelDeployment) -> bool {
    let of = |model: &ModelDeployment| {
        let meta = &model.metadata;
        (meta.uid.clone(), meta.generation, meta.deletion_timestamp.clone(), meta.annotations.clone())
    };
    of(before) == of(model)
}

fn touched_by_access(_: &Stores, _: Option<&ModelAccess>, access: &ModelAccess) -> Vec<Touched> {
    vec![Touched::Access(reference(access))]
}

/// The cache, and the models that wait for it.
fn touched_by_cache(stores: &Stores, _: Option<&ModelCache>, cache: &ModelCache) -> Vec<Touched> {
    let (namespace, name) = reference(cache);
    let mut touched = stores.models_that(|model| {
        let named = model.spec.open_weights.as_ref().and_then(|weights| weights.cache.as_ref());
        named == Some(&name) && model.namespace().as_ref() == Some(&namespace)
    });
    touched.push(Touched::Cache((namespace, name)));
    touched
}

fn touched_by_provider(
    stores: &Stores,
    _: Option<&ExternalProvider>,
    provider: &ExternalProvider,
) -> Vec<Touched> {
    let (namespace, name) = reference(provider);
    let mut touched = stores.models_of(&namespace, &name);
    touched.push(Touched::Provider((namespace, name)));
    touched
}

fn touched_by_profile(
    stores: &Stores,
    _: Option<&ResourceProfile>,
    profile: &ResourceProfile,
) -> Vec<Touched> {
    let name = profile.name_any();
    stores.models_that(|model| {
        let resources = model.spec.open_weights.as_ref().and_then(|weights| weights.resources.as_ref());
        resources.and_then(|resources| resources.profile.as_ref()) == Some(&name)
    })
}

struct Watching {
    kind: &'static str,
    metrics: Metrics,
    stores: Arc<Stores>,
    triggers: Triggers,
    unreadable: Unreadable,
}

impl Watching {
    /// Watches a kind of ours, whole.
    async fn primary<K>(
        self,
        api: Api<DeserializeGuard<K>>,
        mut writer: Writer<K>,
        touched: fn(&Stores, Option<&K>, &K) -> Vec<Touched>,
    ) where
        K: Resource<DynamicType = ()>
            + Prune
            + Clone
            + std::fmt::Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let reader = writer.as_reader();
        let events = events_told(api, Config::default(), self.metrics.clone(), self.unreadable.clone());
        tokio::pin!(events);
        while let Some(event) = events.next().await {
            let before = match &event {
                Event::Apply(object) => reader.get(&ObjectRef::from_obj(object)),
                Event::Delete(_) | Event::Init | Event::InitApply(_) | Event::InitDone => None,
            };
            let listed = matches!(event, Event::InitDone).then(|| reader.state());
            writer.apply_watcher_event(&event);
            let objects = match event {
                Event::Apply(object) | Event::Delete(object) => vec![Arc::new(object)],
                Event::InitDone => {
                    self.listed();
                    // What went while no watch told of it, those who name it have to hear of too.
                    let gone = listed.into_iter().flatten();
                    let gone = gone.filter(|object| reader.get(&ObjectRef::from_obj(&**object)).is_none());
                    gone.chain(reader.state()).collect()
                }
                Event::Init | Event::InitApply(_) => Vec::new(),
            };
            let before = before.as_deref();
            for touched in objects.iter().flat_map(|object| touched(&self.stores, before, object)) {
                touched.send(&self.triggers).await;
            }
        }
    }

    /// Watches a kind of Kubernetes, narrowed to our children.
    async fn children<K>(self, api: Api<DeserializeGuard<K>>, index: fn(&Stores) -> &Index<K>)
    where
        K: Resource<DynamicType = ()>
            + Prune
            + Clone
            + std::fmt::Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let narrowed = Config::default().labels(&format!("{MANAGED_BY_KEY}={MANAGED_BY}"));
        let events = events(api, narrowed, self.metrics.clone());
        tokio::pin!(events);
        while let Some(event) = events.next().await {
            let listed = matches!(event, Event::InitDone);
            let parents = index(&self.stores).take(event);
            if listed {
                self.listed();
            }
            for parent in parents {
                self.triggers.parent(&parent).await;
            }
        }
    }

    fn listed(&self) {
        tracing::debug!(kind = self.kind, "listed");
        self.stores.synced.send_if_modified(|kinds| kinds.insert(self.kind));
    }
}
