use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc;
use weighbridge_crds::{ExternalProvider, ModelAccess, ModelCache, ModelDeployment};

use super::gather::Look;
use super::{Parent, ParentKind};
use crate::leader::Leadership;
use crate::metrics::Metrics;

/// Objects named to a controller and not taken up yet. It takes them up at once and forgets doubles, so that
/// this only rides out the moment of one poll; when it is full the watches wait.
const QUEUE: usize = 1024;

/// Where watches say which parents to look at again. Cheap to clone.
#[derive(Clone)]
pub struct Triggers {
    models: mpsc::Sender<Look<ModelDeployment>>,
    providers: mpsc::Sender<Look<ExternalProvider>>,
    accesses: mpsc::Sender<Look<ModelAccess>>,
    caches: mpsc::Sender<Look<ModelCache>>,
    leadership: Leadership,
    metrics: Metrics,
}

/// The other end, for the controllers.
pub struct Queues {
    /// ModelDeployments to reconcile.
    pub models: mpsc::Receiver<Look<ModelDeployment>>,
    /// ExternalProviders to reconcile.
    pub providers: mpsc::Receiver<Look<ExternalProvider>>,
    /// ModelAccesses to reconcile.
    pub accesses: mpsc::Receiver<Look<ModelAccess>>,
    /// ModelCaches to reconcile.
    pub caches: mpsc::Receiver<Look<ModelCache>>,
}

impl Triggers {
    /// Both ends.
    pub fn new(leadership: Leadership, metrics: Metrics) -> (Triggers, Queues) {
        let (models, models_queue) = mpsc::channel(QUEUE);
        let (providers, providers_queue) = mpsc::channel(QUEUE);
        let (accesses, accesses_queue) = mpsc::channel(QUEUE);
        let (caches, caches_queue) = mpsc::channel(QUEUE);
        let queues = Queues {
            models: models_queue,
            providers: providers_queue,
            accesses: accesses_queue,
            caches: caches_queue,
        };
        (Triggers { models, providers, accesses, caches, leadership, metrics }, queues)
    }

    /// A ModelDeployment is to be looked at.
    pub async fn model(&self, namespace: &str, name: &str) {
        self.send(&self.models, Look::Now(ObjectRef::new(name).within(namespace)), "ModelDeployment").await;
    }

    /// An ExternalProvider is to be looked at.
    pub async fn provider(&self, namespace: &str, name: &str) {
        self.send(&self.providers, Look::Now(ObjectRef::new(name).within(namespace)), "ExternalProvider")
            .await;
    }

    /// A ModelAccess is to be looked at.
    pub async fn access(&self, namespace: &str, name: &str) {
        self.send(&self.accesses, Look::Now(ObjectRef::new(name).within(namespace)), "ModelAccess").await;
    }

    /// A ModelCache is to be looked at.
    pub async fn cache(&self, namespace: &str, name: &str) {
        self.send(&self.caches, Look::Now(ObjectRef::new(name).within(namespace)), "ModelCache").await;
    }

    /// A ModelDeployment of which nothing but its status is new.
    pub async fn model_soon(&self, namespace: &str, name: &str) {
        let look = Look::Soon(ObjectRef::new(name).within(namespace));
        self.send(&self.models, look, "ModelDeployment").await;
    }

    /// The parent of a child is to be looked at, soon: what happens to one seldom comes alone.
    pub async fn parent(&self, parent: &Parent) {
        let Parent { kind, namespace, name, .. } = parent;
        match kind {
            ParentKind::Model => self.model_soon(namespace, name).await,
            ParentKind::Provider => {
                let look = Look::Soon(ObjectRef::new(name).within(namespace));
                self.send(&self.providers, look, "ExternalProvider").await;
            }
            ParentKind::Cache => {
                let look = Look::Soon(ObjectRef::new(name).within(namespace));
                self.send(&self.caches, look, "ModelCache").await;
            }
        }
    }

    async fn send<T>(&self, queue: &mpsc::Sender<T>, object: T, kind: &str) {
        // Who does not lead does nothing; who begins to lead looks at everything.
        if !self.leadership.holds() {
            return;
        }
        let sent = match queue.try_send(object) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(object)) => {
                self.metrics.queue_full(kind);
                queue.send(object).await.map_err(|_| ())
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(()),
        };
        if sent.is_err() {
            tracing::debug!(kind, "the controller has ended");
        }
    }
}
