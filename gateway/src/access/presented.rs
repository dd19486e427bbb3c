//! The key that a request presents: in the header of whichever dialect its client speaks.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::refusal::Refusal;

/// Headers whose whole value is a key: Anthropic's, Gemini's and Azure OpenAI's.
const WHOLE: [&str; 3] = ["x-api-key", "x-goog-api-key", "api-key"];

/// The scheme of OpenAI's.
const BEARER: &[u8] = b"bearer";

/// The one key in `headers`. A key in a URL is not looked for: proxies write URLs into their logs, and Gemini's
/// clients, which may put it there, can send it in a header as well.
///
/// # Errors
/// There is none, or there are two that differ: which of them counts is not guessed.
pub(super) fn presented(headers: &HeaderMap) -> Result<&[u8], Refusal> {
    let bearers = headers.get_all(AUTHORIZATION).iter().filter_map(|value| bearer(value.as_bytes()));
    let whole =
        WHOLE.iter().flat_map(|name| headers.get_all(*name)).map(|value| value.as_bytes().trim_ascii());
    let mut keys = bearers.chain(whole).filter(|key| !key.is_empty());
    let key = keys.next().ok_or(Refusal::NoKey)?;
    if keys.all(|other| other == key) { Ok(key) } else { Err(Refusal::KeysDiffer) }
}

/// The key of `Bearer KEY`; schemes are spelled in any case.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = value.trim_ascii().split_at_checked(BEARER.len())?;
    let separated = key.first().is_some_and(u8::is_ascii_whitespace);
    (scheme.eq_ignore_ascii_case(BEARER) && separated).then(|| key.trim_ascii())
}
