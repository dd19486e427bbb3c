//! Errors in each dialect's shape: as a body, and in mid-stream.

use bytes::Bytes;
use serde_json::{Value, json};

use super::asked::{Asked, Cloud, Dialect, Method};
use super::{Behaviour, HINT_SECONDS, Hint, bedrock};

/// A request that is not answered, before a dialect says so.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) message: String,
    pub(super) param: Option<String>,
    /// OpenAI's code.
    pub(super) code: Option<&'static str>,
    /// Google's details.
    pub(super) details: Vec<Value>,
    /// AWS's type, where its status does not say it.
    pub(super) kind: Option<&'static str>,
}

impl Refusal {
    pub(super) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None, code: None, details: Vec::new(), kind: None }
    }

    /// An error of AWS's.
    pub(super) fn aws(status: u16, kind: &'static str, message: &str) -> Self {
        Self { kind: Some(kind), ..Self::new(status, message) }
    }

    /// The type that AWS says in a header.
    pub(super) fn aws_type(&self) -> &'static str {
        self.kind.unwrap_or(match self.status {
            400 => "ValidationException",
            403 => "AccessDeniedException",
            404 => "ResourceNotFoundException",
            408 => "ModelTimeoutException",
            424 => "ModelErrorException",
            429 => "ThrottlingException",
            503 => "ServiceUnavailableException",
            500.. => "InternalServerException",
            _ => "UnknownException",
        })
    }

    /// A 400.
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    /// A 400 about one field.
    pub(super) fn at(message: impl Into<String>, param: &str) -> Self {
        Self { param: Some(param.to_owned()), ..Self::bad(message) }
    }

    pub(super) fn no_model(model: &str) -> Self {
        Self {
            code: Some("model_not_found"),
            param: Some("model".to_owned()),
            ..Self::new(404, format!("no such behaviour: the model `{model}` does not exist"))
        }
    }

    /// What `behaviour` refuses with, if it does.
    pub(super) fn by(asked: &Asked) -> Option<Self> {
        let dialect = asked.method.dialect();
        Some(match asked.behaviour {
            Behaviour::Status(status) => {
                Self { code: Some("simulated"), ..Self::new(status, "as you asked") }
            }
            Behaviour::EchoKey => {
                let key = ["x-amz-security-token", "authorization", "x-api-key", "x-goog-api-key"]
                    .into_iter()
                    .find_map(|name| asked.header(name));
                let message = format!("your key is {}", key.unwrap_or_default());
                Self { code: Some("simulated"), ..Self::bad(message) }
            }
            // Google's front refuses, whoever's model it is.
            Behaviour::BadKey if asked.cloud == Some(Cloud::Vertex) => {
                Self::new(401, "Request had invalid authentication credentials.")
            }
            Behaviour::Quota if asked.cloud == Some(Cloud::Vertex) => Self {
                details: vec![quota_failure("OnlinePredictionTokensPerMinutePerProjectPerBaseModel")],
                ..Self::new(429, "Quota exceeded for aiplatform.googleapis.com.")
            },
            Behaviour::BadKey => bad_key(dialect),
            Behaviour::Quota => used_up(dialect),
            Behaviour::Limited(hint) => limited(dialect, hint),
            _ => return None,
        })
    }

    /// The body, as an answer to `method`.
    pub(super) fn body(&self, method: Method) -> Value {
        let Self { status, message, param, code, details, kind: _ } = self;
        match method.dialect() {
            Dialect::OpenAi => {
                let kind = openai_type(*status, *code);
                json!({"error": {"message": message, "type": kind, "param": param, "code": code}})
            }
            Dialect::Anthropic => json!({
                "type": "error",
                "error": {"type": anthropic_type(*status), "message": message},
                "request_id": "req_sim",
            }),
            Dialect::Gemini => {
                let mut error = json!({"code": status, "message": message, "status": gemini_status(*status)});
                if !details.is_empty() {
                    error["details"] = json!(details);
                }
                let body = json!({"error": error});
                if method == Method::StreamArray { json!([body]) } else { body }
            }
            Dialect::Converse => json!({"message": message}),
        }
    }

    /// As what a stream to `asked` says in place of its next event. `first`: it has said nothing yet.
    pub(super) fn frame(&self, asked: &Asked, first: bool) -> Bytes {
        let body = || self.body(asked.method);
        if asked.method.dialect() == Dialect::Converse {
            return bedrock::exception(self.status, &self.message);
        }
        Bytes::from(match asked.method {
            Method::Responses if first => {
                let event = json!({"type": "error", "code": self.code, "message": self.message,
                                   "param": self.param, "sequence_number": 0});
                format!("event: error\ndata: {event}\n\n")
            }
            Method::Responses => {
                let event = super::openai::responses_failed(asked, &self.message);
                format!("event: response.failed\ndata: {event}\n\n")
            }
            Method::Messages | Method::StreamRawPredict => format!("event: error\ndata: {}\n\n", body()),
            // Google's are plain lines, with no `data:` before them.
            Method::StreamEvents => format!("{:#}\n", body()),
            Method::StreamArray => {
                format!(
                    "{}{:#}\n]",
                    if first { "[" } else { ",\r\n" },
                    body().pointer("/0").unwrap_or(&Value::Null)
                )
            }
            _ => format!("data: {}\n\n", body()),
        })
    }
}

