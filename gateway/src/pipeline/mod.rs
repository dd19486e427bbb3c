//! A request's way through the gateway, as one line of named stages.
//!
//! Each stage is a file; [`Pipeline::answer`] is the line. No provider's dialect and no `if provider ==`
//! may live here.

mod admit;
mod forward;
mod models;
mod record;
mod reply;
mod route;
mod translate;

use std::sync::Arc;

use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use weighbridge_wire::openai::ApiError;

use self::admit::Operation;
use self::record::Record;
use crate::directory::Directory;
use crate::forward::Upstream;
use crate::metrics::GatewayMetrics;
use crate::server::{Body, BodyBudget, Handler, RequestSlots, ServerMetrics, error_response};
use crate::{GatewayConfig, Limits, Timeouts};

/// Everything that the stages share.
pub(crate) struct Pipeline {
    default_namespace: String,
    limits: Limits,
    timeouts: Timeouts,
    directory: Directory,
    upstream: Upstream<HttpConnector>,
    slots: RequestSlots,
    bodies: Arc<BodyBudget>,
    metrics: GatewayMetrics,
}

impl Pipeline {
    pub(crate) fn new(
        config: &GatewayConfig,
        directory: Directory,
        metrics: GatewayMetrics,
        server: ServerMetrics,
    ) -> Self {
        Self {
            default_namespace: config.default_namespace.clone(),
            limits: config.limits.clone(),
            timeouts: config.timeouts.clone(),
            directory,
            upstream: Upstream::plain(&config.timeouts),
            slots: RequestSlots::new(config.limits.requests, server.requests_full),
            bodies: BodyBudget::new(config.limits.buffered_bytes, server.bodies_full),
            metrics,
        }
    }

    /// The line: (authenticate) → admit → route → (hold) → forward → translate → meter → record.
    ///
    /// Authentication comes with `ModelAccess` and stands first; until then every caller passes. Holding
    /// stands between route and forward; until then a model with nothing ready is a 503. Metering and
    /// recording happen as the answer passes, in [`Record`], which settles when it is dropped: at the end
    /// of the answer, or when the client leaves.
    async fn answer(&self, operation: Operation, request: Request<Incoming>) -> Response<Body> {
        let mut record = Record::begin(&self.metrics, operation);
        match self.stages(operation, request, &mut record).await {
            Ok(answer) => answer.deliver(record),
            Err(error) => {
                record.fail(&error);
                error_response(&error)
            }
        }
    }

    async fn stages(
        &self,
        operation: Operation,
        request: Request<Incoming>,
        record: &mut Record,
    ) -> Result<translate::Answer, ApiError> {
        record.hold(self.slots.take()?);
        let call = self.admit(operation, request).await?;
        record.name(&call.target);
        let upstream = self.forward(&call, record).await?;
        translate::answer(call, upstream, &self.limits).await
    }
}

impl Handler for Pipeline {
    async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let (method, path) = (request.method(), request.uri().path());
        let models = path.strip_prefix(models::PATH).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        match (Operation::at(path), models, method) {
            (Some(operation), _, &Method::POST) => self.answer(operation, request).await,
            (None, Some(""), &Method::GET) => models::list(&self.directory),
            (None, Some(_), &Method::GET) => models::get(&self.directory, path, &self.default_namespace),
            (None, None, method) => error_response(&ApiError::unknown_url(method.as_str(), path)),
            (_, _, method) => error_response(&ApiError::method_not_allowed(method.as_str(), path)),
        }
    }
}
