//! One request of either endpoint that generates, stage by stage: read, prepare, submit, answer.

use std::sync::Arc;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Json, Response};
use serde::Serialize;
use weighbridge_wire::openai::ApiError;

use super::choices::{Choices, Collected, collect};
use super::record::Record;
use super::stream::{self, Dialect};
use super::{AppState, ServedModel, body, error};
use crate::engine::{Finished, GenerateRequest};
use crate::metrics::ModelLabels;

/// What the two endpoints do differently.
pub(super) trait Endpoint: Sized + Send + 'static {
    /// The request field that holds the prompt, for errors.
    const PROMPT: &'static str;
    /// Parses, checks and tokenises: the CPU's share of a request, run off the async threads.
    fn prepare(model: &ServedModel, body: &[u8]) -> Result<(Self, Submission), ApiError>;
    /// The whole answer.
    fn whole(self, prompt_tokens: usize, choices: Vec<(Collected, Finished)>) -> impl Serialize;
    /// The chunks of a streamed answer.
    fn chunks(self, include_usage: bool) -> impl Dialect;
}

/// What the engine is to do, whichever endpoint asked.
pub(super) struct Submission {
    /// The name that the caller used.
    pub(super) model: String,
    /// A sequence for each choice.
    pub(super) group: Vec<GenerateRequest>,
    /// Tokens of all prompts, each counted once.
    pub(super) prompt_tokens: usize,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    /// The field that set the length of the answer, for errors.
    pub(super) max_tokens_field: &'static str,
}

/// Answers a request.
pub(super) async fn handle<E: Endpoint>(state: Arc<AppState>, headers: HeaderMap, body: Body) -> Response {
    let mut record = Record::begin(&state);
    match answer::<E>(&state, &headers, body, &mut record).await {
        Ok(Answer::Whole(response)) => {
            record.end(200);
            response
        }
        Ok(Answer::Stream(begun)) => begun.into_response(record),
        Err(refused) => {
            record.end(refused.status);
            error::response(&refused)
        }
    }
}

enum Answer {
    Whole(Response),
    Stream(Box<dyn stream::Begun>),
}

async fn answer<E: Endpoint>(
    state: &Arc<AppState>,
    headers: &HeaderMap,
    body: Body,
    record: &mut Record,
) -> Result<Answer, ApiError> {
    // Before the body is read: a server that is not ready has no memory to spare for it.
    state.ready_model()?;
    let body = body::read(headers, body, &state.body_memory).await?;
    let prepared = state.off_thread(move |model| E::prepare(model, &body.bytes)).await?;
    let (endpoint, submission) = prepared;
    let Submission { model, group, prompt_tokens, stream, include_usage, max_tokens_field } = submission;
    let count = group.len();
    let streams = state.ready_model()?.generation()?.engine.submit(group).await;
    let streams = streams.map_err(|error| error::from_submit(error, E::PROMPT, max_tokens_field))?;
    record.accepted(ModelLabels::new(&model), prompt_tokens, count);
    let choices = Choices::new(streams);
    if stream {
        let of = stream::Asked { choices: count, prompt_tokens, include_usage };
        let begun = stream::begin(endpoint.chunks(include_usage), choices, of).await?;
        return Ok(Answer::Stream(Box::new(begun)));
    }
    let collected =
        collect(choices, count, record).await.map_err(|failure| error::from_generate(&failure))?;
    Ok(Answer::Whole(Json(endpoint.whole(prompt_tokens, collected)).into_response()))
}
