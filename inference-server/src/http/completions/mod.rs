//! `POST /v1/completions`: texts or token ids, several at once, echo and log probabilities.

mod render;
mod request;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Json, Response};
use weighbridge_wire::openai::ApiError;

use super::choices::{Choices, collect};
use super::record::Record;
use super::stream::{self, Ending};
use super::{AppState, body, error};
use crate::metrics::ModelLabels;
use request::Prepared;

/// Goes on from one or several prompts.
pub(super) async fn handle(State(state): State<Arc<AppState>>, headers: HeaderMap, body: Body) -> Response {
    let mut record = Record::begin(&state);
    match prepare(&state, &headers, body).await {
        Ok(prepared) => answer(&state, prepared, record).await,
        Err(refused) => {
            record.end(refused.status);
            error::response(&refused)
        }
    }
}

async fn prepare(state: &Arc<AppState>, headers: &HeaderMap, body: Body) -> Result<Prepared, ApiError> {
    state.ready_model()?;
    let body = body::read(headers, body, &state.body_memory).await?;
    state.off_thread(move |model| request::prepare(model, &body.bytes)).await
}

async fn answer(state: &AppState, prepared: Prepared, mut record: Record) -> Response {
    match submit(state, prepared, &mut record).await {
        Ok((prepared, choices)) if prepared.stream => {
            let Prepared { count, prompt_tokens, include_usage, .. } = prepared;
            let dialect = render::Chunks::new(prepared);
            let ending = Ending { prompt_tokens, include_usage };
            match stream::respond(dialect, choices, count, record, ending).await {
                Ok(response) => response,
                Err((refused, record)) => refuse(record, &refused),
            }
        }
        Ok((prepared, choices)) => match collect(choices, prepared.count, &mut record).await {
            Ok(collected) => {
                record.end(200);
                Json(render::whole(prepared, collected)).into_response()
            }
            Err(failure) => refuse(record, &error::from_generate(&failure)),
        },
        Err(refused) => refuse(record, &refused),
    }
}

async fn submit(
    state: &AppState,
    mut prepared: Prepared,
    record: &mut Record,
) -> Result<(Prepared, Choices), ApiError> {
    let model = state.ready_model()?;
    let group = std::mem::take(&mut prepared.group);
    let streams = model.engine.submit(group).await;
    let streams = streams.map_err(|error| error::from_submit(error, "prompt", "max_tokens"))?;
    record.accepted(ModelLabels::new(&prepared.head.model), prepared.prompt_tokens, prepared.count);
    Ok((prepared, Choices::new(streams)))
}

fn refuse(mut record: Record, refused: &ApiError) -> Response {
    record.end(refused.status);
    error::response(refused)
}
