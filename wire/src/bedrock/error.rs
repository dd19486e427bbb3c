//! Errors: `{"message"}`, and what it is in a header; within a stream an exception, which is its last message.

use serde::{Deserialize, Serialize};

use crate::canonical::{Dialect, ErrorAnswer, Failure, FailureClass};
use crate::eventstream;

/// The header in which AWS says what an error is; the body alone does not.
pub const TYPE_HEADER: &str = "x-amzn-errortype";

/// Most characters of a body that is no error of AWS's, such as a proxy's page.
const EXCERPT: usize = 200;

/// Words by which a `ValidationException` is about the length of the prompt. Bedrock has no type for it, and each model's maker
/// says it otherwise.
const TOO_LONG: [&str; 6] = [
    "Input is too long",
    "input is too long",
    "prompt is too long",
    "exceed context limit",
    "maximum context length",
    "too many input tokens",
];

/// Words by which it is about the model's id, or about how it may be called.
const NO_SUCH_MODEL: [&str; 3] =
    ["model identifier is invalid", "on-demand throughput", "doesn't support this"];

/// Words by which a 403 is about an API key, which Bedrock refuses with no type of its own, and not about what it may do.
const OF_THE_API_KEY: [&str; 3] = ["Authentication failed", "Invalid API Key", "Bearer Token has expired"];

#[derive(Debug, Default, Deserialize, Serialize)]
struct ErrorBody {
    #[serde(rename = "__type", default, skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(default, alias = "Message")]
    message: Option<String>,
}

/// Reads an error answer. `kind` is what its header says ([`TYPE_HEADER`]). `status` is 200 for an exception within a stream.
pub fn to_canonical(
    status: u16,
    kind: Option<&str>,
    retry_after_seconds: Option<u32>,
    body: &[u8],
) -> Failure {
    let parsed = serde_json::from_slice::<ErrorBody>(body).ok();
    let ErrorBody { kind: inside, message } = parsed.unwrap_or_default();
    let kind = kind.or(inside.as_deref()).map(bare).unwrap_or_default();
    let message = message.unwrap_or_else(|| {
        let text = String::from_utf8_lossy(body);
        let excerpt: String = text.trim().chars().take(EXCERPT).collect();
        let said = if excerpt.is_empty() { "nothing".to_owned() } else { format!("`{excerpt}`") };
        format!("the upstream answered {status} and said {said}")
    });
    let mut failure = Failure::new(class(status, &kind, &message), message);
    failure.status = Some(status);
    failure.code = (!kind.is_empty()).then_some(kind);
    failure.retry_after_seconds = retry_after_seconds;
    failure.origin = Some(Dialect::Converse);
    failure
}

