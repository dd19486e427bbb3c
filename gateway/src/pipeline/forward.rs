//! Forward: attempts at endpoints, until one gives an answer or none is left to try. Where no endpoint could be reached, all are
//! tried once more after a moment.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::HeaderValue;
use http::uri::{PathAndQuery, Uri};
use http::{HeaderMap, Method, Request};
use weighbridge_wire::canonical::Failure;

use super::Pipeline;
use super::admit::Call;
use super::answer::{Answer, NoAnswer, Pace};
use super::record::Record;
use super::retry::{self, Again};
use super::route::{NoPlace, Route, route};
use crate::directory::{Changes, Endpoint, World};
use crate::failure;
use crate::forward::{ATTEMPTS, ATTEMPTS_USED, ForwardError, HOST, Pieces, PodClient, chain};
use crate::metrics::RetryLabels;
use crate::telemetry::Trace;

/// Attempts at one request, those of a provider's proxy at its keys included: past three the fault is not the
/// endpoint's.
const MAX_ATTEMPTS: u32 = 3;
const RETRY_AFTER_SECONDS: u32 = 2;

/// How one attempt ended.
struct Attempt {
    /// Attempts spent: a proxy may have tried several keys.
    spent: u32,
    result: Result<Answer, NoAnswer>,
    /// Where another attempt may do better.
    again: Again,
}

impl Pipeline {
    /// The answer of the first endpoint that gives one. The place at the endpoint is kept in `record` until the end.
    pub(super) async fn forward(
        &self,
        pace: Pace,
        call: &Call,
        record: &mut Record,
    ) -> Result<Answer, NoAnswer> {
        let (mut tried, mut spent, mut again_here, mut seen) = (Vec::<SocketAddr>::new(), 0, false, false);
        let mut last: Option<NoAnswer> = None;
        let mut changes: Option<Changes> = None;
        while spent < MAX_ATTEMPTS {
            let mut found = route(&self.directory, &call.target, &tried)?;
            if let (Route::Tried, Some(changes)) = (&found, changes.take()) {
                // Boxed: few requests wait, and all would have room for it.
                found = Box::pin(self.reach_again(call, &mut tried, changes)).await?;
            }
            let lease = match found {
                Route::At(lease) => lease,
                Route::Tried => break,
                // Boxed likewise.
                Route::Nowhere => Box::pin(self.hold(call, pace.ends, record)).await?,
            };
            let endpoint = lease.shared();
            if let Some(before) = &last {
                let reason = before.failure().class.as_str();
                let labels = RetryLabels { model: call.target.labels.clone(), reason };
                self.metrics.retries.get_or_create(&labels).inc();
            }
            tried.push(endpoint.address);
            record.at(lease);
            record.trace().attempt(&call.target, &endpoint);
            let attempt = self.attempt(call, &endpoint, MAX_ATTEMPTS - spent, record.trace()).await;
            spent += attempt.spent;
            let refused = match attempt.result {
                Ok(answer) => return Ok(answer),
                Err(refused) => refused,
            };
            let class = refused.failure().class.as_str();
            record.trace().attempt_failed(class, refused.usage());
            record.attempt_failed(refused.failure().class);
            tracing::warn!(endpoint = %endpoint.name, address = %endpoint.address, class, "an attempt gave no answer");
            // It was used, whoever sees it.
            match refused.usage() {
                Some(usage) => record.spent(usage),
                None if refused.has_read() => record.spent_unseen(),
                None => {}
            }
            match attempt.again {
                Again::Nowhere => return Err(refused),
                // Once: a second answer like the first is the provider's word.
                Again::Here if again_here => return Err(refused),
                Again::Here => {
                    (again_here, seen) = (true, true);
                    tried.pop();
                }
                Again::Elsewhere => seen = true,
                Again::Anywhere => {}
            }
            changes = (!seen).then(|| self.directory.changes());
            last = Some(refused);
        }
        Err(last.unwrap_or_else(|| failure::internal("no endpoint was tried").into()))
    }

    /// Where a request goes that reached none of the endpoints that were `tried`: to another one, as soon as there is one, or
    /// after a moment to any of them. A pod that begins, or gets no turn at its processor, may be there by then.
    async fn reach_again(
        &self,
        call: &Call,
        tried: &mut Vec<SocketAddr>,
        mut changes: Changes,
    ) -> Result<Route, NoPlace> {
        let others = async {
            loop {
                changes.next().await;
                match route(&self.directory, &call.target, tried)? {
                    Route::Tried => {}
                    found @ (Route::At(_) | Route::Nowhere) => return Ok(found),
                }
            }
        };
        if let Ok(found) = tokio::time::timeout(self.timeouts.reach_again, others).await {
            return found;
        }
        tried.clear();
        route(&self.directory, &call.target, tried)
    }

