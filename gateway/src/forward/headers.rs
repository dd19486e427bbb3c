//! Which headers cross. A list of what may, not of what may not: credentials, cookies, hop-by-hop headers
//! and forwarding chains stay behind because nobody named them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, StatusCode};
use weighbridge_wire::bedrock::error::TYPE_HEADER;
use weighbridge_wire::canonical::retry;

/// How many attempts at the provider the gateway leaves to a proxy.
pub(crate) const ATTEMPTS: HeaderName = HeaderName::from_static("x-weighbridge-attempts");
/// How many a proxy made.
pub(crate) const ATTEMPTS_USED: HeaderName = HeaderName::from_static("x-weighbridge-attempts-used");
/// The host that a provider must be called at; a proxy that calls another refuses. While a proxy is replaced because its
/// provider is to be called elsewhere, both are there.
pub(crate) const HOST: HeaderName = HeaderName::from_static("x-weighbridge-host");
/// On an error of a proxy's own, in OpenAI's shape: its class. An error without it is the provider's.
pub(crate) const FAILURE: HeaderName = HeaderName::from_static("x-weighbridge-failure");

/// On an error that a proxy passes on or makes: after how many seconds another request may go well, which is more than
/// clients are told.
pub(crate) const WAIT: HeaderName = HeaderName::from_static("x-weighbridge-wait");

/// On a provider's answer: what its proxy calls the key that it came by, for a gateway to say where it was none
/// ([`FailedAnswer`]).
pub(crate) const KEY: HeaderName = HeaderName::from_static("x-weighbridge-key");

/// Where a gateway tells a proxy that what began as an answer was none. No provider has such a path.
pub(crate) const FAILED_PATH: &str = "/weighbridge/failed";

/// What came of a provider under a status of success in place of an answer, or of the rest of one.
#[derive(Debug, serde::Deserialize, serde::Serialize)]
pub(crate) struct FailedAnswer {
    /// The word of its [`weighbridge_wire::canonical::FailureClass`].
    pub class: String,
    pub status: Option<u16>,
    pub message: String,
    /// Whether the message is the provider's, and not the gateway's of what it could not read.
    pub quoted: bool,
    pub retry_after_seconds: Option<u32>,
    /// As [`KEY`] said.
    pub key: Option<String>,
}

/// Where a gateway tells a proxy that an answer did not come from where it was to ([`Residency`]). No provider has such a
/// path.
pub(crate) const RESIDENCY_PATH: &str = "/weighbridge/residency";

/// What a gateway saw of the place that an answer came from.
#[derive(Debug, serde::Deserialize, serde::Serialize)]
pub(crate) struct Residency {
    /// Where it was to come from.
    pub required: String,
    /// Where the provider says that it came from.
    pub stated: Option<String>,
}

/// From a caller to any upstream. `accept-encoding` is left out on purpose: a compressed answer can't be
/// metered and must not be compressed per event.
pub(crate) const COMMON_REQUEST_HEADERS: &[&str] =
    &["accept", "content-type", "idempotency-key", "traceparent", "tracestate", "x-request-id"];

/// From any upstream to a caller.
pub(crate) const COMMON_RESPONSE_HEADERS: &[&str] =
    &["cache-control", "content-type", "retry-after", "retry-after-ms", "x-request-id", "x-should-retry"];

/// From a caller through the gateway: the common ones and those of every kind of provider, whose proxy lets
/// only its own kind's on.
pub(crate) const REQUEST_HEADERS: &[&str] = &[
    "accept",
    "anthropic-beta",
    "anthropic-version",
    "content-type",
    "idempotency-key",
    "openai-beta",
    "traceparent",
    "tracestate",
    "x-request-id",
];

/// From an upstream through the gateway, as with [`REQUEST_HEADERS`].
pub(crate) const RESPONSE_HEADERS: &[&str] = &[
    "anthropic-ratelimit-input-tokens-limit",
    "anthropic-ratelimit-input-tokens-remaining",
    "anthropic-ratelimit-input-tokens-reset",
    "anthropic-ratelimit-output-tokens-limit",
    "anthropic-ratelimit-output-tokens-remaining",
    "anthropic-ratelimit-output-tokens-reset",
    "anthropic-ratelimit-requests-limit",
    "anthropic-ratelimit-requests-remaining",
    "anthropic-ratelimit-requests-reset",
    "anthropic-ratelimit-tokens-limit",
    "anthropic-ratelimit-tokens-remaining",
    "anthropic-ratelimit-tokens-reset",
    "apim-request-id",
    "cache-control",
    "content-type",
    "openai-processing-ms",
    "openai-version",
    "request-id",
    "retry-after",
    "retry-after-ms",
    "x-amzn-errortype",
    "x-amzn-requestid",
    "x-ms-region",
    "x-ratelimit-limit-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
    "x-request-id",
    "x-should-retry",
];

/// Copies the headers named in `allowed`, repeated ones included.
pub(crate) fn copy_allowed(from: &HeaderMap, to: &mut HeaderMap, allowed: &[&'static str]) {
    for name in allowed {
        for value in from.get_all(*name) {
            to.append(*name, value.clone());
        }
    }
}

/// The wait that an upstream's answer asks for in its headers, in whichever provider's way.
pub(crate) fn asked_wait(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    let said = headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    retry::wait(status.as_u16(), said, unix_seconds())
}

/// What an upstream's error is, where its headers say.
pub(crate) fn error_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(TYPE_HEADER)?.to_str().ok()
}

/// The time, in seconds since 1970.
pub(crate) fn unix_seconds() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from(now).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use weighbridge_wire::provider::{Kind, Profile};

    use super::*;

    /// A key that is limited by requests rests as long as those take, whatever is left of its tokens.
    #[test]
    fn a_wait_is_read_in_every_providers_way() {
        let wait = |hints: &[(&'static str, &'static str)]| {
            let value = |value: &'static str| http::HeaderValue::from_static(value);
            let headers = hints.iter().map(|(name, hint)| (HeaderName::from_static(name), value(hint)));
            asked_wait(StatusCode::TOO_MANY_REQUESTS, &headers.collect())
        };
        let openai = [
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "1m30s"),
            ("x-ratelimit-remaining-tokens", "100"),
            ("x-ratelimit-reset-tokens", "6m0s"),
        ];
        assert_eq!(wait(&openai), Some(Duration::from_secs(90)));
        assert_eq!(
            wait(&[("retry-after", "7"), ("retry-after-ms", "120")]),
            Some(Duration::from_millis(120))
        );
        assert_eq!(wait(&[("retry-after", "soon")]), None);
    }

    #[test]
    fn the_gateway_lets_through_what_the_common_list_or_a_kind_names() {
        let of = |common: &[&'static str], of_kind: fn(&Profile) -> &'static [&'static str]| {
            let kinds = Kind::ALL.into_iter().flat_map(|kind| of_kind(kind.profile()));
            common.iter().chain(kinds).copied().collect::<BTreeSet<_>>()
        };
        let request = of(COMMON_REQUEST_HEADERS, |profile| profile.request_headers);
        assert_eq!(REQUEST_HEADERS.iter().copied().collect::<BTreeSet<_>>(), request);
        let response = of(COMMON_RESPONSE_HEADERS, |profile| profile.response_headers);
        assert_eq!(RESPONSE_HEADERS.iter().copied().collect::<BTreeSet<_>>(), response);
        for ours in [ATTEMPTS, ATTEMPTS_USED, FAILURE, HOST] {
            assert!(!request.contains(ours.as_str()) && !response.contains(ours.as_str()), "{ours}");
        }
    }
}
