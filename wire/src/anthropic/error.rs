//! Errors: `{"type":"error","error":{"type","message"},"request_id"}`, as a body and as a stream's last event.

use serde::{Deserialize, Serialize};

use crate::canonical::{Dialect, ErrorAnswer, Extra, Failure, FailureClass};

/// What Anthropic's own status for a lack of room is; no other provider has it.
const OVERLOADED: u16 = 529;

/// Most characters of a body that is no error of Anthropic's, such as a proxy's page.
const EXCERPT: usize = 200;

/// By these words clients that compact a conversation know that they must, and Anthropic says no code for it.
const PROMPT_TOO_LONG: &str = "prompt is too long";
const CONTEXT_EXCEEDED: &str = "exceed context limit";

/// Anthropic's words where a 400 is about money; the newer `error_code` ends in [`SPEND_LIMIT`].
const CREDIT_TOO_LOW: &str = "credit balance is too low";
const USAGE_LIMITS: &str = "reached your specified API usage limits";
const SPEND_LIMIT: &str = "spend_limit_reached";

/// An error's body.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// `error`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The error.
    pub error: ErrorObject,
    /// Anthropic's name of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Whether `body` is such an error.
pub(crate) fn is_one(body: &[u8]) -> bool {
    serde_json::from_slice::<ErrorBody>(body).is_ok_and(|body| body.kind == "error")
}

/// What went wrong.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ErrorObject {
    /// The class, such as `invalid_request_error`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// For a person.
    #[serde(default)]
    pub message: String,
    /// For a program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<ErrorDetails>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The cause, for a program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ErrorDetails {
    /// Names the cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Reads an error answer. `status` is 200 for an error inside a stream.
pub fn to_canonical(status: u16, retry_after_seconds: Option<u32>, body: &[u8]) -> Failure {
    let mut failure = match serde_json::from_slice::<ErrorBody>(body) {
        Ok(body) => read(status, body),
        Err(_) => unknown(status, body),
    };
    failure.retry_after_seconds = retry_after_seconds;
    failure
}

/// Reads an error whose body is parsed.
pub(super) fn read(status: u16, body: ErrorBody) -> Failure {
    let ErrorBody { kind: _, error, request_id, extra: _ } = body;
    let ErrorObject { kind, message, details, extra: _ } = error;
    let cause = details.and_then(|details| details.error_code);
    let class = class(status, &kind, cause.as_deref(), &message);
    let mut failure = Failure::new(class, message);
    failure.status = Some(status);
    failure.code = cause.or((!kind.is_empty()).then_some(kind));
    failure.request_id = request_id;
    failure.origin = Some(Dialect::Anthropic);
    failure
}

fn class(status: u16, kind: &str, cause: Option<&str>, message: &str) -> FailureClass {
    if cause.is_some_and(|cause| cause.ends_with(SPEND_LIMIT)) {
        return FailureClass::QuotaExhausted;
    }
    match kind {
        "invalid_request_error" => {
            if message.contains(PROMPT_TOO_LONG) || message.contains(CONTEXT_EXCEEDED) {
                FailureClass::ContextTooLong
            } else if message.contains(CREDIT_TOO_LOW) || message.contains(USAGE_LIMITS) {
                FailureClass::QuotaExhausted
            } else if (400..500).contains(&status) {
                // The type stands for other statuses of the four hundreds too.
                FailureClass::from_status(status)
            } else {
                FailureClass::BadRequest
            }
        }
        "authentication_error" => FailureClass::Credential,
        "billing_error" => FailureClass::QuotaExhausted,
        "permission_error" => FailureClass::Forbidden,
        "not_found_error" => FailureClass::NotFound,
        "request_too_large" => FailureClass::TooLarge,
        "rate_limit_error" => FailureClass::RateLimited,
        "timeout_error" => FailureClass::Timeout,
        "overloaded_error" => FailureClass::Overloaded,
        "api_error" => FailureClass::Upstream,
        _ => FailureClass::from_status(status),
    }
}

fn unknown(status: u16, body: &[u8]) -> Failure {
    let text = String::from_utf8_lossy(body);
    let excerpt: String = text.trim().chars().take(EXCERPT).collect();
    let said = if excerpt.is_empty() { "nothing".to_owned() } else { format!("`{excerpt}`") };
    let message = format!("the upstream answered {status} and said {said}");
    let mut failure = Failure::new(FailureClass::from_status(status), message);
    failure.status = Some(status);
    failure.origin = Some(Dialect::Anthropic);
    failure
}

/// Writes an error answer for a client.
pub fn from_canonical(failure: &Failure) -> ErrorAnswer {
    let status = failure.own_status().unwrap_or(words(failure.class).0);
    let body = serde_json::to_vec(&body(failure)).unwrap_or_default();
    ErrorAnswer { status, retry_after_seconds: failure.retry_hint(), body }
}

/// The body, which is a stream's `error` event too.
pub(super) fn body(failure: &Failure) -> ErrorBody {
    let Failure {
        class,
        message,
        status: _,
        param: _,
        code: _,
        // In the answer's head; a stream has no place for it.
        retry_after_seconds: _,
        request_id,
        origin: _,
    } = failure;
    let message = match class {
        FailureClass::ContextTooLong if !message.contains(PROMPT_TOO_LONG) => {
            format!("{PROMPT_TOO_LONG}: {message}")
        }
        _ => message.clone(),
    };
    let (_, kind) = words(*class);
    ErrorBody {
        kind: "error".to_owned(),
        error: ErrorObject { kind: kind.to_owned(), message, ..ErrorObject::default() },
        request_id: request_id.clone(),
        extra: Extra::new(),
    }
}

