//! Reading request bodies within bounds of size, time and memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use futures::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use weighbridge_wire::openai::ApiError;

/// Bytes of a body, unless told otherwise. Coding turns of 1 MB are common, a context of a million tokens is under 8 MB.
pub(crate) const DEFAULT_MOST: usize = 32 << 20;

/// KiB of request bodies that may be in memory at once: eight of the default's largest. Callers beyond that wait with their
/// bodies unread.
const MEMORY_KIB: usize = 256 << 10;

/// Bytes read past the limit and thrown away, so that a client that writes all before it reads gets its
/// 413 instead of a broken connection.
const MAX_DISCARDED: usize = 256 << 20;

/// A body has this long to arrive: enough for the largest at 0.5 MB/s, an end for one byte a second.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// What bodies may have, each and together.
#[derive(Clone, Debug)]
pub(super) struct BodyMemory {
    most: usize,
    free: Arc<Semaphore>,
}

impl BodyMemory {
    /// Memory for bodies of at most `most` bytes each.
    pub(super) fn new(most: usize) -> Self {
        // One has to fit.
        Self::of_kib(most, MEMORY_KIB.max(most.div_ceil(1024)))
    }

    pub(super) fn of_kib(most: usize, kib: usize) -> Self {
        Self { most, free: Arc::new(Semaphore::new(kib)) }
    }

    #[cfg(test)]
    pub(super) fn free_kib(&self) -> usize {
        self.free.available_permits()
    }
}

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
    memory: &BodyMemory,
) -> Result<RequestBody, ApiError> {
    let BodyMemory { most, free } = memory;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let size = announced.unwrap_or(*most).min(*most);
    let reading = async {
        let kib = u32::try_from(size.div_ceil(1024)).unwrap_or(u32::MAX);
        let permit = Arc::clone(free).acquire_many_owned(kib).await;
        let permit = permit.map_err(|_| ApiError::internal("The server is shutting down."))?;
        let bytes = collect(body, if announced.is_some() { size } else { 0 }, *most).await?;
        Ok(RequestBody { bytes, _memory: permit })
    };
    let late = |_| ApiError::request_timeout("The request body did not arrive within 60 s.");
    timeout(BODY_TIMEOUT, reading).await.unwrap_or_else(|elapsed| Err(late(elapsed)))
}

async fn collect(body: Body, expected: usize, most: usize) -> Result<Bytes, ApiError> {
    let mut bytes = Vec::with_capacity(expected);
    let mut chunks = body.into_data_stream();
    let mut discarded = 0;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| ApiError::invalid_request(None, "The request body broke off."))?;
        if discarded > 0 || bytes.len() + chunk.len() > most {
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
        return Err(ApiError::payload_too_large(most as u64));
    }
    Ok(Bytes::from(bytes))
}
