//! Errors: `{"error": {code, message, status, details}}`, whose details say in the body what others say in headers.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::proto_json::integer;
use crate::canonical::{Dialect, ErrorAnswer, Extra, Failure, FailureClass};

/// An error's body.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorObject,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// An error.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorObject {
    /// The HTTP status.
    #[serde(deserialize_with = "integer", skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// What went wrong, for a person.
    pub message: String,
    /// The status' word, such as `INVALID_ARGUMENT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Messages of `google.rpc`, told apart by `@type`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Value>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

const PREFIX: &str = "type.googleapis.com/google.rpc.";

/// Who says the reasons in errors of ours.
const DOMAIN: &str = "serving.weighbridge.dev";

/// Reads an upstream's error. `retry_after_seconds` is the header, which Google does not send; the body's wins.
pub fn to_canonical(status: u16, retry_after_seconds: Option<u32>, body: &[u8]) -> Failure {
    let mut failure = match object(body) {
        Some(error) => read(error, status),
        None => {
            let text = String::from_utf8_lossy(body);
            let text = text.trim();
            let message =
                if text.is_empty() { format!("the upstream answered {status}") } else { text.to_owned() };
            Failure::new(FailureClass::from_status(status), message)
        }
    };
    failure.status = Some(status);
    failure.retry_after_seconds = failure.retry_after_seconds.or(retry_after_seconds);
    failure.origin = Some(Dialect::Gemini);
    failure
}

/// Reads the error of a 200: an answer that is none, or a piece of a stream.
pub(crate) fn in_answer(body: &[u8]) -> Failure {
    let mut failure = match object(body) {
        Some(error) => read(error, 500),
        None => Failure::new(FailureClass::Upstream, "unreadable error"),
    };
    failure.origin = Some(Dialect::Gemini);
    failure
}

/// The error in a body; where a stream was asked for as an array, the error is in one too.
fn object(body: &[u8]) -> Option<ErrorObject> {
    let one = serde_json::from_slice::<ErrorBody>(body).ok();
    let many = || serde_json::from_slice::<Vec<ErrorBody>>(body).ok()?.into_iter().next();
    one.or_else(many).map(|body| body.error)
}

/// Reads an error that came in a body with this status, or within a stream.
pub(super) fn read(error: ErrorObject, status: u16) -> Failure {
    let ErrorObject { code, message, status: word, details, extra: _ } = error;
    let status = code.unwrap_or(status);
    let class = class(status, word.as_deref(), &message, &details);
    let mut failure = Failure::new(class, message);
    failure.status = Some(status);
    failure.origin = Some(Dialect::Gemini);
    failure.retry_after_seconds = details.iter().find_map(retry_delay);
    failure.param = violations(&details, "BadRequest", "fieldViolations", "field").next().map(str::to_owned);
    failure.request_id = of_type(&details, "RequestInfo")
        .find_map(|detail| detail.get("requestId")?.as_str().map(str::to_owned));
    failure.code = word;
    failure
}

fn of_type<'a>(details: &'a [Value], kind: &'static str) -> impl Iterator<Item = &'a Value> {
    let is = move |detail: &&Value| {
        detail.get("@type").and_then(Value::as_str).is_some_and(|name| name.rsplit('.').next() == Some(kind))
    };
    details.iter().filter(is)
}

fn violations<'a>(
    details: &'a [Value],
    kind: &'static str,
    list: &'static str,
    field: &'static str,
) -> impl Iterator<Item = &'a str> {
    let lists = of_type(details, kind).filter_map(move |detail| detail.get(list)?.as_array());
    lists
        .flatten()
        .filter_map(move |violation| violation.get(field)?.as_str())
        .filter(|text| !text.is_empty())
}

/// `RetryInfo`'s delay, such as `"52s"` or `"0.5s"`, rounded up.
fn retry_delay(detail: &Value) -> Option<u32> {
    let delay = detail.get("retryDelay").or_else(|| detail.get("retry_delay"))?.as_str()?;
    let number = delay.strip_suffix('s')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let seconds: u32 = whole.parse().ok()?;
    let more = fraction.bytes().any(|digit| digit != b'0');
    Some(seconds.saturating_add(u32::from(more)))
}

