//! A request's way through the gateway, as one line of named stages.
//!
//! Each stage is a file; [`Pipeline::answer`] is the line. No provider's dialect and no `if provider ==`
//! may live here: what a path means, and what goes and comes in which words, is [`weighbridge_wire::lane`]'s affair.

mod admit;
mod answer;
mod aside;
mod authenticate;
mod forward;
mod headers;
mod hold;
mod models;
mod record;
mod reports;
mod residency;
mod retry;
mod route;

use std::sync::Arc;

use http::header::HeaderValue;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use tokio::time::Instant;
use weighbridge_wire::canonical::{Dialect, Failure, FailureClass, MAX_RETRY_AFTER_SECONDS};
use weighbridge_wire::lane::{self, Door};

use self::admit::{Call, Received};
use self::answer::{Answer, NoAnswer, Pace};
use self::hold::Holding;
use self::record::Record;
use self::reports::Reports;
use self::residency::Residency;
use crate::access::Access;
use crate::directory::Directory;
use crate::failure;
use crate::forward::PodClient;
use crate::metrics::GatewayMetrics;
use crate::server::{Body, BodyBudget, Handler, RequestSlots, ServerMetrics, Shutdown, refusal};
use crate::telemetry::{Telemetry, Trace};
use crate::wake::Wakes;
use crate::{GatewayConfig, Limits, Timeouts};

/// Swaps of its model that one request goes along with: people make one, and a loop would make many.
const MOST_CHANGES: u32 = 3;

/// Everything that the stages share.
pub(crate) struct Pipeline {
    limits: Limits,
    timeouts: Timeouts,
    directory: Directory,
    access: Access,
    holding: Holding,
    upstream: PodClient,
    reports: Arc<Reports>,
    residency: Arc<Residency>,
    slots: RequestSlots,
    bodies: Arc<BodyBudget>,
    metrics: GatewayMetrics,
    telemetry: Telemetry,
}

impl Pipeline {
    pub(crate) fn new(
        config: &GatewayConfig,
        directory: Directory,
        access: Access,
        metrics: GatewayMetrics,
        telemetry: Telemetry,
        server: ServerMetrics,
        shutdown: Shutdown,
    ) -> Self {
        let upstream = PodClient::new(config.upstream.clone(), &config.timeouts);
        let reports = Reports::new(upstream.clone());
        let wakes = config.waker.clone().map(|waker| Wakes::new(waker, metrics.clone()));
        Self {
            holding: Holding::new(directory.clone(), wakes, &config.limits, metrics.clone(), shutdown),
            residency: Residency::new(Arc::clone(&reports), metrics.clone()),
            reports,
            limits: config.limits.clone(),
            timeouts: config.timeouts.clone(),
            directory,
            access,
            upstream,
            slots: RequestSlots::new(config.limits.requests, server.requests_full),
            bodies: BodyBudget::new(config.limits.buffered_bytes, server.bodies_full),
            metrics,
            telemetry,
        }
    }

    /// The line: authenticate → admit → route → hold → forward → translate → meter → record.
    ///
    /// Route, hold and forward are gone through again for another attempt, and admit too where another upstream answers by then. Metering and recording happen as the answer passes, in [`Record`], which settles when it is dropped: at the end
    /// of the answer, or when the client leaves.
    async fn answer(&self, door: Door<'_>, request: Request<Incoming>) -> Response<Body> {
        let trace = Trace::begin(&self.telemetry, door.operation, request.headers());
        let mut record = Record::begin(&self.metrics, door.operation, trace);
        let Timeouts { total, keep_alive, .. } = self.timeouts;
        let pace = Pace { keep_alive, ends: Instant::now() + total, total };
        let refused = match self.received(request, &mut record).await {
            Ok(received) => match self.forwarded(&door, &received, pace, &mut record).await {
                Ok((call, Ok(answer))) => return answer.deliver(&call, pace, record),
                Ok((call, Err(NoAnswer::Refused(refused)))) => {
                    record.fail(refused.status.as_u16());
                    return refused.deliver(&call, &record);
                }
                Ok((
                    _,
                    Err(
                        NoAnswer::Failed(failure, _)
                        | NoAnswer::Settled(failure)
                        | NoAnswer::Withheld(failure, _)
                        | NoAnswer::Changed(failure),
                    ),
                ))
                | Err(failure) => failure,
            },
            Err(failure) => failure,
        };
        let answer = lane::error(door.operation.dialect(), &refused);
        record.fail(answer.status);
        let mut response = refusal(answer);
        headers::held(response.headers_mut(), record.time_held());
        if let Some(request_id) = &refused.request_id {
            headers::name_request(response.headers_mut(), door.operation.dialect(), request_id);
        }
        let is_long = refused.retry_after_seconds.is_some_and(|wait| wait > MAX_RETRY_AFTER_SECONDS);
        if refused.class == FailureClass::QuotaExhausted || is_long {
            // Under these statuses clients would try again, as after a limit that passes soon.
            response.headers_mut().insert("x-should-retry", HeaderValue::from_static("false"));
        }
        response
    }

    /// The answer to `received`, or none, and to what it was made for that. Made anew where another upstream answers by the time
    /// that it finds a place: its model was swapped.
    async fn forwarded(
        &self,
        door: &Door<'_>,
        received: &Received,
        pace: Pace,
        record: &mut Record,
    ) -> Result<(Call, Result<Answer, NoAnswer>), Failure> {
        let mut changes = 0;
        loop {
            let call = self.admit(door, received)?;
            record.name(&call.target, call.estimated_input);
            match self.forward_within(pace, &call, record).await {
                Err(NoAnswer::Changed(_)) if changes < MOST_CHANGES => changes += 1,
                answer => return Ok((call, answer)),
            }
        }
    }

    async fn forward_within(&self, pace: Pace, call: &Call, record: &mut Record) -> Result<Answer, NoAnswer> {
        let forwarded = tokio::time::timeout_at(pace.ends, self.forward(pace, call, record)).await;
        match forwarded {
            Ok(answer) => answer,
            Err(_) => Err(failure::overdue(&call.target.canonical, pace.total).into()),
        }
    }

    async fn received(&self, request: Request<Incoming>, record: &mut Record) -> Result<Received, Failure> {
        let (caller, request) = self.authenticate(request).await?;
        record.caller(&caller);
        record.keep(self.slots.take()?);
        self.receive(caller, request).await
    }
}

impl Handler for Pipeline {
    async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let method = request.method().clone();
        let uri = request.uri().clone();
        let (path, query) = (uri.path(), uri.query());
        if let Some(door) = lane::door(path, query) {
            if method == Method::POST {
                return self.answer(door, request).await;
            }
            let failure = failure::method_not_allowed(method.as_str(), path);
            return self.aside("method_not_allowed").refuse(door.operation.dialect(), &failure);
        }
        match models::asked(path, request.headers()) {
            Some(asked) if method == Method::GET => self.models(&asked, query, request).await,
            Some(asked) => {
                let failure = failure::method_not_allowed(method.as_str(), path);
                self.aside("method_not_allowed").refuse(asked.dialect, &failure)
            }
            None => {
                let failure = failure::unknown_url(method.as_str(), path);
                self.aside("unknown_url").refuse(Dialect::OpenAiChat, &failure)
            }
        }
    }
}
