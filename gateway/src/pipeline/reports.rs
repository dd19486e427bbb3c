//! Reports: what only a gateway sees of a provider's answers, for it alone reads them, told to the provider's proxy, which
//! tells whoever asks how things stand.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, Request};
use serde::Serialize;
use tokio::sync::Semaphore;
use weighbridge_wire::canonical::Failure;

use super::forward::uri;
use crate::directory::{Endpoint, Target, World};
use crate::forward::{FAILED_PATH, FailedAnswer, KEY, Pieces, PodClient};

/// Reports under way at once. A state tells of the last of each kind, so that one more of the same moment adds nothing.
const AT_ONCE: usize = 4;
/// For a proxy to take a report.
const TIME: Duration = Duration::from_secs(5);

/// The way to proxies.
#[derive(Debug)]
pub(super) struct Reports {
    upstream: PodClient,
    places: Arc<Semaphore>,
}

/// Who is told that an answer of a provider's was none.
pub(super) struct Witness {
    reports: Arc<Reports>,
    endpoint: Arc<Endpoint>,
    /// What the proxy calls the key that the answer came by.
    key: Option<HeaderValue>,
}

impl Reports {
    pub(super) fn new(upstream: PodClient) -> Arc<Self> {
        Arc::new(Self { upstream, places: Arc::new(Semaphore::new(AT_ONCE)) })
    }

    /// Sends `report` to the proxy at `endpoint`. Not to be told is no reason to fail.
    pub(super) async fn send(&self, endpoint: &Endpoint, path: &str, report: &impl Serialize) {
        let Ok(_place) = self.places.try_acquire() else { return };
        let (Ok(uri), Ok(body)) = (uri(&self.upstream, endpoint, path), serde_json::to_vec(report)) else {
            return;
        };
        let mut request = Request::new(Pieces::from(bytes::Bytes::from(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let told = tokio::time::timeout(TIME, self.upstream.send(request)).await;
        if !matches!(told, Ok(Ok(answer)) if answer.status().is_success()) {
            tracing::warn!(endpoint = endpoint.name, path, "a proxy was not told of an answer");
        }
    }

    /// Who is to be told of an answer of `target`'s that has such a head; nobody of an engine's.
    pub(super) fn witness(
        self: &Arc<Self>,
        target: &Target,
        endpoint: &Arc<Endpoint>,
        head: &HeaderMap,
    ) -> Option<Witness> {
        let witness = || Witness {
            reports: Arc::clone(self),
            endpoint: Arc::clone(endpoint),
            key: head.get(KEY).cloned(),
        };
        (target.world == World::Closed).then(witness)
    }
}

impl Witness {
    /// Tells what the provider said, and comes back when the proxy knows.
    pub(super) async fn tell(&self, said: &Failure) {
        let Failure { class, status, message, retry_after_seconds, origin, .. } = said;
        let report = FailedAnswer {
            class: class.as_str().to_owned(),
            status: *status,
            message: message.clone(),
            quoted: origin.is_some(),
            retry_after_seconds: *retry_after_seconds,
            key: self.key.as_ref().and_then(|name| Some(name.to_str().ok()?.to_owned())),
        };
        self.reports.send(&self.endpoint, FAILED_PATH, &report).await;
    }

    /// Tells what the provider said, some time.
    pub(super) fn tell_soon(self, said: Failure) {
        tokio::spawn(async move { self.tell(&said).await });
    }
}
