//! What gateways tell of answers that the proxy passed on unread.

use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use weighbridge_wire::canonical::{Failure, FailureClass};

use super::failure::Failed;
use super::handler::{Proxy, fault};
use crate::failure::bad_request;
use crate::forward::{FailedAnswer, Residency};
use crate::server::{Body, json_response, receive};

/// Bytes of a report of residency: two names of regions.
const RESIDENCY_BYTES: usize = 4 << 10;
/// The same of a provider's words in place of an answer, which had room in one of its errors.
const ERROR_BYTES: usize = 256 << 10;

impl Proxy {
    /// What a gateway saw of the place that an answer came from.
    pub(super) async fn told_of_residency(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Failed> {
        let received =
            receive(request.into_body(), RESIDENCY_BYTES, self.timeouts.request_body, &self.bodies).await?;
        let Ok(Residency { required, stated }) = serde_json::from_slice(&received) else {
            return Err(bad_request(None, "this is no report of a mismatch").into());
        };
        tracing::warn!(required, stated, "an answer did not come from where it was to");
        self.watch.mismatched(required, stated);
        Ok(json_response(StatusCode::OK, "{}"))
    }

    /// What a gateway read in place of an answer, or of the rest of one, whose head was that of an answer. It may come late:
    /// a key that was changed since is not to blame.
    pub(super) async fn told_of_failure(&self, request: Request<Incoming>) -> Result<Response<Body>, Failed> {
        let received =
            receive(request.into_body(), ERROR_BYTES, self.timeouts.request_body, &self.bodies).await?;
        let Some((failure, quoted, key)) = failed_answer(&received) else {
            return Err(bad_request(None, "this is no report of a failure").into());
        };
        tracing::warn!(class = failure.class.as_str(), key, "an answer turned out to be an error");
        let redactor = self.keys.redactor(&[]);
        self.watch.retracted(&failure, quoted.then_some(&redactor));
        if let Some(chosen) = key.and_then(|name| self.keys.named(&name)) {
            let wait = failure.retry_after_seconds.map(|seconds| Duration::from_secs(seconds.into()));
            self.blame(&chosen, fault(failure.class), wait);
        }
        Ok(json_response(StatusCode::OK, "{}"))
    }
}

/// The failure that a gateway reports, whether the message is the provider's, and the name of the key.
fn failed_answer(report: &[u8]) -> Option<(Failure, bool, Option<String>)> {
    let FailedAnswer { class, status, message, quoted, retry_after_seconds, key } =
        serde_json::from_slice(report).ok()?;
    let class = FailureClass::ALL.into_iter().find(|known| known.as_str() == class)?;
    Some((Failure { status, retry_after_seconds, ..Failure::new(class, message) }, quoted, key))
}
