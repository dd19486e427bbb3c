//! What the caller gets where the provider gave no answer, or an error.

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Limited};
use weighbridge_wire::openai::{ApiError, ErrorBody};

use super::key::{Key, KeyError};
use crate::forward::{ForwardError, UpstreamBody};
use crate::label::tidy;

/// Bytes of a provider's error that are read: a message, not a page.
const ERROR_BYTES: usize = 64 << 10;
/// The longest wait that clients obey as it is meant; above it they are told not to retry.
const LONGEST_WAIT_SECONDS: u64 = 60;

/// There is no key to send.
pub(super) fn no_key(provider: &str, error: KeyError) -> ApiError {
    let message = format!("Provider `{provider}` can't be called: {error}.");
    ApiError::upstream("provider_credentials_missing", &message)
}

/// The provider did not answer. The cause is in the log, never in the answer.
pub(super) fn unanswered(provider: &str, error: &ForwardError) -> ApiError {
    match error {
        ForwardError::Connect(_) => ApiError::upstream(
            "provider_unreachable",
            &format!(
                "Provider `{provider}` can't be connected to: check baseURL of ExternalProvider `{provider}`."
            ),
        ),
        ForwardError::Broken(_) => ApiError::upstream(
            "provider_broken",
            &format!("The connection to provider `{provider}` broke before an answer began."),
        ),
        ForwardError::FirstByte(time) => ApiError::upstream_timeout(&format!(
            "Provider `{provider}` did not begin to answer within {} s.",
            time.as_secs()
        )),
    }
}

/// The provider's error in our shape. Its words are labelled as its own, and left out where they may speak
/// of the key.
pub(super) async fn answered(
    provider: &str,
    key: &Key,
    status: StatusCode,
    headers: &HeaderMap,
    body: UpstreamBody,
) -> (ApiError, HeaderMap) {
    let error = match status.as_u16() {
        // A caller must not take these for its own key or bill.
        401..=403 => ApiError::upstream(
            "provider_credentials_rejected",
            &format!("Provider `{provider}` rejected its credentials with status {}.", status.as_u16()),
        ),
        300..=399 => ApiError::upstream(
            "provider_redirect",
            &format!("Provider `{provider}` answered with a redirect, which is not followed."),
        ),
        code => {
            let said = Limited::new(body, ERROR_BYTES).collect().await.ok().map(|body| body.to_bytes());
            labelled(provider, key, code, said)
        }
    };
    let waits = error.status == 429 || error.status == 503;
    (error, if waits { wait_hints(headers) } else { HeaderMap::new() })
}

fn labelled(provider: &str, key: &Key, code: u16, said: Option<Bytes>) -> ApiError {
    let body = said.and_then(|said| serde_json::from_slice::<ErrorBody>(&said).ok());
    let message = match &body {
        Some(body) => {
            format!("Provider `{provider}` answered {code}: {}", key.redact(&tidy(&body.error.message)))
        }
        None => format!("Provider `{provider}` answered {code}."),
    };
    let (param, word) = body.map_or((None, None), |body| (body.error.param, body.error.code));
    let word = word.map(|word| key.redact(&tidy(&word)));
    match code {
        400 | 408 | 409 | 413 | 422 => {
            let param = param.map(|param| key.redact(&tidy(&param)));
            ApiError::new(code, "invalid_request_error", param.as_deref(), word.as_deref(), &message)
        }
        404 => ApiError::upstream("provider_not_found", &message),
        429 => ApiError::new(429, "rate_limit_error", None, word.as_deref(), &message),
        503 | 529 => ApiError::new(503, "server_error", None, Some("provider_overloaded"), &message),
        _ => ApiError::upstream("provider_error", &message),
    }
}

/// The provider's hints on when to come back, as they are. A wait longer than clients obey is marked as not
/// to be waited for.
fn wait_hints(from: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    crate::forward::copy_allowed(from, &mut headers, crate::forward::RESPONSE_HEADERS);
    headers.remove(http::header::CONTENT_TYPE);
    let seconds = from.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if seconds.is_some_and(|seconds| seconds > LONGEST_WAIT_SECONDS) {
        headers.insert("x-should-retry", HeaderValue::from_static("false"));
    }
    headers
}
