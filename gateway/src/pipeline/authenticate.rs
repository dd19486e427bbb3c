//! Authenticate: who calls, and whether it may call what it names.

use http::Request;
use hyper::body::Incoming;
use k8s_openapi::jiff::Timestamp;
use weighbridge_wire::canonical::Failure;

use super::Pipeline;
use crate::access::Caller;
use crate::server::discard;

impl Pipeline {
    /// Who sent `request`. Of a caller who is turned away the body is read and dropped, within bounds: many clients
    /// send all of it before they look at the answer.
    pub(super) async fn authenticate(
        &self,
        request: Request<Incoming>,
    ) -> Result<(Caller, Request<Incoming>), Failure> {
        match self.access.authenticate(request.headers(), Timestamp::now()) {
            Ok(caller) => Ok((caller, request)),
            Err(failure) => {
                discard(request.into_body(), self.limits.body_bytes).await;
                Err(failure)
            }
        }
    }

    /// Whether `caller` may call what it calls `model`, which it is not told exists.
    pub(super) fn permit(&self, caller: &Caller, model: &str) -> Result<(), Failure> {
        self.access.permit(caller, model)
    }
}
