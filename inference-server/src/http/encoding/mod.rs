//! `POST /v1/embeddings` and `POST /v1/rerank`: one request, stage by stage, and the bounds that both share.

pub(super) mod embeddings;
pub(super) mod rerank;

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use weighbridge_wire::openai::ApiError;

use super::record::Record;
use super::{AppState, Encoding, ServedModel, body, error};
use crate::metrics::ModelLabels;
use crate::tokenizer::EncodedSequence;

/// Most texts in a request, as at OpenAI.
const MAX_TEXTS: usize = 2048;

/// Tokens of a request, all texts together: each of [`MAX_TEXTS`] at the usual context of 512.
const MAX_TOKENS: usize = 1 << 20;

/// Bytes of a text: some thousand a token of the longest context, and an end to what is tokenised in vain.
const MAX_TEXT: usize = 1 << 20;

/// What the two endpoints do differently.
pub(super) trait Endpoint: Sized + Send + 'static {
    /// Parses, checks and tokenises: the CPU's share of a request, run off the async threads.
    fn prepare(model: &ServedModel, body: &[u8]) -> Result<(Self, Submission), ApiError>;
    /// What answers, of a model that does.
    fn encoding(model: &ServedModel) -> Result<&Encoding, ApiError>;
    /// The answer, with a vector for each sequence.
    fn answer(self, vectors: Vec<Vec<f32>>, tokens: usize) -> impl Serialize;
}

/// What the encoder is to do, whichever endpoint asked.
pub(super) struct Submission {
    /// The name that the caller used.
    model: String,
    sequences: Vec<EncodedSequence>,
    /// The request field that holds the texts, for errors.
    field: &'static str,
}

/// Answers a request.
pub(super) async fn handle<E: Endpoint>(state: Arc<AppState>, headers: HeaderMap, body: Body) -> Response {
    let mut record = Record::begin(&state);
    match answer::<E>(&state, &headers, body, &mut record).await {
        Ok(response) => {
            record.end(200);
            response
        }
        Err(refused) => {
            record.end(refused.status);
            error::response(&refused)
        }
    }
}

async fn answer<E: Endpoint>(
    state: &Arc<AppState>,
    headers: &HeaderMap,
    body: Body,
    record: &mut Record,
) -> Result<Response, ApiError> {
    // Before the body is read: a server that is not ready has no memory to spare for it.
    state.ready_model()?;
    let body = body::read(headers, body, &state.body_memory).await?;
    let (endpoint, submission) = state.off_thread(move |model| E::prepare(model, &body.bytes)).await?;
    let Submission { model, sequences, field } = submission;
    let tokens = sequences.iter().map(|sequence| sequence.tokens.len()).sum();
    let encoder = &E::encoding(state.ready_model()?)?.encoder;
    let vectors = encoder.submit(sequences).map_err(|error| error::from_encode(&error, field))?;
    record.accepted(ModelLabels::new(&model), tokens, 0);
    let vectors = vectors.all().await.map_err(|error| error::from_encode(&error, field))?;
    // Some million numbers become text.
    let written = tokio::task::spawn_blocking(move || serde_json::to_vec(&endpoint.answer(vectors, tokens)));
    let written = written.await.ok().and_then(Result::ok);
    let json = written.ok_or_else(|| ApiError::internal("The answer could not be written."))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
}

/// Refuses an empty list, and one that is too long.
fn check_count(field: &str, count: usize) -> Result<(), ApiError> {
    if (1..=MAX_TEXTS).contains(&count) {
        return Ok(());
    }
    let message = format!("`{field}` must hold from 1 to {MAX_TEXTS} texts, got {count}");
    Err(ApiError::invalid_request(Some(field), &message))
}

/// Refuses a text that nobody means to have read whole.
fn check_text(field: &str, text: &str) -> Result<(), ApiError> {
    if text.len() <= MAX_TEXT {
        return Ok(());
    }
    let message = format!("`{field}` has {} bytes; texts up to {MAX_TEXT} are taken: cut it", text.len());
    Err(ApiError::invalid_request(Some(field), &message))
}

/// The sequences of a request, each within the context and all within [`MAX_TOKENS`].
struct Sequences<'e> {
    encoding: &'e Encoding,
    field: &'static str,
    all: Vec<EncodedSequence>,
    tokens: usize,
}

impl<'e> Sequences<'e> {
    fn new(encoding: &'e Encoding, field: &'static str) -> Self {
        Self { encoding, field, all: Vec::new(), tokens: 0 }
    }

    fn push(&mut self, path: &str, sequence: EncodedSequence) -> Result<(), ApiError> {
        let (context, tokens) = (self.encoding.encoder.context_length(), sequence.tokens.len());
        if tokens > context {
            return Err(error::too_long(path, tokens, context));
        }
        self.tokens += tokens;
        if self.tokens > MAX_TOKENS {
            let field = self.field;
            let message = format!("`{field}` has more than {MAX_TOKENS} tokens: send it in several requests");
            return Err(ApiError::invalid_request(Some(field), &message));
        }
        self.all.push(sequence);
        Ok(())
    }
}
