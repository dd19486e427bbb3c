//! Headers that cross between a caller and an upstream, and those that say who answered.

use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use weighbridge_wire::lane::Lane;
use weighbridge_wire::openai::PROMPT_TOKENS_HEADER;

use crate::directory::Target;
use crate::forward::{COMMON_REQUEST_HEADERS, REQUEST_HEADERS, RESPONSE_HEADERS, copy_allowed};

/// How a caller says what is to become of what another dialect can't express: `refuse` or `drop`.
pub(super) const UNSUPPORTED: HeaderName = HeaderName::from_static("x-weighbridge-unsupported");
const DROPPED: HeaderName = HeaderName::from_static("x-weighbridge-dropped");
const MODEL: HeaderName = HeaderName::from_static("x-weighbridge-model");
const WORLD: HeaderName = HeaderName::from_static("x-weighbridge-world");
const ENDPOINT: HeaderName = HeaderName::from_static("x-weighbridge-endpoint");
/// Tells nginx and its like to pass events on at once.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// What goes upstream: where the request passes as it came, what its dialect's clients say of it too.
pub(super) fn upstream(from: &HeaderMap, lane: &Lane) -> HeaderMap {
    let allowed = if lane.translates() { COMMON_REQUEST_HEADERS } else { REQUEST_HEADERS };
    let mut headers = HeaderMap::new();
    copy_allowed(from, &mut headers, allowed);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}

/// The upstream's headers that may cross to the caller.
pub(super) fn answered(from: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    copy_allowed(from, &mut headers, RESPONSE_HEADERS);
    headers
}

/// Headers of a stream: the upstream's where it passes as it came, and the door's content type.
pub(super) fn streamed(from: &HeaderMap, lane: &Lane) -> HeaderMap {
    let mut headers = if lane.translates() { HeaderMap::new() } else { answered(from) };
    if let Some(media_type) = lane.client_media_type() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    }
    headers
}

/// The tokens of a stream's prompt, where the engine says them at its start. For the meter only: it stays
/// behind like every header that is not listed, and a provider's proxy lets none of that name through.
pub(super) fn prompt_tokens(headers: &HeaderMap) -> Option<u64> {
    headers.get(PROMPT_TOKENS_HEADER)?.to_str().ok()?.parse().ok()
}

/// Says who answered, and what was left out of the request or of the answer.
pub(super) fn name(headers: &mut HeaderMap, target: &Target, endpoint: Option<&str>, dropped: &[String]) {
    headers.insert(WORLD, HeaderValue::from_static(target.world.as_str()));
    let dropped = (!dropped.is_empty()).then(|| dropped.join(", "));
    let named =
        [(MODEL, Some(target.canonical.as_str())), (ENDPOINT, endpoint), (DROPPED, dropped.as_deref())];
    for (name, value) in named {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(name, value);
        }
    }
}

/// Keeps whatever stands between us and the caller from holding events back.
pub(super) fn unbuffered(headers: &mut HeaderMap) {
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
}

/// Whether an answer is the stream that was asked for.
pub(super) fn is_stream(headers: &HeaderMap, lane: &Lane) -> bool {
    media_type(headers).eq_ignore_ascii_case(lane.upstream_media_type())
}

/// The content type without its parameters; empty where there is none.
pub(super) fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}
