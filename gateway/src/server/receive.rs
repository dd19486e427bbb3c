//! Reading a request's body within bounds of size, number and time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use prometheus_client::metrics::counter::Counter;
use weighbridge_wire::canonical::Failure;

use crate::failure;

/// How much of a body that is too large is read and dropped, as a multiple of the limit: many clients
/// send all of it before they look at the answer, and would see a reset in place of the 413.
const DRAIN_FACTOR: usize = 4;
/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// Bounds the bytes of all request bodies held at once.
#[derive(Debug)]
pub(crate) struct BodyBudget {
    used: AtomicUsize,
    most: usize,
    full: Counter,
}

impl BodyBudget {
    pub(crate) fn new(most: usize, full: Counter) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), most, full })
    }

    fn take(&self, bytes: usize) -> Result<(), Failure> {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) <= self.most {
            return Ok(());
        }
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        self.full.inc();
        Err(failure::overloaded("server_busy", "Too many large requests are open. Try again shortly.", 1))
    }
}

/// A body that was read; its bytes count against the budget until it is dropped.
#[derive(Debug)]
pub(crate) struct Received {
    /// The body.
    pub bytes: Bytes,
    /// Keeps the place in the budget.
    _held: Held,
}

#[derive(Debug)]
struct Held {
    budget: Arc<BodyBudget>,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Reads `body`, at most `limit` bytes within `time`.
///
/// # Errors
/// 413 where it is larger, 408 where it is slower, 503 where the budget is spent, 400 where it breaks off.
pub(crate) async fn receive(
    mut body: Incoming,
    limit: usize,
    time: Duration,
    budget: &Arc<BodyBudget>,
) -> Result<Received, Failure> {
    let read = if body.size_hint().lower() > limit as u64 {
        Err(ReadError::TooLarge)
    } else {
        tokio::time::timeout(time, read(&mut body, limit, budget)).await.unwrap_or(Err(ReadError::TooSlow))
    };
    match read {
        Ok(received) => Ok(received),
        Err(ReadError::Answer(answer)) => Err(answer),
        Err(ReadError::TooSlow) => Err(failure::request_timeout(time)),
        Err(ReadError::TooLarge) => {
            discard(body, limit.saturating_mul(DRAIN_FACTOR)).await;
            Err(failure::body_too_large(limit))
        }
    }
}

enum ReadError {
    TooLarge,
    TooSlow,
    Answer(Failure),
}

async fn read(body: &mut Incoming, limit: usize, budget: &Arc<BodyBudget>) -> Result<Received, ReadError> {
    let mut held = Held { budget: Arc::clone(budget), bytes: 0 };
    let mut whole = Gathered::Nothing;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            ReadError::Answer(failure::bad_request(None, "The request body ended before its length."))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if held.bytes + data.len() > limit {
            return Err(ReadError::TooLarge);
        }
        budget.take(data.len()).map_err(ReadError::Answer)?;
        held.bytes += data.len();
        // A declared length was checked against the limit, so reserving it is safe.
        whole = whole.add(data, body.size_hint().lower() as usize);
    }
    let bytes = match whole {
        Gathered::Nothing => Bytes::new(),
        Gathered::One(bytes) => bytes,
        Gathered::Many(bytes) => bytes.freeze(),
    };
    Ok(Received { bytes, _held: held })
}

/// A small body arrives in one piece and is not copied.
enum Gathered {
    Nothing,
    One(Bytes),
    Many(BytesMut),
}

impl Gathered {
    fn add(self, data: Bytes, rest: usize) -> Self {
        match self {
            Self::Nothing => Self::One(data),
            Self::One(first) => {
                let mut bytes = BytesMut::with_capacity(first.len() + data.len() + rest);
                bytes.extend_from_slice(&first);
                bytes.extend_from_slice(&data);
                Self::Many(bytes)
            }
            Self::Many(mut bytes) => {
                bytes.extend_from_slice(&data);
                Self::Many(bytes)
            }
        }
    }
}

/// Reads and drops at most `most` bytes of `body`, for a while. Ends early in silence: the answer is the same.
pub(crate) async fn discard(mut body: Incoming, most: usize) {
    let drain = async {
        let mut dropped = 0;
        while let Some(Ok(frame)) = body.frame().await {
            dropped += frame.data_ref().map_or(0, Bytes::len);
            if dropped > most {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(DRAIN_TIME, drain).await;
}
