//! Bodies of answers.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use weighbridge_wire::canonical::ErrorAnswer;
use weighbridge_wire::openai::ApiError;

/// The body of an answer: whole, or a stream.
pub(crate) type Body = UnsyncBoxBody<Bytes, BodyError>;

/// An answer broke off. The connection is closed, so that the client sees it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The upstream stopped sending.
    #[error("nothing came from the upstream for {0:?}")]
    Idle(std::time::Duration),
    /// The upstream says what nobody may know who reads it.
    #[error("the answer holds a provider's key")]
    Leaking,
    /// The connection to the upstream broke.
    #[error("the connection to the upstream broke")]
    Broken(#[source] hyper::Error),
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A whole answer in JSON.
pub(crate) fn json_response(status: StatusCode, json: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(json.into()).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// `error` as an answer in OpenAI's shape, which the proxy speaks to the gateway.
pub(crate) fn error_response(error: &ApiError) -> Response<Body> {
    let ApiError { status, retry_after_seconds, body: _ } = *error;
    refusal(ErrorAnswer { status, retry_after_seconds, body: error.to_json() })
}

/// An error as a dialect sends it.
pub(crate) fn refusal(error: ErrorAnswer) -> Response<Body> {
    let ErrorAnswer { status, retry_after_seconds, body } = error;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json_response(status, body);
    if let Some(seconds) = retry_after_seconds {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
