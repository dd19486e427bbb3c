//! `POST /tokenize`: how many tokens a conversation or a text has, and which. Nothing is computed of it, so that a prompt
//! may be longer than the context.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Json, Response};
use weighbridge_wire::openai::tokenize::{TokenizeRequest, TokenizeResponse};
use weighbridge_wire::openai::{ApiError, parse};

use super::chat::request::rendered;
use super::parameters::refuse_unknown;
use super::record::Record;
use super::{AppState, ServedModel, body, error};
use crate::tokenizer::EncodeOptions;

/// Bytes of a text, rendered: a million tokens of prose, and an end to what is tokenised in vain.
const MAX_TEXT: usize = 4 << 20;

/// Answers a request.
pub(super) async fn handle(State(state): State<Arc<AppState>>, headers: HeaderMap, body: Body) -> Response {
    let mut record = Record::begin(&state);
    match answer(&state, &headers, body).await {
        Ok(counted) => {
            record.end(200);
            Json(counted).into_response()
        }
        Err(refused) => {
            record.end(refused.status);
            error::response(&refused)
        }
    }
}

async fn answer(
    state: &Arc<AppState>,
    headers: &HeaderMap,
    body: Body,
) -> Result<TokenizeResponse, ApiError> {
    // Before the body is read: a server that is not ready has no memory to spare for it.
    state.ready_model()?;
    let body = body::read(headers, body, &state.body_memory).await?;
    state.off_thread(move |model| tokenize(model, &body.bytes)).await
}

fn tokenize(model: &ServedModel, body: &[u8]) -> Result<TokenizeResponse, ApiError> {
    // Without `..`: a field added to the type has to be enforced or refused here.
    let TokenizeRequest { model: name, messages, prompt, add_generation_prompt, add_special_tokens, extra } =
        parse(body)?;
    model.resolve_name(&name)?;
    let generation = model.generation()?;
    refuse_unknown(&extra)?;
    let needless = |field: &str, with: &str| {
        let message = format!("`{field}` goes with `{with}` only");
        Err(ApiError::invalid_request(Some(field), &message))
    };
    let tokenizer = &generation.tokenizer;
    let tokens = match (messages, prompt) {
        (Some(messages), None) => {
            if add_special_tokens.is_some() {
                return needless("add_special_tokens", "prompt");
            }
            let text = rendered(generation, &messages, add_generation_prompt.unwrap_or(true))?;
            check_text("messages", &text)?;
            tokenizer.encode_chat(&text).map_err(|error| error::from_tokenizer(&error, "messages"))?
        }
        (None, Some(text)) => {
            if add_generation_prompt.is_some() {
                return needless("add_generation_prompt", "messages");
            }
            check_text("prompt", &text)?;
            let options =
                EncodeOptions { add_special: add_special_tokens.unwrap_or(true), parse_special: true };
            tokenizer.encode(&text, options).map_err(|error| error::from_tokenizer(&error, "prompt"))?
        }
        (None, None) => {
            let message = "Give `messages`, or a text as `prompt`";
            return Err(ApiError::invalid_request(Some("messages"), message));
        }
        (Some(_), Some(_)) => {
            let message = "`prompt` can't be given with `messages`: one of them is to be counted";
            return Err(ApiError::invalid_request(Some("prompt"), message));
        }
    };
    Ok(TokenizeResponse {
        count: tokens.len() as u64,
        max_model_len: generation.engine.context_length() as u64,
        tokens,
    })
}

fn check_text(field: &str, text: &str) -> Result<(), ApiError> {
    if text.len() <= MAX_TEXT {
        return Ok(());
    }
    let message = format!("`{field}` has {} bytes of text, and at most {MAX_TEXT} are counted", text.len());
    Err(ApiError::invalid_request(Some(field), &message))
}
