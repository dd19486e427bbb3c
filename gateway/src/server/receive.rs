//! Reading bodies within bounds of size, number and time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body as HttpBody;
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

/// Bounds the bytes held at once: of request bodies, of what they are translated into, of whole answers, and of what a
/// translation keeps of a stream.
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

    /// `bytes` as ones that count against the budget until the last view of them is dropped.
    ///
    /// # Errors
    /// 503 where the budget is spent.
    pub(crate) fn keep(self: &Arc<Self>, bytes: Bytes) -> Result<Bytes, Failure> {
        let mut held = Held::none(self);
        held.more(bytes.len())?;
        Ok(held.keep(bytes))
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

/// A place in the budget.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Arc<BodyBudget>,
    bytes: usize,
}

impl Held {
    pub(crate) fn none(budget: &Arc<BodyBudget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: 0 }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes it larger.
    ///
    /// # Errors
    /// 503 where the budget is spent.
    pub(crate) fn more(&mut self, bytes: usize) -> Result<(), Failure> {
        self.budget.take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// `bytes`, which keep the place.
    fn keep(self, bytes: Bytes) -> Bytes {
        if bytes.is_empty() { bytes } else { Bytes::from_owner(Kept { bytes, _held: self }) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

struct Kept {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
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
) -> Result<Bytes, Failure> {
    let Ok(gathered) = tokio::time::timeout(time, gather(&mut body, limit, budget)).await else {
        return Err(failure::request_timeout(time));
    };
    match gathered {
        Ok(bytes) => Ok(bytes),
        Err(GatherError::Full(failure)) => Err(failure),
        Err(GatherError::Body(_)) => {
            Err(failure::bad_request(None, "The request body ended before its length."))
        }
        Err(GatherError::TooLarge) => {
            discard(body, limit.saturating_mul(DRAIN_FACTOR)).await;
            Err(failure::body_too_large(limit))
        }
    }
}

/// A body is not had whole.
#[derive(Debug)]
pub(crate) enum GatherError<E> {
    /// It is larger than the limit.
    TooLarge,
    /// The budget is spent.
    Full(Failure),
    /// It broke off.
    Body(E),
}

/// All of `body`, at most `limit` bytes, which count against `budget` until they are dropped.
///
/// # Errors
/// Where it is too large, finds no room, or breaks off.
pub(crate) async fn gather<B>(
    body: &mut B,
    limit: usize,
    budget: &Arc<BodyBudget>,
) -> Result<Bytes, GatherError<B::Error>>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    if body.size_hint().lower() > limit as u64 {
        return Err(GatherError::TooLarge);
    }
    let mut held = Held::none(budget);
    let mut whole = Gathered::Nothing;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(GatherError::Body)?.into_data() else { continue };
        if held.bytes + data.len() > limit {
            return Err(GatherError::TooLarge);
        }
        held.more(data.len()).map_err(GatherError::Full)?;
        // A declared length was checked against the limit, so reserving it is safe.
        whole = whole.add(data, body.size_hint().lower() as usize);
    }
    Ok(held.keep(match whole {
        Gathered::Nothing => Bytes::new(),
        Gathered::One(bytes) => bytes,
        Gathered::Many(bytes) => bytes.freeze(),
    }))
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

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    fn used(budget: &BodyBudget) -> usize {
        budget.used.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn bytes_count_until_the_last_view_of_them_is_gone() {
        let budget = BodyBudget::new(10, Counter::default());
        let bytes = gather(&mut Full::new(Bytes::from_static(b"12345")), 8, &budget).await.expect("room");
        let view = bytes.slice(1..2);
        drop(bytes);
        assert_eq!((view.as_ref(), used(&budget)), (b"2".as_slice(), 5));
        let translated = budget.keep(Bytes::from_static(b"12345")).expect("room");
        assert!(budget.keep(Bytes::from_static(b"1")).is_err());
        assert!(matches!(
            gather(&mut Full::new(Bytes::from_static(b"1")), 8, &budget).await,
            Err(GatherError::Full(_))
        ));
        assert_eq!((used(&budget), budget.full.get()), (10, 2));
        drop((view, translated));
        assert_eq!(used(&budget), 0);
    }

    #[tokio::test]
    async fn what_is_too_large_takes_no_room() {
        let budget = BodyBudget::new(10, Counter::default());
        let refused = gather(&mut Full::new(Bytes::from_static(b"123456789")), 8, &budget).await;
        assert!(matches!(refused, Err(GatherError::TooLarge)));
        assert_eq!(used(&budget), 0);
    }
}
