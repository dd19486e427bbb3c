//! A proxy's own failures: what the gateway gets where the provider said nothing that may be passed on.

use std::time::Duration;

use http::header::{HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Response};
use weighbridge_wire::canonical::{Failure, FailureClass, MAX_RETRY_AFTER_SECONDS};
use weighbridge_wire::openai::ApiError;

use super::keys::{KeyError, NoKey, ShowError, TokenError};
use crate::forward::{FAILURE, ForwardError, WAIT};
use crate::server::{Body, error_response};

/// A proxy is replaced within seconds.
const ELSEWHERE: Duration = Duration::from_secs(5);

/// A failure of our own, in OpenAI's shape whatever the provider speaks.
#[derive(Debug)]
pub(super) struct Failed {
    pub class: FailureClass,
    pub error: Box<ApiError>,
    /// How long the caller should wait.
    wait: Option<Duration>,
}

impl Failed {
    fn new(class: FailureClass, error: ApiError) -> Self {
        Self { class, error: Box::new(error), wait: None }
    }

    /// Of a request that can't be sent.
    pub(super) fn unsent(message: &str) -> Self {
        Self::new(FailureClass::Internal, ApiError::internal(message))
    }

    pub(super) fn response(&self) -> Response<Body> {
        let mut response = error_response(&self.error);
        if let Some(wait) = self.wait {
            say_wait(response.headers_mut(), wait);
        }
        response.headers_mut().insert(FAILURE, HeaderValue::from_static(self.class.as_str()));
        response
    }
}

/// The server's own refusals: too large, too slow, too many.
impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self::new(failure.class, failure.into())
    }
}

/// There is no key to send.
pub(super) fn no_key(provider: &str, why: NoKey) -> Failed {
    match why {
        NoKey::Missing(error) => missing(provider, error),
        NoKey::Retired => Failed::new(
            FailureClass::Credential,
            ApiError::upstream(
                "upstream_credentials_exhausted",
                &format!(
                    "Provider `{provider}` rejected every key that it has here: put a working one into the \
                     Secrets of ExternalProvider `{provider}`."
                ),
            ),
        ),
        NoKey::Exhausted => {
            let message = format!(
                "Provider `{provider}` says that the money or the quota of its account is used up: see the account \
                 of ExternalProvider `{provider}`."
            );
            let code = Some("insufficient_quota");
            let error = ApiError::new(429, "insufficient_quota", None, code, &message);
            Failed::new(FailureClass::QuotaExhausted, error)
        }
        NoKey::Resting(wait) => {
            let message = format!("Every key of provider `{provider}` is rate limited now.");
            let error = ApiError::new(429, "rate_limit_error", None, Some("upstream_rate_limited"), &message);
            Failed { wait: Some(wait), ..Failed::new(FailureClass::RateLimited, error) }
        }
    }
}

/// The provider is called at another host than it is to be: `host` is the one that is called.
pub(super) fn elsewhere(provider: &str, host: &str) -> Failed {
    let message = format!(
        "Provider `{provider}` is still called at {host}, and its ExternalProvider says another place by now: its proxy \
         is being replaced. Try again."
    );
    let error = ApiError::new(503, "server_error", None, Some("provider_elsewhere"), &message);
    Failed { wait: Some(ELSEWHERE), ..Failed::new(FailureClass::Overloaded, error) }
}

fn missing(provider: &str, error: KeyError) -> Failed {
    let message = format!("Provider `{provider}` can't be called: {error}.");
    Failed::new(FailureClass::Credential, ApiError::upstream("provider_credentials_missing", &message))
}

/// The attempts are used up on keys that the provider refuses, and there are others.
pub(super) fn rejected(provider: &str, status: u16) -> Failed {
    // Its class says that trying again may help, which a class of the caller's own key would not.
    let message =
        format!("Provider `{provider}` rejected a key with status {status}; there are others. Try again.");
    Failed::new(FailureClass::Upstream, ApiError::upstream("upstream_credentials_rejected", &message))
}

