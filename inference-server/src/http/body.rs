//! Reading request bodies within bounds of size, time and memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use futures::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use weighbridge_wire::openai::ApiError;

/// Bytes of a body. Coding turns of 1 MB are common, a context of a million tokens is under 8 MB.
const MAX_BODY: usize = 32 << 20;

/// Bytes read past the limit and thrown away, so that a client that writes all before it reads gets its
/// 413 instead of a broken connection.
const MAX_DISCARDED: usize = 256 << 20;

/// A body has this long to arrive: enough for the largest at 0.5 MB/s, an end for one byte a second.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// A body, and its share of the memory for bodies; freed when dropped.
#[derive(Debug)]
pub(super) struct RequestBody {
    pub(super) bytes: Bytes,
    _memory: OwnedSemaphorePermit,
}

/// Reads a body to its end.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    memory: &Arc<Semaphore>,
) -> Result<RequestBody, ApiError> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let size = announced.unwrap_or(MAX_BODY).min(MAX_BODY);
    let reading = async {
        let kib = u32::try_from(size.div_ceil(1024)).unwrap_or(u32::MAX);
        let permit = Arc::clone(memory).acquire_many_owned(kib).await;
        let permit = permit.map_err(|_| ApiError::internal("The server is shutting down."))?;
        let bytes = collect(body, if announced.is_some() { size } else { 0 }).await?;
        Ok(RequestBody { bytes, _memory: permit })
    };
    let late = |_| ApiError::request_timeout("The request body did not arrive within 60 s.");
    timeout(BODY_TIMEOUT, reading).await.unwrap_or_else(|elapsed| Err(late(elapsed)))
}

async fn collect(body: Body, expected: usize) -> Result<Bytes, ApiError> {
    let mut bytes = Vec::with_capacity(expected);
    let mut chunks = body.into_data_stream();
    let mut discarded = 0;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| ApiError::invalid_request(None, "The request body broke off."))?;
        if discarded > 0 || bytes.len() + chunk.len() > MAX_BODY {
            bytes = Vec::new();
            discarded += chunk.len();
            if discarded > MAX_DISCARDED {
                break;
            }
        } else {
            bytes.extend_from_slice(&chunk);
        }
    }
    if discarded > 0 {
        return Err(ApiError::payload_too_large(MAX_BODY as u64));
    }
    Ok(Bytes::from(bytes))
}