/// Status and type of a class.
fn words(class: FailureClass) -> (u16, &'static str) {
    match class {
        FailureClass::BadRequest | FailureClass::ContextTooLong | FailureClass::ContentBlocked => {
            (400, "invalid_request_error")
        }
        FailureClass::Credential => (401, "authentication_error"),
        FailureClass::QuotaExhausted => (402, "billing_error"),
        FailureClass::Forbidden | FailureClass::ResidencyUnsatisfiable => (403, "permission_error"),
        FailureClass::NotFound => (404, "not_found_error"),
        FailureClass::TooLarge => (413, "request_too_large"),
        FailureClass::RateLimited => (429, "rate_limit_error"),
        FailureClass::Internal => (500, "api_error"),
        FailureClass::Upstream | FailureClass::TruncatedStream => (502, "api_error"),
        FailureClass::Timeout => (504, "timeout_error"),
        FailureClass::Overloaded => (OVERLOADED, "overloaded_error"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, kind: &str, message: &str) -> Failure {
        let body = format!(
            r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}"}},"request_id":"req_1"}}"#
        );
        to_canonical(status, Some(7), body.as_bytes())
    }

    #[test]
    fn every_type_has_its_class() {
        for (status, kind, class) in [
            (400, "invalid_request_error", FailureClass::BadRequest),
            (401, "authentication_error", FailureClass::Credential),
            (402, "billing_error", FailureClass::QuotaExhausted),
            (403, "permission_error", FailureClass::Forbidden),
            (404, "not_found_error", FailureClass::NotFound),
            (409, "conflict_error", FailureClass::BadRequest),
            (413, "request_too_large", FailureClass::TooLarge),
            (413, "invalid_request_error", FailureClass::TooLarge),
            (429, "rate_limit_error", FailureClass::RateLimited),
            (500, "api_error", FailureClass::Upstream),
            (504, "timeout_error", FailureClass::Timeout),
            (529, "overloaded_error", FailureClass::Overloaded),
            (529, "a_new_error", FailureClass::Overloaded),
            // Inside a stream the status is the stream's.
            (200, "overloaded_error", FailureClass::Overloaded),
            (200, "invalid_request_error", FailureClass::BadRequest),
            (200, "a_new_error", FailureClass::Upstream),
        ] {
            let failure = read(status, kind, "m");
            assert_eq!(failure.class, class, "{status} {kind}");
            assert_eq!((failure.status, failure.retry_after_seconds), (Some(status), Some(7)));
            assert_eq!(failure.request_id.as_deref(), Some("req_1"));
        }
    }

    #[test]
    fn a_400_that_is_about_money_or_length_says_so() {
        let kind = "invalid_request_error";
        let length = read(400, kind, "prompt is too long: 210000 tokens > 200000 maximum");
        assert_eq!(length.class, FailureClass::ContextTooLong);
        let both = read(400, kind, "input length and `max_tokens` exceed context limit: 1 + 2 > 2");
        assert_eq!(both.class, FailureClass::ContextTooLong);
        let credit = read(400, kind, "Your credit balance is too low to access the Anthropic API.");
        assert_eq!(credit.class, FailureClass::QuotaExhausted);
        let coded = br#"{"type":"error","error":{"type":"rate_limit_error","message":"m","details":{"error_code":"enforced_spend_limit_reached"}}}"#;
        let coded = to_canonical(429, None, coded);
        assert_eq!(coded.class, FailureClass::QuotaExhausted);
        assert_eq!(coded.code.as_deref(), Some("enforced_spend_limit_reached"));
    }

    #[test]
    fn a_body_that_is_no_error_is_quoted_in_short() {
        let page = format!("<html>{}</html>", "x".repeat(10_000));
        let failure = to_canonical(413, None, page.as_bytes());
        assert_eq!(failure.class, FailureClass::TooLarge);
        assert!(failure.message.contains("<html>") && failure.message.len() < 300, "{}", failure.message);
        assert!(to_canonical(502, None, b"").message.contains("nothing"));
        assert_eq!(to_canonical(429, None, br#"{"error":"no"}"#).class, FailureClass::RateLimited);
    }

    #[test]
    fn a_client_gets_status_type_and_a_short_wait() {
        for class in FailureClass::ALL {
            let mut failure = Failure::new(class, "m");
            failure.retry_after_seconds = Some(600);
            failure.request_id = Some("req_2".into());
            let answer = from_canonical(&failure);
            assert_eq!(answer.retry_after_seconds, Some(60));
            let body: ErrorBody = serde_json::from_slice(&answer.body).expect("an error body");
            assert_eq!((body.kind.as_str(), body.request_id.as_deref()), ("error", Some("req_2")));
            let back = to_canonical(answer.status, None, &answer.body);
            assert_eq!(back.class.may_pass(), class.may_pass(), "{class:?} as {}", answer.status);
        }
        let overloaded = from_canonical(&Failure::new(FailureClass::Overloaded, "m"));
        assert_eq!(overloaded.status, 529);
        let too_long = from_canonical(&Failure::new(FailureClass::ContextTooLong, "9 tokens, 8 fit"));
        assert_eq!(to_canonical(too_long.status, None, &too_long.body).class, FailureClass::ContextTooLong);
    }
}