/// `ThrottlingException`, which AWS writes with an address after it, a namespace before it, or a small letter at its start.
fn bare(kind: &str) -> String {
    let kind = kind.split(':').next().unwrap_or_default();
    let kind = kind.rsplit('#').next().unwrap_or_default();
    let mut letters = kind.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

fn class(status: u16, kind: &str, message: &str) -> FailureClass {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    match kind {
        "ValidationException" if says(&TOO_LONG) => FailureClass::ContextTooLong,
        "ValidationException" if says(&NO_SUCH_MODEL) => FailureClass::NotFound,
        "ValidationException" => FailureClass::BadRequest,
        "ThrottlingException" => FailureClass::RateLimited,
        "ServiceQuotaExceededException" => FailureClass::QuotaExhausted,
        "ModelNotReadyException" | "ServiceUnavailableException" => FailureClass::Overloaded,
        "ModelTimeoutException" => FailureClass::Timeout,
        "ModelErrorException" | "ModelStreamErrorException" | "InternalServerException" => {
            FailureClass::Upstream
        }
        "ResourceNotFoundException" => FailureClass::NotFound,
        "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "MissingAuthenticationTokenException"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "InvalidClientTokenId"
        | "SignatureDoesNotMatch" => FailureClass::Credential,
        _ if status == 403 && says(&OF_THE_API_KEY) => FailureClass::Credential,
        "AccessDeniedException" => FailureClass::Forbidden,
        // A dependency failed: the model.
        _ if status == 424 => FailureClass::Upstream,
        _ if status == 400 && says(&TOO_LONG) => FailureClass::ContextTooLong,
        _ => FailureClass::from_status(status),
    }
}

/// Writes an error answer for a client.
pub fn from_canonical(failure: &Failure) -> ErrorAnswer {
    let (status, kind) = words(failure.class);
    let status = failure.own_status().unwrap_or(status);
    let body = ErrorBody { kind: Some(kind.to_owned()), message: Some(message(failure)) };
    let body = serde_json::to_vec(&body).unwrap_or_default();
    ErrorAnswer { status, retry_after_seconds: failure.retry_hint(), body }
}

/// Appends the exception that ends a client's stream.
pub fn write_exception(failure: &Failure, out: &mut Vec<u8>) {
    // A stream has five of them.
    let kind = match failure.class {
        FailureClass::BadRequest
        | FailureClass::ContextTooLong
        | FailureClass::TooLarge
        | FailureClass::NotFound
        | FailureClass::Credential
        | FailureClass::Forbidden
        | FailureClass::ContentBlocked
        | FailureClass::ResidencyUnsatisfiable => "validationException",
        FailureClass::QuotaExhausted | FailureClass::RateLimited => "throttlingException",
        FailureClass::Overloaded => "serviceUnavailableException",
        FailureClass::Timeout | FailureClass::TruncatedStream | FailureClass::Upstream => {
            "modelStreamErrorException"
        }
        FailureClass::Internal => "internalServerException",
    };
    let body = ErrorBody { kind: None, message: Some(message(failure)) };
    eventstream::exception(kind, &serde_json::to_string(&body).unwrap_or_default(), out);
}

/// By Bedrock's own words clients know that they must shorten a conversation.
fn message(failure: &Failure) -> String {
    match failure.class {
        FailureClass::ContextTooLong if !TOO_LONG.iter().any(|word| failure.message.contains(word)) => {
            format!("{} for requested model: {}", TOO_LONG[0], failure.message)
        }
        _ => failure.message.clone(),
    }
}

/// Status and type of a class.
fn words(class: FailureClass) -> (u16, &'static str) {
    match class {
        FailureClass::BadRequest | FailureClass::ContextTooLong | FailureClass::ContentBlocked => {
            (400, "ValidationException")
        }
        FailureClass::TooLarge => (413, "ValidationException"),
        FailureClass::Credential => (403, "UnrecognizedClientException"),
        FailureClass::Forbidden | FailureClass::ResidencyUnsatisfiable => (403, "AccessDeniedException"),
        FailureClass::NotFound => (404, "ResourceNotFoundException"),
        FailureClass::QuotaExhausted => (400, "ServiceQuotaExceededException"),
        FailureClass::RateLimited => (429, "ThrottlingException"),
        FailureClass::Overloaded => (503, "ServiceUnavailableException"),
        FailureClass::Timeout => (408, "ModelTimeoutException"),
        FailureClass::Upstream | FailureClass::TruncatedStream => (424, "ModelErrorException"),
        FailureClass::Internal => (500, "InternalServerException"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_read_from_header_body_and_stream() {
        let body = br#"{"message":"Too many requests, please wait."}"#;
        let header = "ThrottlingException:http://internal.amazon.com/coral/com.amazon.bedrock/";
        let inside = br#"{"__type":"com.amazonaws.bedrock#ThrottlingException","Message":"m"}"#;
        for failure in [
            to_canonical(429, Some(header), None, body),
            to_canonical(429, None, None, inside),
            to_canonical(200, Some("throttlingException"), None, body),
        ] {
            assert_eq!(failure.class, FailureClass::RateLimited);
            assert_eq!(failure.code.as_deref(), Some("ThrottlingException"));
        }
    }

    #[test]
    fn classes_follow_the_type_before_the_status() {
        let of = |status, kind, message: &str| {
            let body = serde_json::json!({"message": message}).to_string();
            to_canonical(status, Some(kind), None, body.as_bytes()).class
        };
        for (status, kind, message, class) in [
            (400, "ValidationException", "bad", FailureClass::BadRequest),
            (
                400,
                "ValidationException",
                "Input is too long for requested model.",
                FailureClass::ContextTooLong,
            ),
            (400, "ValidationException", "The provided model identifier is invalid.", FailureClass::NotFound),
            (400, "ServiceQuotaExceededException", "m", FailureClass::QuotaExhausted),
            (429, "ModelNotReadyException", "m", FailureClass::Overloaded),
            (408, "ModelTimeoutException", "m", FailureClass::Timeout),
            (424, "ModelErrorException", "m", FailureClass::Upstream),
            (403, "AccessDeniedException", "m", FailureClass::Forbidden),
            (403, "ExpiredTokenException", "m", FailureClass::Credential),
            (403, "InvalidSignatureException", "m", FailureClass::Credential),
            (400, "com.amazon.coral.service#ExpiredTokenException", "m", FailureClass::Credential),
            (403, "UnrecognizedClientException:http://internal.amazon.com/", "m", FailureClass::Credential),
            (
                403,
                "AccessDeniedException",
                "Authentication failed: Please make sure your API Key is valid.",
                FailureClass::Credential,
            ),
            (200, "modelStreamErrorException", "m", FailureClass::Upstream),
            (424, "SomethingNew", "m", FailureClass::Upstream),
            (503, "SomethingNew", "m", FailureClass::Overloaded),
        ] {
            assert_eq!(of(status, kind, message), class, "{status} {kind} {message}");
        }
        let page = to_canonical(502, None, None, b"<html>bad gateway</html>");
        assert_eq!(page.class, FailureClass::Upstream);
        assert!(page.message.contains("bad gateway"));
    }

    #[test]
    fn a_client_reads_the_class_that_was_written() {
        for class in FailureClass::ALL {
            let written = from_canonical(&Failure::new(class, "m"));
            let read = to_canonical(written.status, None, None, &written.body);
            let expected = match class {
                FailureClass::ContentBlocked | FailureClass::TooLarge => FailureClass::BadRequest,
                FailureClass::ResidencyUnsatisfiable => FailureClass::Forbidden,
                FailureClass::TruncatedStream | FailureClass::Internal => FailureClass::Upstream,
                class => class,
            };
            assert_eq!(read.class, expected, "{class:?}");
        }
    }
}
