//! As much of an apiserver as waking asks for: one model's `scale`.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use kube::client::Body;
use serde_json::{Value, json};
use tower::service_fn;

use super::Waker;

/// What happens to a call in place of what should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mishap {
    /// This status.
    Status(u16),
    /// No answer.
    Silence,
    /// Somebody else writes, after a look and before the write that leans on it: so many replicas, or as many as before.
    Before(Option<i32>),
}

#[derive(Debug, Default)]
struct State {
    replicas: i32,
    revision: u64,
    calls: Vec<String>,
    writes: usize,
    mishaps: VecDeque<Mishap>,
}

/// The model's scale; clones are of one model.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeScale(Arc<Mutex<State>>);

impl FakeScale {
    /// One at 0, of which the next calls go wrong so.
    pub(crate) fn with(mishaps: &[Mishap]) -> Self {
        let fake = Self::default();
        fake.0.lock().expect("no panic").mishaps = mishaps.iter().copied().collect();
        fake
    }

    pub(crate) fn waker(&self) -> Waker {
        let fake = self.clone();
        let service = service_fn(move |request: Request<Body>| {
            let fake = fake.clone();
            async move { Ok::<_, Infallible>(fake.answer(request).await) }
        });
        Waker::new(kube::Client::new(service, "default"))
    }

    pub(crate) fn replicas(&self) -> i32 {
        self.0.lock().expect("no panic").replicas
    }

    pub(crate) fn set_replicas(&self, replicas: i32) {
        let mut state = self.0.lock().expect("no panic");
        state.replicas = replicas;
        state.revision += 1;
    }

    /// Every call, by its method and path.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.0.lock().expect("no panic").calls.clone()
    }

    /// Calls that changed something.
    pub(crate) fn writes(&self) -> usize {
        self.0.lock().expect("no panic").writes
    }

    async fn answer(&self, request: Request<Body>) -> Response<Full<bytes::Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.expect("whole").to_bytes();
        let mishap = {
            let mut state = self.0.lock().expect("no panic");
            state.calls.push(format!("{} {}", head.method, head.uri.path()));
            match state.mishaps.front() {
                Some(Mishap::Before(_)) if head.method == Method::GET => None,
                _ => state.mishaps.pop_front(),
            }
        };
        match mishap {
            Some(Mishap::Status(code)) => {
                let status = json!({"kind": "Status", "status": "Failure", "code": code, "reason": "Made",
                    "message": "system:serviceaccount:secret-name may not"});
                return respond(code, &status);
            }
            Some(Mishap::Silence) => std::future::pending().await,
            Some(Mishap::Before(replicas)) => self.set_replicas(replicas.unwrap_or(self.replicas())),
            None => {}
        }
        let mut state = self.0.lock().expect("no panic");
        if head.method == Method::PATCH {
            assert_eq!(head.headers["content-type"], "application/merge-patch+json");
            assert!(head.uri.query().is_some_and(|query| query.contains("fieldManager=weighbridge-gateway")));
            let patch: Value = serde_json::from_slice(&body).expect("JSON");
            if patch["metadata"]["resourceVersion"] != json!(state.revision.to_string()) {
                return respond(
                    409,
                    &json!({"kind": "Status", "status": "Failure", "code": 409, "reason": "Conflict"}),
                );
            }
            state.replicas = patch["spec"]["replicas"].as_i64().expect("a number") as i32;
            state.revision += 1;
            state.writes += 1;
        }
        let mut scale = json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "spec": {},
            "metadata": {"name": "m", "namespace": "n", "resourceVersion": state.revision.to_string()}});
        // As the apiserver does, which leaves 0 out.
        if state.replicas != 0 {
            scale["spec"]["replicas"] = json!(state.replicas);
        }
        respond(200, &scale)
    }
}

fn respond(code: u16, body: &Value) -> Response<Full<bytes::Bytes>> {
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(code).expect("a status");
    response
}
