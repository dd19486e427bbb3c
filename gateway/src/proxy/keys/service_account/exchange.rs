//! An access token for an assertion (RFC 7523, section 2.1).

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Limited};
use secrecy::SecretString;
use serde::Deserialize;

use super::super::super::connector::ProviderConnector;
use super::TokenError;
use super::assertion::Assertion;
use super::tokens::Token;
use crate::forward::{Pieces, Upstream, chain, unix_seconds};

/// The most that a token is waited for. Google takes a tenth of a second.
const TIME: Duration = Duration::from_secs(20);
/// Bytes of an answer that are read; tokens have up to 2 KB.
const ANSWER_BYTES: usize = 16 << 10;
/// Characters of the host's words that the log gets.
const SAID: usize = 200;

#[derive(Deserialize)]
struct Answer {
    access_token: SecretString,
    /// Seconds.
    expires_in: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    error: String,
    error_description: String,
}

/// Asks for a token.
pub(super) async fn fetch(
    assertion: &Assertion,
    token_uri: &Uri,
    upstream: &Upstream<ProviderConnector>,
) -> Result<Token, TokenError> {
    tokio::time::timeout(TIME, ask(assertion, token_uri, upstream))
        .await
        .unwrap_or_else(|_| Err(TokenError::Failed(format!("did not answer within {TIME:?}"))))
}

async fn ask(
    assertion: &Assertion,
    token_uri: &Uri,
    upstream: &Upstream<ProviderConnector>,
) -> Result<Token, TokenError> {
    let now = u64::try_from(unix_seconds()).unwrap_or_default();
    let asked = Instant::now();
    let signed =
        assertion.at(now).ok_or_else(|| TokenError::Failed("got nothing: the key can't sign".into()))?;
    // Neither part has a character that a form escapes but the colons of the first.
    let form = format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={signed}");
    let mut request = Request::new(Pieces::from(Bytes::from(form)));
    *request.method_mut() = Method::POST;
    request.uri_mut().clone_from(token_uri);
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers_mut().insert(CONTENT_TYPE, form);
    let response = upstream
        .send(request)
        .await
        .map_err(|error| TokenError::Failed(format!("did not answer: {}", chain(&error))))?;
    let (head, body) = response.into_parts();
    let unreadable = || TokenError::Failed(format!("answered {} with nothing readable", head.status));
    let body = Limited::new(body, ANSWER_BYTES).collect().await.map_err(|_| unreadable())?.to_bytes();
    match head.status.as_u16() {
        200 => {
            let Answer { access_token, expires_in } =
                serde_json::from_slice(&body).map_err(|_| unreadable())?;
            Token::new(access_token, asked + Duration::from_secs(expires_in.min(24 * 3600)))
                .ok_or_else(unreadable)
        }
        400 | 401 | 403 => Err(TokenError::Refused { status: head.status, said: said(&body, &signed) }),
        status => Err(TokenError::Failed(format!("answered {status}: {}", said(&body, &signed)))),
    }
}

/// The host's words, for the log: short, on one line, and without what it was sent.
fn said(body: &[u8], sent: &str) -> String {
    let Refusal { error, error_description } = serde_json::from_slice(body).unwrap_or_default();
    let words = format!("{error} {error_description}").replace(sent, "[assertion]");
    words.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(SAID).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_words_are_short_and_hold_nothing_that_was_sent() {
        let body = br#"{"error":"invalid_grant","error_description":"Invalid JWT\nSignature: a.b.c"}"#;
        assert_eq!(said(body, "a.b.c"), "invalid_grant Invalid JWT Signature: [assertion]");
        assert_eq!(said(b"<html>", "a.b.c"), "");
        let long = format!(r#"{{"error":"{}"}}"#, "x".repeat(1000));
        assert_eq!(said(long.as_bytes(), "a.b.c").len(), SAID);
    }
}
