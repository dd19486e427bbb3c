//! What engines say of their start, each asked at its admin port, which is open to all: how far it is, how long each phase
//! took, and why one that was given a GPU computes on the CPU. The pods that fetch into a ModelCache are asked in the same way.
//!
//! An engine is asked until it has started, and again only when its container is a new one. `ask` is the question, `said`
//! what an answer means.

mod ask;
mod said;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt as _;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use weighbridge_crds::labels;

pub use self::said::{Said, Took, fetched};
use self::said::{is_news, speed};
use crate::controller::jittered;
use crate::dial::Dial;
use crate::leader::Leadership;
use crate::watch::{Parent, ParentKind, Triggers};

/// Between two questions to an engine that starts; what moves is written into a status no more often.
const AGAIN: Duration = Duration::from_secs(10);
/// Questions without an answer in a row, after which the container is given up until its pod is looked at again.
const TRIES: u32 = 24;

/// What engines said. Cheap to clone.
#[derive(Clone)]
pub struct Engines(Arc<Inner>);

struct Inner {
    parents: Mutex<HashMap<Whose, HashMap<Container, Asked>>>,
    dial: Arc<dyn Dial>,
    triggers: Triggers,
    leadership: Leadership,
}

/// Kind, namespace and name of a parent.
type Whose = (ParentKind, String, String);

/// A pod's UID, and how often its container was started anew.
type Container = (String, i32);

/// One engine that was asked, or is being asked.
struct Asked {
    pod: String,
    said: Said,
    /// When it said so.
    at: Instant,
    /// Bytes that it fetched in a second since it said something else.
    per_second: Option<u64>,
    _task: AbortOnDropHandle<()>,
}

impl Engines {
    /// Nobody was asked yet; engines are called by `dial`. What is news triggers its parent, as long as this process leads.
    pub fn new(dial: Arc<dyn Dial>, triggers: Triggers, leadership: Leadership) -> Self {
        Self(Arc::new(Inner { parents: Mutex::default(), dial, triggers, leadership }))
    }

    /// Asks those of `pods` that run and were not asked, and no other of the parent's. Returns what each said last, by its
    /// pod's name.
    pub fn said(
        &self,
        kind: ParentKind,
        namespace: &str,
        name: &str,
        pods: &[Arc<Pod>],
    ) -> HashMap<String, Said> {
        let whose = (kind, namespace.to_owned(), name.to_owned());
        let running: HashMap<Container, (String, SocketAddr)> =
            pods.iter().filter_map(|pod| place(pod)).collect();
        let mut parents = self.parents();
        if running.is_empty() {
            parents.remove(&whose);
            return HashMap::new();
        }
        let asked = parents.entry(whose.clone()).or_default();
        asked.retain(|container, _| running.contains_key(container));
        for (container, (pod, address)) in running {
            asked.entry(container.clone()).or_insert_with(|| {
                let task = self.clone().ask(whose.clone(), container, address);
                let task = AbortOnDropHandle::new(tokio::spawn(task));
                Asked { pod, said: Said::Nothing, at: Instant::now(), per_second: None, _task: task }
            });
        }
        asked.values().map(|asked| (asked.pod.clone(), asked.said.clone())).collect()
    }

    /// How many bytes the pod of a parent called `pod` fetches in a second, where that is known.
    pub fn speed(&self, kind: ParentKind, namespace: &str, name: &str, pod: &str) -> Option<u64> {
        let parents = self.parents();
        let asked = parents.get(&(kind, namespace.to_owned(), name.to_owned()))?;
        asked.values().find(|asked| asked.pod == pod)?.per_second
    }

    async fn ask(self, whose: Whose, container: Container, address: SocketAddr) {
        let mut silent = 0;
        while silent < TRIES && self.0.leadership.holds() {
            match ask::said(&*self.0.dial, address).await {
                Ok(said) => {
                    silent = 0;
                    let started = matches!(said, Said::Started { .. });
                    if self.note(&whose, &container, said) {
                        let (kind, namespace, name) = whose.clone();
                        let parent = Parent { kind, namespace, name, uid: String::new() };
                        self.0.triggers.parent(&parent).await;
                    }
                    if started {
                        return;
                    }
                }
                Err(error) => {
                    silent += 1;
                    tracing::debug!(%address, %error, "an engine does not say how far it is");
                }
            }
            tokio::time::sleep(jittered(AGAIN)).await;
        }
        // Not asked, then: whoever reconciles its parent next begins anew.
        if let Some(asked) = self.parents().get_mut(&whose) {
            asked.remove(&container);
        }
    }

    /// Keeps what was said where it is news.
    fn note(&self, whose: &Whose, container: &Container, said: Said) -> bool {
        let mut parents = self.parents();
        let Some(asked) = parents.get_mut(whose).and_then(|pods| pods.get_mut(container)) else {
            return false;
        };
        let news = is_news(&asked.said, &said);
        if news {
            asked.per_second = speed(&asked.said, &said, asked.at.elapsed());
            asked.said = said;
            asked.at = Instant::now();
        }
        news
    }

    fn parents(&self) -> MutexGuard<'_, HashMap<Whose, HashMap<Container, Asked>>> {
        self.0.parents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Container, name and admin address of a pod whose containers run.
fn place(pod: &Pod) -> Option<(Container, (String, SocketAddr))> {
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let status = pod.status.as_ref()?;
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    // A container that runs has an image with an id; what a test's simulated node calls a pod has none, and nobody is there.
    let runs = |container: &ContainerStatus| {
        !container.image_id.is_empty()
            && container.state.as_ref().is_some_and(|state| state.running.is_some())
    };
    if containers.is_empty() || !containers.iter().all(runs) {
        return None;
    }
    let address: IpAddr = status.pod_ip.as_ref()?.parse().ok()?;
    let restarts = containers.iter().map(|container| container.restart_count).sum();
    Some(((pod.uid()?, restarts), (pod.name_any(), SocketAddr::new(address, labels::ADMIN_PORT))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pod_that_runs_is_asked_and_a_new_container_anew() {
        let pod = |status: serde_json::Value| -> Pod {
            let pod = serde_json::json!({"metadata": {"name": "p", "uid": "u"}, "status": status});
            serde_json::from_value(pod).unwrap()
        };
        let running = |restarts: i32| {
            serde_json::json!({"podIP": "10.0.0.7", "containerStatuses": [{"name": "engine", "restartCount": restarts,
                "ready": false, "image": "", "imageID": "sha256:1", "state": {"running": {}}}]})
        };
        let at =
            |restarts| Some((("u".to_owned(), restarts), ("p".to_owned(), "10.0.0.7:9090".parse().unwrap())));
        assert_eq!(place(&pod(running(0))), at(0));
        assert_eq!(place(&pod(running(2))), at(2));
        assert_eq!(place(&pod(serde_json::json!({"podIP": "10.0.0.7"}))), None);
        let mut simulated = running(0);
        simulated["containerStatuses"][0]["imageID"] = "".into();
        assert_eq!(place(&pod(simulated)), None);
        let mut waiting = running(0);
        waiting["containerStatuses"][0]["state"] =
            serde_json::json!({"waiting": {"reason": "CrashLoopBackOff"}});
        assert_eq!(place(&pod(waiting)), None);
    }
}
