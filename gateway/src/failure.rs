//! Failures of our own, in our own words: one function a case. Each dialect's shape of them is `wire`'s affair.

use std::time::Duration;

use weighbridge_wire::canonical::{Failure, FailureClass};

use crate::label::name;

/// `Retry-After` of a suspended model: so long a wait that clients are told not to try again by themselves.
const SUSPENDED_RETRY_SECONDS: u32 = 600;

/// Any failure of ours. `code` is a fixed word for programs.
fn ours(class: FailureClass, code: &str, message: impl Into<String>) -> Failure {
    let mut failure = Failure::new(class, message);
    failure.code = Some(code.to_owned());
    failure
}

/// The caller's request can't be used; `param` names the field at fault.
pub(crate) fn bad_request(param: Option<&str>, message: impl Into<String>) -> Failure {
    let mut failure = Failure::new(FailureClass::BadRequest, message);
    failure.param = param.map(str::to_owned);
    failure
}

/// The body did not arrive in time.
pub(crate) fn request_timeout(time: Duration) -> Failure {
    let message = format!("The request body did not arrive within {} seconds.", time.as_secs());
    Failure { status: Some(408), ..ours(FailureClass::BadRequest, "request_timeout", message) }
}

/// The body is longer than `limit` bytes.
pub(crate) fn body_too_large(limit: usize) -> Failure {
    let message = format!("The request body is larger than the limit of {limit} bytes.");
    ours(FailureClass::TooLarge, "payload_too_large", message)
}

/// No such path.
pub(crate) fn unknown_url(method: &str, path: &str) -> Failure {
    ours(
        FailureClass::NotFound,
        "unknown_url",
        format!("Unknown request URL: {} {}", name(method), name(path)),
    )
}

/// The path exists, for another method.
pub(crate) fn method_not_allowed(method: &str, path: &str) -> Failure {
    let message = format!("{} does not take {}", name(path), name(method));
    Failure { status: Some(405), ..ours(FailureClass::BadRequest, "method_not_allowed", message) }
}

/// No such model.
pub(crate) fn model_not_found(model: &str) -> Failure {
    unknown_model(format!("The model `{}` does not exist. GET /v1/models lists the models.", name(model)))
}

/// `model` is there and has no such adapter; `served` are the names of those that it has.
pub(crate) fn adapter_not_found(model: &str, adapter: &str, served: &[String]) -> Failure {
    let there = if served.is_empty() {
        "It has no adapters.".to_owned()
    } else {
        format!("There are {}.", served.join(", "))
    };
    unknown_model(format!("The model `{}` has no adapter `{}`. {there}", name(model), name(adapter)))
}

fn unknown_model(message: String) -> Failure {
    let param = Some("model".to_owned());
    Failure { param, ..ours(FailureClass::NotFound, "model_not_found", message) }
}

/// Nothing can answer now, for the reason `code`.
pub(crate) fn overloaded(code: &str, message: impl Into<String>, retry_after_seconds: u32) -> Failure {
    let retry_after_seconds = Some(retry_after_seconds);
    Failure { retry_after_seconds, ..ours(FailureClass::Overloaded, code, message) }
}

/// The model's owner has taken it out of service, until they say otherwise.
pub(crate) fn suspended(model: &str) -> Failure {
    let message = format!("The model `{model}` is suspended: its owner has taken it out of service.");
    overloaded("model_suspended", message, SUSPENDED_RETRY_SECONDS)
}

/// The upstream failed; `code` tells apart how.
pub(crate) fn upstream(code: &str, message: impl Into<String>) -> Failure {
    ours(FailureClass::Upstream, code, message)
}

/// The upstream's stream ended before its answer did.
pub(crate) fn truncated(message: impl Into<String>) -> Failure {
    ours(FailureClass::TruncatedStream, "upstream_truncated", message)
}

/// The upstream of `model` sent nothing for so long.
pub(crate) fn silent(model: &str, time: Duration) -> Failure {
    timeout(format!("`{model}` sent nothing for {} s.", time.as_secs()))
}

/// The answer of `model` was not whole within the time that a request has in all.
pub(crate) fn overdue(model: &str, total: Duration) -> Failure {
    timeout(format!("`{model}` did not finish within the {} s that a request may take.", total.as_secs()))
}

/// The upstream took too long; `message` says at which stage.
pub(crate) fn timeout(message: impl Into<String>) -> Failure {
    ours(FailureClass::Timeout, "upstream_timeout", message)
}

/// A fault of ours; `message` carries no internals.
pub(crate) fn internal(message: &str) -> Failure {
    ours(FailureClass::Internal, "internal_error", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_caller_named_is_repeated_and_not_at_any_length() {
        let long = "é".repeat(1 << 20);
        for failure in [
            unknown_url("GET", &long),
            method_not_allowed("PUT", &long),
            model_not_found(&long),
            adapter_not_found(&long, &long, &[]),
        ] {
            assert!(
                failure.message.contains("ééé…") && failure.message.len() < 1200,
                "{}",
                failure.message.len()
            );
        }
        assert!(model_not_found("small").message.contains("`small`"));
    }
}
