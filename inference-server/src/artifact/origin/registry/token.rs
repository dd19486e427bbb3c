//! How a registry lets somebody in: it names who hands out tokens, and what to ask there.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use url::Url;

use super::super::super::FetchError;
use super::super::super::credentials::Login;
use super::super::super::request::InvalidToken;

/// A user of a registry, or nobody, and what the registry takes for now.
#[derive(Clone)]
pub(in super::super::super) struct RegistryLogin {
    /// As Basic authentication has it.
    password: Option<HeaderValue>,
    current: Arc<Mutex<Option<HeaderValue>>>,
}

impl RegistryLogin {
    pub(super) fn new(login: Option<&Login>) -> Result<Self, FetchError> {
        let password = login.map(|Login { user, password }| {
            let encoded = STANDARD.encode(format!("{user}:{}", password.expose_secret()));
            header(&format!("Basic {encoded}"))
        });
        Ok(Self { password: password.transpose()?, current: Arc::default() })
    }

    pub(in super::super) fn is_named(&self) -> bool {
        self.password.is_some()
    }

    pub(in super::super) fn current(&self) -> Option<HeaderValue> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What whoever hands out tokens is shown.
    pub(in super::super::super) fn password(&self) -> Option<&HeaderValue> {
        self.password.as_ref()
    }

    /// What requests show from now on.
    pub(in super::super::super) fn take(&self, shown: HeaderValue) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
    }
}

fn header(text: &str) -> Result<HeaderValue, FetchError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| FetchError::Token(InvalidToken))?;
    value.set_sensitive(true);
    Ok(value)
}

/// What a registry wants of whoever it does not let in (RFC 9110, section 11.6.1).
#[derive(Debug, PartialEq, Eq)]
pub(in super::super::super) enum Challenge {
    /// The password itself.
    Basic,
    /// A token, from this address.
    Token(Url),
}

impl Challenge {
    /// The challenge in `header` of the registry at `home`; `None` where it is none that is served. A token's address is https
    /// where the registry is.
    pub(in super::super::super) fn read(header: &str, home: &Url) -> Option<Self> {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Challenge::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let value = |name: &str| {
            parameters(rest).find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        };
        let mut url = Url::parse(value("realm")?).ok()?;
        if url.scheme() != "https" && !(home.scheme() == "http" && url.scheme() == "http") {
            return None;
        }
        let asked = ["service", "scope"].into_iter().filter_map(|name| Some((name, value(name)?)));
        url.query_pairs_mut().extend_pairs(asked);
        Some(Challenge::Token(url))
    }
}

/// `name="value"` pairs; a comma inside quotes is part of a value.
fn parameters(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (name, after) = rest.split_once('=')?;
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        rest = left.trim_start_matches([',', ' ']);
        Some((name.trim(), value.trim()))
    })
}

/// What requests show with the token in `answer`; `None` where there is none.
pub(in super::super::super) fn handed_out(answer: &[u8]) -> Option<HeaderValue> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
    }
    let Answer { token, access_token } = serde_json::from_slice(answer).ok()?;
    header(&format!("Bearer {}", token.or(access_token)?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_says_where_a_token_is_and_what_for() {
        let home = Url::parse("https://registry.example").unwrap();
        let read = |text: &str| Challenge::read(text, &home);
        let Some(Challenge::Token(url)) = read(
            r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:o/m:pull,push""#,
        ) else {
            panic!("no challenge")
        };
        assert_eq!(
            url.as_str(),
            "https://auth.example/token?service=registry.example&scope=repository%3Ao%2Fm%3Apull%2Cpush"
        );
        assert_eq!(read(r#"basic realm="x""#), Some(Challenge::Basic));
        for bad in
            ["", "Bearer", r#"Bearer service="x""#, r#"Bearer realm="http://auth.example""#, "Negotiate x"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
        let plain = Url::parse("http://registry.svc:5000").unwrap();
        assert!(Challenge::read(r#"Bearer realm="http://auth.svc/t""#, &plain).is_some());
        assert_eq!(handed_out(br#"{"access_token":"t"}"#).unwrap(), "Bearer t");
        assert!(handed_out(br#"{"token":"a\nb"}"#).is_none() && handed_out(b"{}").is_none());
    }
}
