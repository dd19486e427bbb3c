//! OpenAI's errors and the failure taxonomy.

use serde_json::Value;

use super::super::{ApiError, ErrorBody, ErrorObject};
use crate::canonical::{Dialect, ErrorAnswer, Failure, FailureClass};

/// By these words OpenAI refuses what a restricted key was not made for; it says no code for it.
const MISSING_SCOPES: &str = "Missing scopes:";

/// How much of a body that is not an error object is quoted, in characters.
const QUOTED: usize = 200;

/// Reads an error answer. `retry_after_seconds` comes from its headers.
pub fn to_canonical(status: u16, retry_after_seconds: Option<u32>, body: &[u8]) -> Failure {
    let mut failure = match serde_json::from_slice::<ErrorBody>(body) {
        Ok(ErrorBody { error }) => read_object(error, status),
        Err(_) => Failure::new(FailureClass::from_status(status), plain_message(body)),
    };
    failure.status = Some(status);
    failure.retry_after_seconds = retry_after_seconds;
    failure.origin = Some(Dialect::OpenAiChat);
    failure
}

/// The failure of an error of ours, such as parsing gives.
pub fn of_ours(error: ApiError) -> Failure {
    let ApiError { status, retry_after_seconds, body: ErrorBody { error } } = error;
    let mut failure = read_object(error, status);
    failure.retry_after_seconds = retry_after_seconds;
    failure
}

/// Reads the `error` of a 200: a stream's error line, or a whole answer that is none.
pub(crate) fn in_answer(error: Value, dialect: Dialect) -> Failure {
    let mut failure = match serde_json::from_value::<ErrorObject>(error.clone()) {
        Ok(object) => read_object(object, 500),
        Err(_) => {
            Failure::new(FailureClass::Upstream, error.as_str().unwrap_or("unreadable error").to_owned())
        }
    };
    failure.origin = Some(dialect);
    failure
}

/// Reads an error object that came with `status`.
pub(super) fn read_object(error: ErrorObject, status: u16) -> Failure {
    let ErrorObject { message, kind, param, code } = error;
    let class = code
        .as_deref()
        .and_then(class_of_code)
        .or_else(|| class_of_code(&kind))
        // Servers that put the status into the code (`"code": 429`) mean it, under a 200 too.
        .or_else(|| code.as_deref()?.parse().ok().map(FailureClass::from_status))
        .unwrap_or_else(|| FailureClass::from_status(status));
    // OpenAI knows the key, and says so with 401: it was made for less than this.
    let class = match class {
        FailureClass::Credential if message.contains(MISSING_SCOPES) => FailureClass::Forbidden,
        class => class,
    };
    let mut failure = Failure::new(class, message);
    (failure.param, failure.code) = (param, code);
    failure
}

fn class_of_code(code: &str) -> Option<FailureClass> {
    Some(match code {
        "context_length_exceeded" => FailureClass::ContextTooLong,
        "insufficient_quota" | "credit_balance_exhausted" | "billing_hard_limit_reached" => {
            FailureClass::QuotaExhausted
        }
        "rate_limit_exceeded" | "rate_limit_error" | "slow_down" => FailureClass::RateLimited,
        "server_is_overloaded" => FailureClass::Overloaded,
        "invalid_api_key" => FailureClass::Credential,
        "model_not_found" => FailureClass::NotFound,
        "content_filter" | "content_policy_violation" => FailureClass::ContentBlocked,
        "data_residency_mismatch" => FailureClass::ResidencyUnsatisfiable,
        _ => return None,
    })
}

/// The message of a body that is not OpenAI's: `{"error": "text"}`, `{"message": …}`, `{"detail": …}`, or its start.
fn plain_message(body: &[u8]) -> String {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let said = json.as_ref().and_then(|json| {
        ["error", "message", "detail"].into_iter().find_map(|name| json.get(name)?.as_str())
    });
    match said {
        Some(text) => text.to_owned(),
        None => String::from_utf8_lossy(body).chars().take(QUOTED).collect(),
    }
}

/// The error answer for an OpenAI client.
pub fn from_canonical(failure: &Failure) -> ErrorAnswer {
    let error = api_error(failure);
    ErrorAnswer {
        status: error.status,
        retry_after_seconds: error.retry_after_seconds,
        body: error.to_json(),
    }
}

/// The same as the type that our own errors have.
pub fn api_error(failure: &Failure) -> ApiError {
    let (status, kind, code) = shape(failure.class);
    // A code is kept where it is OpenAI's own; other dialects' words mean nothing to its clients.
    let own = match failure.origin {
        None | Some(Dialect::OpenAiChat | Dialect::OpenAiCompletions | Dialect::OpenAiResponses) => {
            failure.code.as_deref()
        }
        Some(Dialect::Anthropic | Dialect::Gemini | Dialect::Converse) => None,
    };
    let status = failure.own_status().unwrap_or(status);
    let mut error = ApiError::new(status, kind, failure.param.as_deref(), own.or(code), &failure.message);
    error.retry_after_seconds = failure.retry_hint();
    error
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        api_error(&failure)
    }
}

