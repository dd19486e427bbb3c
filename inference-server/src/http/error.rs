//! Errors on their way out: the engine's and the template's into OpenAI's shape, and that into HTTP.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use weighbridge_wire::openai::ApiError;

use crate::chat_template::TemplateError;
use crate::encoder::EncodeError;
use crate::engine::{GenerateError, SubmitError};
use crate::tokenizer::TokenizerError;

/// Seconds after which a caller may find a place in the queue: about the length of an answer.
const RETRY_FULL: u32 = 2;
/// Seconds after which a caller should find another replica, or this one's successor.
const RETRY_DRAINING: u32 = 1;

/// Seconds after which another model may have gone to sleep.
const RETRY_TAKEN: u32 = 10;

/// The HTTP answer of an error.
pub(super) fn response(error: &ApiError) -> Response {
    let mut response = Response::new(Body::from(error.to_json()));
    *response.status_mut() = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(seconds) = error.retry_after_seconds {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// No new request is taken.
pub(super) fn draining() -> ApiError {
    ApiError::overloaded("draining", "This server is shutting down. Try again.", RETRY_DRAINING)
}

/// The model is not there yet, for the reason `phase` says.
pub(super) fn not_ready(phase: &str) -> ApiError {
    ApiError::overloaded("model_not_ready", &format!("The model is not ready: {phase}."), RETRY_DRAINING)
}

/// A request that the engine did not take. `prompt` and `max_tokens` name the fields that were used.
pub(super) fn from_submit(error: SubmitError, prompt_field: &str, max_tokens_field: &str) -> ApiError {
    match error {
        SubmitError::QueueFull => {
            ApiError::too_many_requests("Too many requests wait for this model already.", RETRY_FULL)
        }
        SubmitError::Draining => draining(),
        SubmitError::TooLong { prompt, context, .. } if prompt >= context => {
            ApiError::context_length_exceeded(context as u64, prompt as u64, prompt_field)
        }
        SubmitError::TooLong { prompt, max_tokens, context } => {
            let message = format!(
                "This model's maximum context length is {context} tokens, but {prompt} in the prompt and \
                 {max_tokens} to write are {} together. Set `{max_tokens_field}` to {} or less.",
                prompt.saturating_add(max_tokens),
                context - prompt
            );
            let code = Some("context_length_exceeded");
            ApiError::new(400, "invalid_request_error", Some(max_tokens_field), code, &message)
        }
        SubmitError::Empty => ApiError::invalid_request(Some(prompt_field), "The prompt is empty."),
        SubmitError::Stopped => ApiError::internal("The engine has stopped."),
    }
}

/// A sequence that failed. The details are in the log; the caller learns only what kind it was.
pub(super) fn from_generate(error: &GenerateError) -> ApiError {
    tracing::error!(%error, "a request failed");
    match error {
        GenerateError::Logits(_) => ApiError::internal("The model produced no usable output."),
        GenerateError::Step(_) => ApiError::internal("A step of the engine failed."),
        GenerateError::NoRoom(_) => {
            let message = "The model sleeps, and other models have its GPU. Try again.";
            ApiError::overloaded("gpu_taken", message, RETRY_TAKEN)
        }
        GenerateError::Panicked(_) => ApiError::internal("The engine met an internal error."),
        GenerateError::Stopped => ApiError::internal("The engine has stopped."),
    }
}

/// A job that the encoder did not take, or that failed. `field` holds the texts.
pub(super) fn from_encode(error: &EncodeError, field: &str) -> ApiError {
    match error {
        EncodeError::QueueFull => {
            ApiError::too_many_requests("Too many requests wait for this model already.", RETRY_FULL)
        }
        EncodeError::Draining => draining(),
        EncodeError::TooLong { index, tokens, context } => {
            too_long(&format!("{field}[{index}]"), *tokens, *context)
        }
        EncodeError::Sequence { index, problem } => {
            let path = format!("{field}[{index}]");
            ApiError::invalid_request(Some(&path), &format!("`{path}`: {problem}"))
        }
        EncodeError::Step(_) | EncodeError::NoNumbers | EncodeError::Panicked(_) | EncodeError::Stopped => {
            tracing::error!(%error, "a request failed");
            ApiError::internal(match error {
                EncodeError::NoNumbers => "The model produced no usable output.",
                EncodeError::Stopped => "The encoder has stopped.",
                _ => "A step of the encoder failed.",
            })
        }
    }
}

/// A text longer than the context of an encoder.
pub(super) fn too_long(path: &str, tokens: usize, context: usize) -> ApiError {
    let message = format!(
        "This model's maximum context length is {context} tokens, and `{path}` has {tokens}, special tokens included. \
         Shorten it, or send `truncate: true` to have texts cut."
    );
    let code = Some("context_length_exceeded");
    ApiError::new(400, "invalid_request_error", Some(path), code, &message)
}

/// A conversation that the model's template could not render.
pub(super) fn from_template(error: &TemplateError) -> ApiError {
    let message = format!("{error}. Use /v1/completions for a prompt without a template.");
    ApiError::new(400, "invalid_request_error", Some("messages"), Some("chat_template"), &message)
}

/// A text that could not be tokenised.
pub(super) fn from_tokenizer(error: &TokenizerError, param: &str) -> ApiError {
    ApiError::invalid_request(Some(param), &error.to_string())
}
