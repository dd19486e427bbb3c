//! What provider proxies say of their providers: the operator subscribes to each proxy ([`crate::peers`]), and nothing is pushed
//! into the cluster.
//!
//! Who reconciles a provider names its pods here, and gets what they said last; a new word of theirs triggers the
//! provider and its models. Nothing here decides what it means.

mod ask;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tokio_util::task::AbortOnDropHandle;
use weighbridge_crds::{ProviderState, labels};

use self::ask::{Said, Subscription};
use crate::leader::Leadership;
use crate::peers::Callers;
use crate::watch::{Stores, Triggers};

/// What a proxy said last.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Heard {
    /// It was not heard yet, nor given up: what was known before may still be so.
    #[default]
    NotYet,
    /// It does not answer, or not to this.
    Lost,
    /// This.
    Said(Arc<ProviderState>),
}

/// Subscriptions to every proxy there is. Cheap to clone.
#[derive(Clone)]
pub struct Proxies(Arc<Inner>);

struct Inner {
    providers: Mutex<HashMap<Whose, HashMap<String, Followed>>>,
    callers: Callers,
    stores: Arc<Stores>,
    triggers: Triggers,
    leadership: Leadership,
}

/// Namespace and name of a provider.
type Whose = (String, String);

/// One pod that is listened to.
struct Followed {
    address: SocketAddr,
    heard: Heard,
    task: AbortOnDropHandle<()>,
}

impl Proxies {
    /// Nobody is listened to yet. What is said triggers its provider and the models there, as long as this process leads.
    pub fn new(callers: Callers, stores: Arc<Stores>, triggers: Triggers, leadership: Leadership) -> Self {
        Proxies(Arc::new(Inner { providers: Mutex::default(), callers, stores, triggers, leadership }))
    }

    /// Listens to `pods`, which are all that the provider has, and to no other of its pods. Returns what each said last,
    /// by its UID.
    pub fn follow(&self, namespace: &str, name: &str, pods: &[Arc<Pod>]) -> HashMap<String, Heard> {
        let whose = (namespace.to_owned(), name.to_owned());
        let mut providers = self.providers();
        let followed = providers.entry(whose.clone()).or_default();
        let living: HashMap<String, SocketAddr> = pods.iter().filter_map(|pod| place(pod)).collect();
        followed.retain(|uid, follow| living.get(uid) == Some(&follow.address) && !follow.task.is_finished());
        for (uid, address) in living {
            followed.entry(uid.clone()).or_insert_with(|| {
                let task = self.clone().listen(whose.clone(), uid, address);
                let task = AbortOnDropHandle::new(tokio::spawn(task));
                Followed { address, heard: Heard::NotYet, task }
            });
        }
        followed.iter().map(|(uid, follow)| (uid.clone(), follow.heard.clone())).collect()
    }

    /// What the provider's proxy said last, whichever of its pods.
    pub fn heard(&self, namespace: &str, name: &str) -> Heard {
        let providers = self.providers();
        let Some(followed) = providers.get(&(namespace.to_owned(), name.to_owned())) else {
            return Heard::NotYet;
        };
        let said = followed.values().find(|follow| matches!(follow.heard, Heard::Said(_)));
        said.or_else(|| followed.values().next()).map(|follow| follow.heard.clone()).unwrap_or_default()
    }

    /// The provider is gone: nobody is listened to for it any more.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.providers().remove(&(namespace.to_owned(), name.to_owned()));
    }

    async fn listen(self, whose: Whose, uid: String, address: SocketAddr) {
        let mut subscription = Subscription::new(&self.0.callers, &whose, address);
        // Who does not lead writes nothing, and needs to know nothing; who begins to lead looks at everything.
        while self.0.leadership.holds() {
            let heard = match subscription.next().await {
                Said::Nothing => continue,
                Said::Lost => Heard::Lost,
                Said::New(state) => Heard::Said(Arc::from(state)),
            };
            if let Some(follow) = self.providers().get_mut(&whose).and_then(|pods| pods.get_mut(&uid)) {
                follow.heard = heard;
            }
            self.0.stores.heard(&self.0.triggers, &whose.0, &whose.1).await;
        }
    }

    fn providers(&self) -> MutexGuard<'_, HashMap<Whose, HashMap<String, Followed>>> {
        self.0.providers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// UID and address of a pod that runs.
fn place(pod: &Pod) -> Option<(String, SocketAddr)> {
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let address: IpAddr = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
    Some((pod.uid()?, SocketAddr::new(address, labels::SERVING_PORT)))
}
