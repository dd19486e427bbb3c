//! Errors in OpenAI's shape, one constructor a case.

use serde::{Deserialize, Deserializer, Serialize};

/// The body of an error answer: `{"error":{"message","type","param","code"}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorObject,
}

/// What an error body holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorObject {
    /// What went wrong and what to do, for a person.
    pub message: String,
    /// The class, such as `invalid_request_error`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The request field at fault.
    #[serde(default)]
    pub param: Option<String>,
    /// A fixed word for programs. Some servers send a number; it is kept as its digits.
    #[serde(default, deserialize_with = "text_or_number")]
    pub code: Option<String>,
}

/// An error answer: HTTP status, the wait it asks for, and the body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status} {}", body.error.message)]
pub struct ApiError {
    /// HTTP status code.
    pub status: u16,
    /// `Retry-After` in seconds. Kept at 60 or less: OpenAI's client gives up above 120.
    pub retry_after_seconds: Option<u32>,
    /// The body to send.
    pub body: ErrorBody,
}

const MAX_RETRY_AFTER_SECONDS: u32 = 60;

impl ApiError {
    /// Any error; the constructors below are preferred.
    pub fn new(status: u16, kind: &str, param: Option<&str>, code: Option<&str>, message: &str) -> Self {
        let error = ErrorObject {
            message: message.to_owned(),
            kind: kind.to_owned(),
            param: param.map(str::to_owned),
            code: code.map(str::to_owned),
        };
        Self { status, retry_after_seconds: None, body: ErrorBody { error } }
    }

    /// The same error, asking for a wait of `seconds` (at most 60).
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds.min(MAX_RETRY_AFTER_SECONDS));
        self
    }

    /// 400: a field has a value that can't be served. `param` is its path in the request.
    pub fn invalid_request(param: Option<&str>, message: &str) -> Self {
        Self::new(400, "invalid_request_error", param, None, message)
    }

    /// 400: the body is not JSON; `detail` says where it stops being JSON.
    pub fn invalid_json(detail: &str) -> Self {
        let message = format!("We could not parse the JSON body of your request: {detail}");
        Self::new(400, "invalid_request_error", None, Some("invalid_json"), &message)
    }

    /// 400: a field is known to OpenAI but not supported here, or known to nobody.
    pub fn unsupported_parameter(param: &str, message: &str) -> Self {
        Self::new(400, "invalid_request_error", Some(param), Some("unsupported_parameter"), message)
    }

    /// 400: prompt and answer do not fit the context. All counts in tokens.
    pub fn context_length_exceeded(context_length: u64, prompt_tokens: u64, param: &str) -> Self {
        let message = format!(
            "This model's maximum context length is {context_length} tokens, but the prompt has \
             {prompt_tokens} tokens. Shorten the prompt."
        );
        Self::new(400, "invalid_request_error", Some(param), Some("context_length_exceeded"), &message)
    }

    /// 401: no key, or a wrong one.
    pub fn invalid_api_key(message: &str) -> Self {
        Self::new(401, "invalid_request_error", None, Some("invalid_api_key"), message)
    }

    /// 404: no such model.
    pub fn model_not_found(model: &str) -> Self {
        let message = format!("The model `{model}` does not exist. GET /v1/models lists the models.");
        Self::new(404, "invalid_request_error", Some("model"), Some("model_not_found"), &message)
    }

    /// 404: `model` is there and has no such adapter; `served` are the names of those that it has.
    pub fn adapter_not_found(model: &str, adapter: &str, served: &[String]) -> Self {
        let there = if served.is_empty() {
            "It has no adapters.".to_owned()
        } else {
            format!("There are {}.", served.join(", "))
        };
        let message = format!("The model `{model}` has no adapter `{adapter}`. {there}");
        Self::new(404, "invalid_request_error", Some("model"), Some("model_not_found"), &message)
    }

    /// 404: no such path.
    pub fn unknown_url(method: &str, path: &str) -> Self {
        let message = format!("Unknown request URL: {method} {path}");
        Self::new(404, "invalid_request_error", None, Some("unknown_url"), &message)
    }

    /// 405: the path exists, for another method.
    pub fn method_not_allowed(method: &str, path: &str) -> Self {
        let message = format!("{path} does not take {method}");
        Self::new(405, "invalid_request_error", None, Some("method_not_allowed"), &message)
    }

    /// 408: the request's body did not arrive in time.
    pub fn request_timeout(message: &str) -> Self {
        Self::new(408, "invalid_request_error", None, Some("request_timeout"), message)
    }

    /// 413: the body is longer than `limit` bytes.
    pub fn payload_too_large(limit: u64) -> Self {
        let message = format!("The request body is larger than the limit of {limit} bytes.");
        Self::new(413, "invalid_request_error", None, Some("payload_too_large"), &message)
    }

    /// 429: a queue is full; the caller should come back in `retry_after_seconds`.
    pub fn too_many_requests(message: &str, retry_after_seconds: u32) -> Self {
        Self::new(429, "rate_limit_error", None, Some("rate_limit_exceeded"), message)
            .retry_after(retry_after_seconds)
    }

    /// 500: a fault of ours. `message` must carry no internals.
    pub fn internal(message: &str) -> Self {
        Self::new(500, "server_error", None, Some("internal_error"), message)
    }

    /// 502: the upstream failed. `code` tells apart how.
    pub fn upstream(code: &str, message: &str) -> Self {
        Self::new(502, "upstream_error", None, Some(code), message)
    }

    /// 503: nothing can answer now, for the reason `code`; come back in `retry_after_seconds`.
    pub fn overloaded(code: &str, message: &str, retry_after_seconds: u32) -> Self {
        Self::new(503, "server_error", None, Some(code), message).retry_after(retry_after_seconds)
    }

    /// 504: the upstream took too long; `message` says at which stage.
    pub fn upstream_timeout(message: &str) -> Self {
        Self::new(504, "upstream_error", None, Some("upstream_timeout"), message)
    }

    /// The body as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        // The type holds only strings, so encoding can't fail; an empty body is still a valid answer.
        serde_json::to_vec(&self.body).unwrap_or_default()
    }
}

fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text),
        other => Some(other.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_is_openais() {
        let error = ApiError::model_not_found("a/b");
        assert_eq!(error.status, 404);
        let json: serde_json::Value = serde_json::from_slice(&error.to_json()).expect("JSON");
        assert_eq!(json["error"]["type"], "invalid_request_error");
        assert_eq!(json["error"]["param"], "model");
        assert_eq!(json["error"]["code"], "model_not_found");
        assert!(json["error"]["message"].as_str().is_some_and(|m| m.contains("a/b")));
        let json: serde_json::Value =
            serde_json::from_slice(&ApiError::invalid_request(None, "x").to_json()).expect("JSON");
        assert!(json["error"].as_object().is_some_and(|o| o["param"].is_null() && o["code"].is_null()));
    }

    #[test]
    fn retry_after_stays_where_clients_obey_it() {
        assert_eq!(ApiError::overloaded("cold", "x", 600).retry_after_seconds, Some(60));
    }

    #[test]
    fn foreign_bodies_with_numeric_codes_parse() {
        let body: ErrorBody =
            serde_json::from_str(r#"{"error":{"message":"m","code":429}}"#).expect("parses");
        assert_eq!(body.error.code.as_deref(), Some("429"));
    }
}