pub(super) fn bad_key(dialect: Dialect) -> Refusal {
    match dialect {
        Dialect::OpenAi => Refusal {
            code: Some("invalid_api_key"),
            ..Refusal::new(
                401,
                "Incorrect API key provided: sk-***. You can find your API key in your settings.",
            )
        },
        Dialect::Anthropic => Refusal::new(401, "invalid x-api-key"),
        Dialect::Gemini => Refusal {
            details: vec![
                json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID",
                                 "domain": "googleapis.com",
                                 "metadata": {"service": "generativelanguage.googleapis.com"}}),
            ],
            ..Refusal::bad("API key not valid. Please pass a valid API key.")
        },
        Dialect::Converse => Refusal::aws(
            403,
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        ),
    }
}

fn used_up(dialect: Dialect) -> Refusal {
    match dialect {
        Dialect::OpenAi => Refusal {
            code: Some("insufficient_quota"),
            ..Refusal::new(
                429,
                "You exceeded your current quota, please check your plan and billing details.",
            )
        },
        Dialect::Anthropic => Refusal::bad(
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to \
             upgrade or purchase credits.",
        ),
        Dialect::Gemini => Refusal {
            details: vec![quota_failure("GenerateRequestsPerDayPerProjectPerModel")],
            ..Refusal::new(
                429,
                "You exceeded your current quota, please check your plan and billing details.",
            )
        },
        Dialect::Converse => Refusal::aws(
            400,
            "ServiceQuotaExceededException",
            "Your request exceeds the service quota for your account.",
        ),
    }
}

fn limited(dialect: Dialect, hint: Hint) -> Refusal {
    let mut refusal = Refusal {
        code: Some("rate_limit_exceeded"),
        ..Refusal::new(429, "Rate limit reached. Please try again later.")
    };
    if dialect == Dialect::Gemini {
        refusal.details.push(quota_failure("GenerateRequestsPerMinutePerProjectPerModel"));
    }
    if hint == Hint::RetryInfo {
        refusal.details.push(json!({"@type": "type.googleapis.com/google.rpc.RetryInfo",
                                    "retryDelay": format!("{HINT_SECONDS}s")}));
    }
    refusal
}

fn quota_failure(quota: &str) -> Value {
    json!({"@type": "type.googleapis.com/google.rpc.QuotaFailure",
           "violations": [{"quotaMetric": "generativelanguage.googleapis.com/generate_content_requests",
                           "quotaId": quota}]})
}

fn openai_type(status: u16, code: Option<&str>) -> &'static str {
    match status {
        _ if code == Some("simulated") => "simulated",
        429 if code == Some("insufficient_quota") => "insufficient_quota",
        429 => "requests",
        500.. => "server_error",
        _ => "invalid_request_error",
    }
}

fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        409 => "conflict_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        503 | 529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

fn gemini_status(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        500 => "INTERNAL",
        504 => "DEADLINE_EXCEEDED",
        501.. => "UNAVAILABLE",
        _ => "INVALID_ARGUMENT",
    }
}