/// Status, type and code of each class. A key of ours that a provider rejects is no fault of the caller's, but who
/// tells the two apart is the gateway: it makes such a failure `Upstream` before it comes here.
fn shape(class: FailureClass) -> (u16, &'static str, Option<&'static str>) {
    match class {
        FailureClass::BadRequest => (400, "invalid_request_error", None),
        FailureClass::ContextTooLong => (400, "invalid_request_error", Some("context_length_exceeded")),
        FailureClass::TooLarge => (413, "invalid_request_error", Some("payload_too_large")),
        FailureClass::Credential => (401, "invalid_request_error", Some("invalid_api_key")),
        FailureClass::Forbidden => (403, "invalid_request_error", Some("permission_denied")),
        FailureClass::NotFound => (404, "invalid_request_error", Some("model_not_found")),
        FailureClass::QuotaExhausted => (429, "insufficient_quota", Some("insufficient_quota")),
        FailureClass::RateLimited => (429, "rate_limit_error", Some("rate_limit_exceeded")),
        FailureClass::Overloaded => (503, "server_error", Some("server_is_overloaded")),
        FailureClass::Timeout => (504, "upstream_error", Some("upstream_timeout")),
        FailureClass::TruncatedStream => (502, "upstream_error", Some("upstream_truncated")),
        FailureClass::ContentBlocked => (400, "invalid_request_error", Some("content_filter")),
        FailureClass::ResidencyUnsatisfiable => {
            (403, "invalid_request_error", Some("data_residency_mismatch"))
        }
        FailureClass::Upstream => (502, "upstream_error", Some("upstream_error")),
        FailureClass::Internal => (500, "server_error", Some("internal_error")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> Failure {
        to_canonical(status, None, body.as_bytes())
    }

    #[test]
    fn kinds_of_429_are_told_apart() {
        let with =
            |code: &str| format!(r#"{{"error":{{"message":"m","type":"t","param":null,"code":"{code}"}}}}"#);
        assert_eq!(read(429, &with("rate_limit_exceeded")).class, FailureClass::RateLimited);
        assert_eq!(read(429, &with("insufficient_quota")).class, FailureClass::QuotaExhausted);
        assert_eq!(read(400, &with("context_length_exceeded")).class, FailureClass::ContextTooLong);
        assert_eq!(read(400, &with("nobody_knows")).class, FailureClass::BadRequest);
        let type_only = r#"{"error":{"message":"m","type":"insufficient_quota"}}"#;
        assert_eq!(read(429, type_only).class, FailureClass::QuotaExhausted);
    }

    #[test]
    fn bodies_that_are_not_openais_keep_their_words() {
        assert_eq!(read(500, r#"{"detail":"boom"}"#).message, "boom");
        assert_eq!(read(500, r#"{"error":"boom"}"#).message, "boom");
        assert_eq!(read(502, "<html>bad gateway").message, "<html>bad gateway");
        assert_eq!(read(502, "x").class, FailureClass::Upstream);
    }

    #[test]
    fn a_numeric_code_under_200_counts() {
        let failure = in_answer(serde_json::json!({"message": "m", "code": 429}), Dialect::OpenAiChat);
        assert_eq!(failure.class, FailureClass::RateLimited);
    }

    /// What we write, we read as the same class: a gateway behind a gateway retries alike.
    #[test]
    fn every_class_has_an_answer_that_reads_as_its_like() {
        for class in FailureClass::ALL {
            let mut failure = Failure::new(class, "m");
            failure.retry_after_seconds = Some(600);
            let answer = from_canonical(&failure);
            assert_eq!(answer.retry_after_seconds, Some(60), "{class:?}");
            let back = to_canonical(answer.status, answer.retry_after_seconds, &answer.body);
            let expected = match class {
                FailureClass::TruncatedStream | FailureClass::Internal => FailureClass::Upstream,
                class => class,
            };
            assert_eq!(back.class, expected);
        }
    }

    #[test]
    fn a_failure_of_ours_may_say_its_status_and_an_upstreams_may_not() {
        let mut failure = Failure::new(FailureClass::BadRequest, "m");
        failure.status = Some(405);
        assert_eq!(from_canonical(&failure).status, 405);
        failure.origin = Some(Dialect::OpenAiChat);
        assert_eq!(from_canonical(&failure).status, 400);
    }

    #[test]
    fn another_dialects_code_is_not_shown() {
        let mut failure = Failure::new(FailureClass::RateLimited, "m");
        failure.code = Some("RESOURCE_EXHAUSTED".into());
        failure.origin = Some(Dialect::Gemini);
        assert_eq!(api_error(&failure).body.error.code.as_deref(), Some("rate_limit_exceeded"));
    }
}
