//! Why an engine that was given a GPU computes on the CPU: its own word, asked for once at its admin port, which is open to
//! all. A device is chosen while an engine starts, so that a pod is asked again only when its container is a new one.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;
use weighbridge_crds::labels;

use crate::controller::jittered;
use crate::leader::Leadership;
use crate::watch::Triggers;

/// For an answer, the connection included.
const ANSWER: Duration = Duration::from_secs(5);
/// Between two questions to a pod that does not answer.
const AGAIN: Duration = Duration::from_secs(5);
/// Questions to a pod that does not answer; it is not ready then, and asked anew when its container is.
const TRIES: u32 = 24;
/// Bytes of an answer.
const WORDS: usize = 16 << 10;
/// What an engine on the CPU says before its reason.
const ON_CPU: &str = "ready; on the CPU: ";

/// What engines said. Cheap to clone.
#[derive(Clone)]
pub struct Engines(Arc<Inner>);

struct Inner {
    models: Mutex<HashMap<Whose, HashMap<Container, Asked>>>,
    triggers: Triggers,
    leadership: Leadership,
}

/// Namespace and name of a model.
type Whose = (String, String);

/// A pod's UID, and how often its container was started anew.
type Container = (String, i32);

/// One engine that was asked, or is being asked.
struct Asked {
    reason: Option<String>,
    _task: AbortOnDropHandle<()>,
}

impl Engines {
    /// Nobody was asked yet. A reason triggers its model, as long as this process leads.
    pub fn new(triggers: Triggers, leadership: Leadership) -> Self {
        Self(Arc::new(Inner { models: Mutex::default(), triggers, leadership }))
    }

    /// Asks those of `pods` that run and were not asked, and no other of the model's. Returns why one of them computes on
    /// the CPU, if any was heard to.
    pub fn without_gpu(&self, namespace: &str, name: &str, pods: &[Arc<Pod>]) -> Option<String> {
        let whose = (namespace.to_owned(), name.to_owned());
        let running: HashMap<Container, SocketAddr> = pods.iter().filter_map(|pod| place(pod)).collect();
        let mut models = self.models();
        if running.is_empty() {
            models.remove(&whose);
            return None;
        }
        let asked = models.entry(whose.clone()).or_default();
        asked.retain(|container, _| running.contains_key(container));
        for (container, address) in running {
            asked.entry(container.clone()).or_insert_with(|| {
                let task = self.clone().ask(whose.clone(), container, address);
                Asked { reason: None, _task: AbortOnDropHandle::new(tokio::spawn(task)) }
            });
        }
        // Of several the same one always, so that a status does not change with the order of a map.
        asked.values().filter_map(|asked| asked.reason.clone()).min()
    }

    async fn ask(self, whose: Whose, container: Container, address: SocketAddr) {
        for _ in 0..TRIES {
            if !self.0.leadership.holds() {
                break;
            }
            match answer(address).await {
                Ok(words) => {
                    let Some(reason) = words.strip_prefix(ON_CPU).map(str::to_owned) else { return };
                    if let Some(asked) =
                        self.models().get_mut(&whose).and_then(|pods| pods.get_mut(&container))
                    {
                        asked.reason = Some(reason);
                    }
                    return self.0.triggers.model(&whose.0, &whose.1).await;
                }
                Err(error) => {
                    tracing::debug!(%address, %error, "an engine does not say what it computes on");
                    tokio::time::sleep(jittered(AGAIN)).await;
                }
            }
        }
        // Not asked, then: whoever reconciles its model next begins anew.
        if let Some(asked) = self.models().get_mut(&whose) {
            asked.remove(&container);
        }
    }

    fn models(&self) -> MutexGuard<'_, HashMap<Whose, HashMap<Container, Asked>>> {
        self.0.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why there was no answer. For the log.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("no connection")]
    Connect(#[source] std::io::Error),
    #[error("the question is none")]
    Question(#[source] http::Error),
    #[error("the connection broke")]
    Broken(#[source] hyper::Error),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("the answer broke off, or is too long")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("no answer within {ANSWER:?}")]
    Slow,
}

/// What the engine at `address` says of its readiness.
async fn answer(address: SocketAddr) -> Result<String, AskError> {
    let asking = async {
        let stream = TcpStream::connect(address).await.map_err(AskError::Connect)?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(AskError::Broken)?;
        let _driven = AbortOnDropHandle::new(tokio::spawn(async move {
            // How it ends is told to whoever asks.
            let _ = connection.await;
        }));
        let request = Request::get("/readyz").header(HOST, address.to_string());
        let request = request.body(Empty::<Bytes>::new()).map_err(AskError::Question)?;
        let response = sender.send_request(request).await.map_err(AskError::Broken)?;
        if response.status() != StatusCode::OK {
            return Err(AskError::Status(response.status()));
        }
        let body = Limited::new(response.into_body(), WORDS).collect().await.map_err(AskError::Body)?;
        Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
    };
    tokio::time::timeout(ANSWER, asking).await.unwrap_or(Err(AskError::Slow))
}

/// Container and admin address of a pod that is ready.
fn place(pod: &Pod) -> Option<(Container, SocketAddr)> {
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let status = pod.status.as_ref()?;
    let ready = status.conditions.iter().flatten().any(|at| at.type_ == "Ready" && at.status == "True");
    let mut containers = status.container_statuses.iter().flatten();
    // A container that runs has an image with an id; what a test's simulated node calls a pod has none, and nobody is there.
    let runs =
        containers.clone().next().is_some() && containers.all(|container| !container.image_id.is_empty());
    let address: IpAddr = status.pod_ip.as_ref()?.parse().ok()?;
    let restarts = status.container_statuses.iter().flatten().map(|container| container.restart_count).sum();
    (ready && runs).then_some(((pod.uid()?, restarts), SocketAddr::new(address, labels::ADMIN_PORT)))
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_answer_is_read_and_what_is_none_is_not() {
        for (status, words, expected) in [
            (StatusCode::OK, "ready; on the CPU: no CUDA backend: why".to_owned(), true),
            (StatusCode::SERVICE_UNAVAILABLE, "loading".to_owned(), false),
            (StatusCode::OK, "x".repeat(WORDS + 1), false),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let answered = words.clone();
            let router = Router::new().route("/readyz", get(move || async move { (status, answered) }));
            tokio::spawn(async move { axum::serve(listener, router).await });
            assert_eq!(answer(address).await.ok(), expected.then_some(words));
        }
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(matches!(answer(nobody).await, Err(AskError::Connect(_))));
    }

    #[test]
    fn only_a_ready_pod_is_asked_and_a_new_container_anew() {
        let pod = |status: serde_json::Value| -> Pod {
            let pod = serde_json::json!({"metadata": {"name": "p", "uid": "u"}, "status": status});
            serde_json::from_value(pod).unwrap()
        };
        let ready = |restarts: i32| {
            serde_json::json!({"podIP": "10.0.0.7", "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"name": "engine", "restartCount": restarts, "ready": true, "image": "",
                    "imageID": "sha256:1"}]})
        };
        let at = |restarts| Some((("u".to_owned(), restarts), "10.0.0.7:9090".parse().unwrap()));
        assert_eq!(place(&pod(ready(0))), at(0));
        assert_eq!(place(&pod(ready(2))), at(2));
        assert_eq!(place(&pod(serde_json::json!({"podIP": "10.0.0.7"}))), None);
        let mut simulated = ready(0);
        simulated["containerStatuses"][0]["imageID"] = "".into();
        assert_eq!(place(&pod(simulated)), None);
    }
}
