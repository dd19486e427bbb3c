//! A provider's error: read within bounds, told by its class, and passed on in the provider's own dialect without any
//! key in it.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use serde::de::IgnoredAny;
use weighbridge_wire::canonical::{Failure, FailureClass, retry};
use weighbridge_wire::lane::Refusal;
use weighbridge_wire::provider::{Kind, Profile};

use super::failure::{self, Failed};
use super::keys::Redactor;
use crate::forward::{COMMON_RESPONSE_HEADERS, UpstreamBody, asked_wait, copy_allowed, error_type};
use crate::server::Body;

/// Bytes of a provider's error that are read: a message, not a page.
const ERROR_BYTES: usize = 64 << 10;

/// An error as the provider said it.
#[derive(Debug)]
pub(super) struct Said {
    pub status: StatusCode,
    /// Its headers that may cross.
    pub headers: HeaderMap,
    /// What it comes to.
    pub failure: Failure,
    /// How long it asks to wait, in its headers or in its body.
    pub wait: Option<Duration>,
    /// Its body, where that is JSON of a size that errors have.
    body: Option<Bytes>,
}

impl Said {
    /// Reads an error's body, so that its connection serves the next request; one that is not there within `time` says
    /// nothing.
    pub(super) async fn read(kind: Kind, response: Response<UpstreamBody>, time: Duration) -> Self {
        let (head, body) = response.into_parts();
        let compressed = head.headers.contains_key(CONTENT_ENCODING);
        let read = tokio::time::timeout(time, Limited::new(body, ERROR_BYTES).collect()).await;
        let read = read.ok().and_then(Result::ok).map(|body| body.to_bytes());
        let is_json = |body: &Bytes| serde_json::from_slice::<IgnoredAny>(body).is_ok();
        let body = read.filter(|body| !compressed && !head.status.is_redirection() && is_json(body));
        let (status, profile) = (head.status, kind.profile());
        let headers = allowed(profile, &head.headers);
        let wait = asked_wait(status, &head.headers);
        let failure = match &body {
            Some(body) => Refusal {
                status: status.as_u16(),
                kind: error_type(&headers),
                retry_after_seconds: wait.map(retry::whole_seconds),
                body,
            }
            .by(kind),
            None => {
                let class = FailureClass::from_status(status.as_u16());
                let message = "it said nothing that can be read";
                Failure { status: Some(status.as_u16()), ..Failure::new(class, message) }
            }
        };
        let in_body = failure.retry_after_seconds.map(|seconds| Duration::from_secs(seconds.into()));
        Self { status, headers, wait: wait.or(in_body), failure, body }
    }

    /// The same of the host that gives tokens, which does not know the key; `message` is in its words.
    pub(super) fn of_the_key(status: StatusCode, message: String) -> Self {
        let failure =
            Failure { status: Some(status.as_u16()), ..Failure::new(FailureClass::Credential, message) };
        Self { status, headers: HeaderMap::new(), failure, wait: None, body: None }
    }

    /// The answer for the gateway; `wait` in place of the provider's, where it is known better.
    ///
    /// # Errors
    /// Where the provider's words are not to be passed on.
    pub(super) fn pass(
        self,
        provider: &str,
        redactor: &Redactor,
        wait: Option<Duration>,
    ) -> Result<Response<Body>, Failed> {
        let Self { status, mut headers, failure: _, wait: asked, body } = self;
        let wait = wait.or(asked);
        let Some(body) = body else { return Err(failure::unreadable(provider, status.as_u16(), wait)) };
        let body = Full::new(Bytes::from(redactor.redact(&body)));
        let mut response = Response::new(body.map_err(|never| match never {}).boxed_unsync());
        *response.status_mut() = status;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(wait) = wait {
            failure::say_wait(&mut headers, wait);
        }
        without_keys(&mut headers, |value| redactor.finds(value));
        *response.headers_mut() = headers;
        Ok(response)
    }
}

/// Takes out the headers whose value `holds` a key.
pub(super) fn without_keys(headers: &mut HeaderMap, holds: impl Fn(&[u8]) -> bool) {
    let keyed = headers.iter().filter(|(_, value)| holds(value.as_bytes()));
    let keyed: Vec<_> = keyed.map(|(name, _)| name.clone()).collect();
    for name in keyed {
        headers.remove(name);
    }
}

/// The headers of a provider's answer that may cross.
pub(super) fn allowed(profile: &Profile, from: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    copy_allowed(from, &mut headers, COMMON_RESPONSE_HEADERS);
    copy_allowed(from, &mut headers, profile.response_headers);
    headers
}

/// What makes a success no answer, in words; nothing where it may be one.
pub(super) fn is_none(headers: &HeaderMap) -> Option<&'static str> {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if headers.contains_key(CONTENT_ENCODING) {
        return Some("a compressed body, which was not asked for");
    }
    matches!(media_type.as_str(), "text/html" | "application/xhtml+xml").then_some("a web page")
}