    /// One attempt, up to the commit point. `left` is what of the budget a proxy may spend.
    async fn attempt(&self, call: &Call, endpoint: &Arc<Endpoint>, left: u32, trace: &Trace) -> Attempt {
        let request = match self.request(call, endpoint, left) {
            Ok(mut request) => {
                trace.inject(request.headers_mut());
                request
            }
            Err(failure) => return Attempt { spent: 1, result: Err(failure.into()), again: Again::Nowhere },
        };
        let response = match self.upstream.send(request).await {
            Ok(response) => response,
            Err(error) => {
                tracing::warn!(endpoint = %endpoint.name, error = %chain(&error), "an endpoint did not answer");
                let failure = unanswered(&call.target.canonical, &error);
                let again = match call.target.world {
                    _ if error.nothing_sent() => Again::Anywhere,
                    World::Open => retry::after(failure.class, World::Open),
                    // The provider may be at work on it, and would be paid twice.
                    World::Closed => Again::Nowhere,
                };
                return Attempt { spent: 1, result: Err(failure.into()), again };
            }
        };
        let spent = used(response.headers());
        let promised = response.status().is_success();
        let witness = self.reports.witness(&call.target, endpoint, response.headers());
        let result = self.commit(call, response, self.residency.check(call, endpoint), witness).await;
        let again = match &result {
            Ok(_) | Err(NoAnswer::Settled(_) | NoAnswer::Withheld(..) | NoAnswer::Changed(_)) => {
                Again::Nowhere
            }
            Err(NoAnswer::Failed(failure, _)) if promised => {
                retry::after_promise(failure.class, call.target.world)
            }
            Err(refused @ (NoAnswer::Refused(_) | NoAnswer::Failed(..))) => {
                retry::after(refused.failure().class, call.target.world)
            }
        };
        Attempt { spent, result, again }
    }

    fn request(&self, call: &Call, endpoint: &Endpoint, left: u32) -> Result<Request<Pieces>, Failure> {
        let mut request = Request::new(call.body.clone());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri(&self.upstream, endpoint, &call.path)?;
        *request.headers_mut() = call.headers.clone();
        if call.target.world == World::Closed {
            request.headers_mut().insert(ATTEMPTS, HeaderValue::from(left));
            if let Some(host) = call.target.data_policy.as_ref().and_then(|policy| policy.host()) {
                let host = HeaderValue::try_from(host);
                request
                    .headers_mut()
                    .insert(HOST, host.map_err(|_| failure::internal("a region is no host"))?);
            }
        }
        Ok(request)
    }
}

/// `path`, with its query, at `endpoint`.
pub(super) fn uri(upstream: &PodClient, endpoint: &Endpoint, path: &str) -> Result<Uri, Failure> {
    let path = path.parse().map_err(|_| failure::internal("the upstream's path is none"))?;
    let origin = upstream.origin(endpoint);
    let (scheme, authority) = origin.ok_or_else(|| failure::internal("nobody vouches for an endpoint"))?;
    Uri::builder()
        .scheme(scheme)
        .authority(authority)
        .path_and_query::<PathAndQuery>(path)
        .build()
        .map_err(|_| failure::internal("an endpoint's address is no URL"))
}

/// What the other side says it spent, which is one attempt at least.
fn used(headers: &HeaderMap) -> u32 {
    let said = headers.get(ATTEMPTS_USED).and_then(|value| value.to_str().ok()?.parse().ok());
    said.unwrap_or(1).max(1)
}

/// Our words for it; the cause is in the log.
fn unanswered(model: &str, error: &ForwardError) -> Failure {
    match error {
        ForwardError::Connect(_) => failure::overloaded(
            "endpoint_unreachable",
            format!("No replica of `{model}` can be reached now."),
            RETRY_AFTER_SECONDS,
        ),
        ForwardError::Broken(_) => failure::upstream(
            "upstream_broken",
            format!("The connection to `{model}` broke before an answer began."),
        ),
        ForwardError::FirstByte(time) => {
            failure::timeout(format!("`{model}` did not begin to answer within {} s.", time.as_secs()))
        }
    }
}