fn class(status: u16, word: Option<&str>, message: &str, details: &[Value]) -> FailureClass {
    let reason = of_type(details, "ErrorInfo").find_map(|detail| detail.get("reason")?.as_str());
    // Google answers a wrong key with 400 and INVALID_ARGUMENT.
    if reason.is_some_and(|reason| reason.starts_with("API_KEY_")) {
        return FailureClass::Credential;
    }
    match word.unwrap_or_default() {
        "INVALID_ARGUMENT" | "OUT_OF_RANGE" if is_too_long(message) => FailureClass::ContextTooLong,
        "INVALID_ARGUMENT" if status == 413 => FailureClass::TooLarge,
        "INVALID_ARGUMENT" | "OUT_OF_RANGE" | "ALREADY_EXISTS" => FailureClass::BadRequest,
        "FAILED_PRECONDITION" if message.contains("location is not supported") => {
            FailureClass::ResidencyUnsatisfiable
        }
        "FAILED_PRECONDITION" => FailureClass::BadRequest,
        "UNAUTHENTICATED" => FailureClass::Credential,
        "PERMISSION_DENIED" => FailureClass::Forbidden,
        "NOT_FOUND" | "UNIMPLEMENTED" => FailureClass::NotFound,
        "RESOURCE_EXHAUSTED" if used_up(details) => FailureClass::QuotaExhausted,
        "RESOURCE_EXHAUSTED" => FailureClass::RateLimited,
        "UNAVAILABLE" => FailureClass::Overloaded,
        "DEADLINE_EXCEEDED" => FailureClass::Timeout,
        "INTERNAL" | "UNKNOWN" | "DATA_LOSS" | "ABORTED" | "CANCELLED" => FailureClass::Upstream,
        _ => FailureClass::from_status(status),
    }
}

fn is_too_long(message: &str) -> bool {
    message.contains("token count") && message.contains("exceeds")
}

/// A quota of a day is not waited for.
fn used_up(details: &[Value]) -> bool {
    violations(details, "QuotaFailure", "violations", "quotaId").any(|id| id.contains("PerDay"))
}

/// The error for a client.
pub fn from_canonical(failure: &Failure) -> ErrorAnswer {
    let (status, error) = write(failure);
    let body = serde_json::to_vec(&ErrorBody { error, extra: Extra::new() }).unwrap_or_default();
    ErrorAnswer { status, retry_after_seconds: failure.retry_hint(), body }
}

/// The status, and the error as it stands in a body or in a stream.
pub(super) fn write(failure: &Failure) -> (u16, ErrorObject) {
    let Failure { class, message, status: _, param, code, retry_after_seconds: _, request_id, origin } =
        failure;
    let (status, word) = status(*class);
    let status = failure.own_status().unwrap_or(status);
    let mut details = Vec::new();
    let mut detail = |kind: &str, fields: Value| {
        let mut detail = Extra::new();
        detail.insert("@type".to_owned(), format!("{PREFIX}{kind}").into());
        if let Value::Object(fields) = fields {
            detail.extend(fields);
        }
        details.push(Value::Object(detail));
    };
    // Another dialect's word is a reason here; Gemini's own is the status.
    if let Some(code) = code.as_deref().filter(|_| *origin != Some(Dialect::Gemini)) {
        detail("ErrorInfo", json!({"reason": code.to_uppercase(), "domain": DOMAIN}));
    }
    if let Some(param) = param {
        detail("BadRequest", json!({"fieldViolations": [{"field": param, "description": message}]}));
    }
    if let Some(seconds) = failure.retry_hint() {
        detail("RetryInfo", json!({"retryDelay": format!("{seconds}s")}));
    }
    if let Some(request_id) = request_id {
        detail("RequestInfo", json!({"requestId": request_id}));
    }
    let error = ErrorObject {
        code: Some(status),
        message: message.clone(),
        status: Some(word.to_owned()),
        details,
        extra: Extra::new(),
    };
    (status, error)
}