/// No request can show the key. The cause is in the log, never in the answer.
pub(super) fn unshown(provider: &str, error: &ShowError) -> Failed {
    match error {
        ShowError::Header | ShowError::Signature(_) | ShowError::Unsignable(_) => {
            Failed::unsent("The request can't be sent with the provider's key.")
        }
        ShowError::Token(TokenError::Refused { .. } | TokenError::Failed(_)) => Failed::new(
            FailureClass::Upstream,
            ApiError::upstream(
                "provider_token_unavailable",
                &format!(
                    "Provider `{provider}` can't be called: its token's host gave no access token. Try again."
                ),
            ),
        ),
    }
}

/// The provider did not answer. The cause is in the log, never in the answer.
pub(super) fn unanswered(provider: &str, error: &ForwardError) -> Failed {
    match error {
        ForwardError::Connect(_) => Failed::new(
            FailureClass::Upstream,
            ApiError::upstream(
                "provider_unreachable",
                &format!(
                    "Provider `{provider}` can't be connected to: check baseURL of ExternalProvider `{provider}`."
                ),
            ),
        ),
        ForwardError::Broken(_) => Failed::new(
            FailureClass::Upstream,
            ApiError::upstream(
                "provider_broken",
                &format!("The connection to provider `{provider}` broke before an answer began."),
            ),
        ),
        ForwardError::FirstByte(time) => Failed::new(
            FailureClass::Timeout,
            ApiError::upstream_timeout(&format!(
                "Provider `{provider}` did not begin to answer within {} s.",
                time.as_secs()
            )),
        ),
    }
}

/// The provider answered with success and with something that no dialect has.
pub(super) fn no_answer(provider: &str, what: &str) -> Failed {
    let message = format!("Provider `{provider}` answered with {what}.");
    Failed::new(FailureClass::Upstream, ApiError::upstream("provider_invalid_response", &message))
}

/// The provider answered with an error that is not passed on: a redirect, a page, or more than an error is.
pub(super) fn unreadable(provider: &str, status: u16, wait: Option<Duration>) -> Failed {
    if (300..=399).contains(&status) {
        let message = format!("Provider `{provider}` answered with a redirect, which is not followed.");
        return Failed::new(FailureClass::Upstream, ApiError::upstream("provider_redirect", &message));
    }
    let class = FailureClass::from_status(status);
    let mut failure = Failure::new(class, format!("Provider `{provider}` answered {status}."));
    failure.code = match class {
        FailureClass::BadRequest | FailureClass::TooLarge | FailureClass::RateLimited => None,
        FailureClass::NotFound => Some("provider_not_found".to_owned()),
        FailureClass::Overloaded => Some("provider_overloaded".to_owned()),
        _ => Some("provider_error".to_owned()),
    };
    Failed { wait, ..Failed::new(class, failure.into()) }
}

/// Says `wait` in whole seconds, at most as many as clients obey; a longer one is not to be waited for.
pub(super) fn say_wait(headers: &mut HeaderMap, wait: Duration) {
    headers.remove("retry-after-ms");
    let seconds = wait.as_millis().div_ceil(1000).max(1);
    let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
    headers.insert(WAIT, HeaderValue::from(seconds));
    headers.insert(RETRY_AFTER, HeaderValue::from(seconds.min(MAX_RETRY_AFTER_SECONDS)));
    if seconds > MAX_RETRY_AFTER_SECONDS {
        headers.insert("x-should-retry", HeaderValue::from_static("false"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_said_in_whole_seconds_that_clients_obey() {
        for (wait, told, retry) in [
            (Duration::ZERO, "1", None),
            (Duration::from_millis(6001), "7", None),
            (Duration::from_secs(60), "60", None),
            (Duration::from_millis(60_001), "60", Some("false")),
            (Duration::MAX, "60", Some("false")),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after-ms", HeaderValue::from_static("86400000"));
            headers.insert("retry-after", HeaderValue::from_static("86400"));
            say_wait(&mut headers, wait);
            let of = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
            assert_eq!((of("retry-after"), of("x-should-retry")), (Some(told), retry), "{wait:?}");
            assert_eq!(of("retry-after-ms"), None);
        }
    }
}
