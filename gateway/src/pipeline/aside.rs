//! Requests that go to no model: lists of models, and what is asked of no door. They are logged and counted all the same.

use http::Response;
use tokio::time::Instant;
use weighbridge_wire::canonical::{Dialect, Failure};
use weighbridge_wire::lane;

use super::Pipeline;
use super::record::unanswered;
use crate::access::Caller;
use crate::metrics::{GatewayMetrics, ModelLabels, RequestLabels};
use crate::server::{Body, refusal};

/// One such request. It settles when dropped; where nothing was said before, the client left.
pub(super) struct Aside {
    metrics: GatewayMetrics,
    operation: &'static str,
    caller: Option<Caller>,
    code: Option<u16>,
    started: Instant,
}

impl Pipeline {
    /// A request that is an `operation`, as the log names it.
    pub(super) fn aside(&self, operation: &'static str) -> Aside {
        let (metrics, started) = (self.metrics.clone(), Instant::now());
        Aside { metrics, operation, caller: None, code: None, started }
    }
}

impl Aside {
    /// The request is `caller`'s.
    pub(super) fn caller(&mut self, caller: &Caller) {
        self.caller = Some(caller.clone());
    }

    /// It is answered so.
    pub(super) fn answer(mut self, response: Response<Body>) -> Response<Body> {
        self.code = Some(response.status().as_u16());
        response
    }

    /// It is refused, in the words of `dialect`.
    pub(super) fn refuse(self, dialect: Dialect, failure: &Failure) -> Response<Body> {
        self.answer(refusal(lane::error(dialect, failure)))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let code = self.code.unwrap_or_else(unanswered);
        tracing::info!(
            target: "access",
            operation = self.operation,
            access = self.caller.as_ref().and_then(Caller::access),
            key = self.caller.as_ref().and_then(Caller::key_name),
            code,
            milliseconds = self.started.elapsed().as_secs_f64() * 1e3,
        );
        self.metrics.requests.get_or_create(&RequestLabels { model: ModelLabels::default(), code }).inc();
    }
}
