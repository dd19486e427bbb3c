//! Which headers cross. A list of what may, not of what may not: credentials, cookies, hop-by-hop headers
//! and forwarding chains stay behind because nobody named them.

use http::HeaderMap;

/// From a caller to an upstream. `accept-encoding` is left out on purpose: a compressed answer can't be
/// metered and must not be compressed per event.
pub(crate) const REQUEST_HEADERS: &[&str] = &[
    "accept",
    "content-type",
    "idempotency-key",
    "openai-beta",
    "traceparent",
    "tracestate",
    "x-request-id",
];

/// From an upstream to a caller.
pub(crate) const RESPONSE_HEADERS: &[&str] = &[
    "cache-control",
    "content-type",
    "openai-processing-ms",
    "openai-version",
    "retry-after",
    "retry-after-ms",
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
