//! An upstream that answered with an error.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, Response, StatusCode};
use weighbridge_wire::canonical::{Failure, FailureClass, retry};
use weighbridge_wire::lane::Refusal;
use weighbridge_wire::openai::ErrorBody;

use super::super::admit::Call;
use super::super::headers;
use super::super::record::Record;
use super::{NoAnswer, invalid, whole};
use crate::directory::World;
use crate::forward::{FAILURE, UpstreamBody, WAIT, asked_wait, error_type};
use crate::label;
use crate::server::{Body, BodyBudget, json_response};

/// Bytes of an upstream's error that are read: a message, not a page.
const ERROR_BYTES: usize = 64 << 10;

/// An error of an engine in the caller's own dialect: it is ours, and passes byte for byte.
#[derive(Debug)]
pub(in super::super) struct Refused {
    pub failure: Failure,
    pub status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// Reads an answer with a status of failure, whose body has so long to arrive.
pub(super) async fn read(
    call: &Call,
    head: &Parts,
    body: UpstreamBody,
    (bodies, time): (&Arc<BodyBudget>, Duration),
) -> NoAnswer {
    let canonical = &call.target.canonical;
    let reading = whole::collect(body, ERROR_BYTES, bodies, canonical);
    let Ok(Ok(bytes)) = tokio::time::timeout(time, reading).await else {
        return invalid(canonical, &format!("answered {} with no readable error", class(head.status))).into();
    };
    if let Some(class) = proxys_own(&head.headers) {
        return between_us(ours(class, head, &bytes), |failure| failure);
    }
    let mut failure = call.lane.failure(&Refusal {
        status: head.status.as_u16(),
        kind: error_type(&head.headers),
        retry_after_seconds: retry_after(head.status, &head.headers),
        body: &bytes,
    });
    failure.request_id = failure.request_id.or_else(|| headers::request_id(&head.headers));
    match call.target.world {
        World::Closed => between_us(failure, |failure| label::said(&call.target, failure)),
        // Anything but our own shape did not come from the engine.
        World::Open if serde_json::from_slice::<ErrorBody>(&bytes).is_err() => {
            invalid(canonical, &format!("answered {} with no readable error", class(head.status))).into()
        }
        World::Open if !call.lane.translates() => {
            let headers = headers::answered(&head.headers);
            NoAnswer::Refused(Box::new(Refused { failure, status: head.status, headers, body: bytes }))
        }
        World::Open => failure.into(),
    }
}

/// `failure` in words for the caller. That a provider does not know our key or the model's name is no fault of the caller's,
/// and no other attempt mends it.
fn between_us(failure: Failure, in_words: impl FnOnce(Failure) -> Failure) -> NoAnswer {
    let class = label::not_the_callers(failure.class);
    if class == failure.class {
        return in_words(failure).into();
    }
    NoAnswer::Settled(Failure { class, ..in_words(failure) })
}

impl Refused {
    /// The error for the caller.
    pub(in super::super) fn deliver(self, call: &Call, record: &Record) -> Response<Body> {
        let Self { failure: _, status, headers, body } = self;
        let mut response = json_response(status, body);
        response.headers_mut().extend(headers);
        headers::name(response.headers_mut(), &call.target, record.endpoint_name(), &call.dropped);
        headers::held(response.headers_mut(), record.time_held());
        response
    }
}

fn class(status: StatusCode) -> &'static str {
    if status.is_client_error() { "4xx" } else { "5xx" }
}

fn retry_after(status: StatusCode, headers: &HeaderMap) -> Option<u32> {
    let told = headers.get(WAIT).and_then(|seconds| seconds.to_str().ok()?.parse().ok());
    told.or_else(|| asked_wait(status, headers).map(retry::whole_seconds))
}

/// The class that a proxy gives a failure of its own; a provider can't: the proxy lets no header of that name through.
fn proxys_own(headers: &HeaderMap) -> Option<FailureClass> {
    let class = headers.get(FAILURE)?.to_str().ok()?;
    FailureClass::ALL.into_iter().find(|known| known.as_str() == class)
}

fn ours(class: FailureClass, head: &Parts, body: &[u8]) -> Failure {
    let said = serde_json::from_slice::<ErrorBody>(body).ok().map(|body| body.error);
    let message =
        said.as_ref().map_or_else(|| "The provider's proxy failed.".to_owned(), |e| e.message.clone());
    let mut failure = Failure::new(class, message);
    failure.code = said.and_then(|error| error.code);
    failure.retry_after_seconds = retry_after(head.status, &head.headers);
    failure
}
