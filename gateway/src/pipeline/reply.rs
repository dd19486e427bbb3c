//! Headers of an answer: what the upstream may say, and who answered.

use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use weighbridge_wire::openai::PROMPT_TOKENS_HEADER;

use crate::directory::Target;
use crate::forward::{RESPONSE_HEADERS, copy_allowed};

const MODEL: HeaderName = HeaderName::from_static("x-weighbridge-model");
const WORLD: HeaderName = HeaderName::from_static("x-weighbridge-world");
const ENDPOINT: HeaderName = HeaderName::from_static("x-weighbridge-endpoint");
/// Tells nginx and its like to pass events on at once.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The upstream's headers that may cross.
pub(super) fn upstream_headers(from: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    copy_allowed(from, &mut headers, RESPONSE_HEADERS);
    headers
}

/// The tokens of a stream's prompt, where the engine says them at its start. For the meter only: it stays
/// behind like every header that is not listed, and a provider's proxy lets none of that name through.
pub(super) fn prompt_tokens(headers: &HeaderMap) -> Option<u64> {
    headers.get(PROMPT_TOKENS_HEADER)?.to_str().ok()?.parse().ok()
}

/// Sets `headers` in `to`.
pub(super) fn copy(headers: HeaderMap, to: &mut HeaderMap) {
    to.extend(headers);
}

/// Says who answered.
pub(super) fn name(headers: &mut HeaderMap, target: &Target, endpoint: Option<&str>) {
    headers.insert(WORLD, HeaderValue::from_static(target.world.as_str()));
    for (name, value) in [(MODEL, Some(target.canonical.as_str())), (ENDPOINT, endpoint)] {
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

pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    media_type(headers).eq_ignore_ascii_case("text/event-stream")
}

pub(super) fn is_json(headers: &HeaderMap) -> bool {
    media_type(headers).eq_ignore_ascii_case("application/json")
}

/// The content type without its parameters; empty where there is none.
pub(super) fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}