fn status(class: FailureClass) -> (u16, &'static str) {
    match class {
        FailureClass::BadRequest | FailureClass::ContextTooLong => (400, "INVALID_ARGUMENT"),
        FailureClass::TooLarge => (413, "INVALID_ARGUMENT"),
        FailureClass::Credential => (401, "UNAUTHENTICATED"),
        FailureClass::Forbidden => (403, "PERMISSION_DENIED"),
        FailureClass::NotFound => (404, "NOT_FOUND"),
        FailureClass::QuotaExhausted | FailureClass::RateLimited => (429, "RESOURCE_EXHAUSTED"),
        FailureClass::Overloaded => (503, "UNAVAILABLE"),
        FailureClass::Timeout => (504, "DEADLINE_EXCEEDED"),
        FailureClass::TruncatedStream | FailureClass::Upstream => (502, "UNAVAILABLE"),
        FailureClass::ContentBlocked | FailureClass::ResidencyUnsatisfiable => (400, "FAILED_PRECONDITION"),
        FailureClass::Internal => (500, "INTERNAL"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(status: u16, body: &str) -> Failure {
        to_canonical(status, None, body.as_bytes())
    }

    /// litellm #25507: the wait is in the body, in no header.
    #[test]
    fn retry_after_lost_in_the_gemini_body() {
        let body = r#"{"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED", "details": [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "GenerateRequestsPerMinutePerProject"}]},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "52.1s"}]}}"#;
        let read = failure(429, body);
        assert_eq!(read.retry_after_seconds, Some(53));
        assert_eq!(
            (read.class, read.code.as_deref()),
            (FailureClass::RateLimited, Some("RESOURCE_EXHAUSTED"))
        );
        assert_eq!(read.retry_hint(), Some(53));
        let day = body.replace("PerMinute", "PerDay");
        assert_eq!(failure(429, &day).class, FailureClass::QuotaExhausted);
        let header = to_canonical(429, Some(7), b"{\"error\": {\"message\": \"x\"}}");
        assert_eq!((header.retry_after_seconds, header.class), (Some(7), FailureClass::RateLimited));
    }

    #[test]
    fn a_delay_is_rounded_up() {
        for (delay, seconds) in
            [("52s", Some(52)), ("0.000s", Some(0)), ("0.5s", Some(1)), ("1m", None), ("-1s", None)]
        {
            assert_eq!(retry_delay(&json!({"retryDelay": delay})), seconds, "{delay}");
        }
    }

    #[test]
    fn words_reasons_and_messages_decide_the_class() {
        let with = |code: u16, word: &str, message: &str, details: Value| {
            failure(
                code,
                &json!({"error": {"code": code, "message": message, "status": word, "details": details}})
                    .to_string(),
            )
            .class
        };
        let key = json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]);
        assert_eq!(with(400, "INVALID_ARGUMENT", "API key not valid.", key), FailureClass::Credential);
        let long = "The input token count (9) exceeds the maximum number of tokens allowed (8).";
        assert_eq!(with(400, "INVALID_ARGUMENT", long, json!([])), FailureClass::ContextTooLong);
        assert_eq!(with(400, "INVALID_ARGUMENT", "x", json!([])), FailureClass::BadRequest);
        let place = "User location is not supported for the API use.";
        assert_eq!(with(400, "FAILED_PRECONDITION", place, json!([])), FailureClass::ResidencyUnsatisfiable);
        assert_eq!(with(503, "UNAVAILABLE", "x", json!([])), FailureClass::Overloaded);
        assert_eq!(with(418, "NEW_WORD", "x", json!([])), FailureClass::BadRequest);
    }

    #[test]
    fn a_field_at_fault_is_named() {
        let body = r#"{"error": {"code": 400, "message": "m", "status": "INVALID_ARGUMENT", "details": [
            {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [{"field": "tools[0].x", "description": "d"}]}]}}"#;
        assert_eq!(failure(400, body).param.as_deref(), Some("tools[0].x"));
    }

    #[test]
    fn an_array_holds_its_error_and_no_json_is_the_message() {
        let listed = failure(500, r#"[{"error": {"code": 500, "message": "m", "status": "INTERNAL"}}]"#);
        assert_eq!((listed.class, listed.message.as_str()), (FailureClass::Upstream, "m"));
        let page = failure(502, "<html>bad gateway</html>");
        assert_eq!((page.class, page.message.as_str()), (FailureClass::Upstream, "<html>bad gateway</html>"));
        assert_eq!(failure(503, "").message, "the upstream answered 503");
    }

    #[test]
    fn every_class_comes_back_or_is_one_that_google_lacks() {
        for class in FailureClass::ALL {
            let mut given = Failure::new(class, "what and why");
            given.retry_after_seconds = Some(600);
            given.param = Some("model".into());
            let answer = from_canonical(&given);
            assert_eq!(answer.retry_after_seconds, Some(60));
            let back = to_canonical(answer.status, answer.retry_after_seconds, &answer.body);
            assert_eq!((back.message.as_str(), back.param.as_deref()), ("what and why", Some("model")));
            assert_eq!(back.retry_after_seconds, Some(60));
            let expected = match class {
                FailureClass::ContextTooLong
                | FailureClass::ContentBlocked
                | FailureClass::ResidencyUnsatisfiable => FailureClass::BadRequest,
                FailureClass::QuotaExhausted => FailureClass::RateLimited,
                FailureClass::TruncatedStream | FailureClass::Upstream => FailureClass::Overloaded,
                FailureClass::Internal => FailureClass::Upstream,
                same => same,
            };
            assert_eq!(back.class, expected, "{class:?}");
        }
    }
}
