//! Headers that cross between a caller and an upstream, and those that say who answered.

use std::time::Duration;

use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use weighbridge_wire::canonical::Dialect;
use weighbridge_wire::lane::Lane;
use weighbridge_wire::openai::PROMPT_TOKENS_HEADER;

use crate::directory::Target;
use crate::forward::{COMMON_REQUEST_HEADERS, REQUEST_HEADERS, RESPONSE_HEADERS, copy_allowed};

/// How a caller says what is to become of what another dialect can't express: `refuse` or `drop`.
pub(super) const UNSUPPORTED: HeaderName = HeaderName::from_static("x-weighbridge-unsupported");
const DROPPED: HeaderName = HeaderName::from_static("x-weighbridge-dropped");
/// Bytes of that list: proxies in between take headers of 4 KiB in all, the strictest ones.
const LISTED_BYTES: usize = 2 << 10;
const MODEL: HeaderName = HeaderName::from_static("x-weighbridge-model");
const WORLD: HeaderName = HeaderName::from_static("x-weighbridge-world");
const ENDPOINT: HeaderName = HeaderName::from_static("x-weighbridge-endpoint");
const HELD: HeaderName = HeaderName::from_static("x-weighbridge-held");
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

/// Headers by which providers name a request, for their support.
const REQUEST_IDS: [&str; 4] = ["x-request-id", "request-id", "apim-request-id", "x-amzn-requestid"];

/// The upstream's name of the request.
pub(super) fn request_id(headers: &HeaderMap) -> Option<String> {
    let named = REQUEST_IDS.iter().find_map(|name| headers.get(*name));
    named?.to_str().ok().map(str::to_owned)
}

/// Says an upstream's name of the request where the clients of `dialect` look for it; Gemini's read it in the body.
pub(super) fn name_request(headers: &mut HeaderMap, dialect: Dialect, request_id: &str) {
    let name = match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiCompletions | Dialect::OpenAiResponses => "x-request-id",
        Dialect::Anthropic => "request-id",
        Dialect::Converse => "x-amzn-requestid",
        Dialect::Gemini => return,
    };
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert(name, value);
    }
}

/// Says who answered, and what was left out of the request or of the answer.
pub(super) fn name(headers: &mut HeaderMap, target: &Target, endpoint: Option<&str>, dropped: &[String]) {
    headers.insert(WORLD, HeaderValue::from_static(target.world.as_str()));
    let dropped = (!dropped.is_empty()).then(|| listed(dropped));
    let named =
        [(MODEL, Some(target.canonical.as_str())), (ENDPOINT, endpoint), (DROPPED, dropped.as_deref())];
    for (name, value) in named {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(name, value);
        }
    }
}

/// Says how long a request waited for an endpoint, in seconds, where it did.
pub(super) fn held(headers: &mut HeaderMap, time: Option<Duration>) {
    let seconds = time.and_then(|time| HeaderValue::try_from(format!("{:.3}", time.as_secs_f64())).ok());
    if let Some(seconds) = seconds {
        headers.insert(HELD, seconds);
    }
}

/// `names` as one header's value: fields of a request may be called anything. What no header takes, and what would look like
/// two names, is percent-encoded (RFC 3986, section 2.1); of very many, how many more there are is said.
fn listed(names: &[String]) -> String {
    let mut list = String::new();
    for (index, name) in names.iter().enumerate() {
        let mut encoded = String::new();
        for byte in name.bytes() {
            match byte {
                b' '..=b'~' if !matches!(byte, b'%' | b',') => encoded.push(char::from(byte)),
                _ => encoded.push_str(&format!("%{byte:02X}")),
            }
        }
        if list.len() + encoded.len() > LISTED_BYTES {
            let more = format!("and {} more", names.len() - index);
            return if list.is_empty() { more } else { format!("{list}, {more}") };
        }
        if index > 0 {
            list.push_str(", ");
        }
        list.push_str(&encoded);
    }
    list
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_out_is_listed_whatever_it_is_called() {
        let names = |names: &[&str]| listed(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(names(&["logit_bias", "a b"]), "logit_bias, a b");
        assert_eq!(names(&["größe", "a,b", "50%", "x\r\ny"]), "gr%C3%B6%C3%9Fe, a%2Cb, 50%25, x%0D%0Ay");
        assert!(HeaderValue::from_str(&names(&["größe\0"])).is_ok());
        let many: Vec<String> = (0..10_000).map(|n| format!("field_{n}")).collect();
        let list = listed(&many);
        assert!(
            list.len() < LISTED_BYTES + 32 && list.starts_with("field_0, ") && list.ends_with(" more"),
            "{list}"
        );
        assert_eq!(listed(&["x".repeat(1 << 20)]), "and 1 more");
    }
}
