//! Clients that take nothing of what they are sent, over either protocol.
//!
//! hyper asks a body for its next piece only where the client has room for one, and says nothing to anybody while it has
//! none. So the body notes when it was last asked ([`Watched`]), and whoever polls it looks at that note ([`watched`]): the
//! task of a connection in HTTP/1, that of a stream in HTTP/2. It costs no task, no allocation and no timer while the
//! client keeps up.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::{Body, BodyError};

/// What a client has to take, in bytes, each time that it is waited for so long: 17 bytes a second where it is a minute.
/// Whoever takes less only holds a place.
const LEAST: usize = 1 << 10;
/// Bytes handed over at once, so that what a client takes of a large answer is seen, and little of it is held when it
/// takes nothing. A frame of HTTP/2 has as many at most.
const PIECE: usize = 16 << 10;

tokio::task_local! {
    /// Of the task that polls the bodies of a connection, or of a stream.
    static TAKING: Arc<Taking>;
}

/// Whether a client is waited for: written by the body, read by whoever polls both.
#[derive(Debug, Default)]
struct Taking {
    waited_for: AtomicBool,
    /// Handed over since somebody set it to zero.
    bytes: AtomicUsize,
}

impl Taking {
    fn is_waited_for(&self, is: bool) {
        self.waited_for.store(is, Ordering::Relaxed);
    }
}

/// A client took nothing for too long.
#[derive(Debug, thiserror::Error)]
#[error("the client took nothing of what was written to it for {0:?}")]
pub(super) struct Stalled(Duration);

/// `future`, which polls [`Watched`] bodies one at a time, until their client takes nothing for `limit`.
///
/// # Errors
/// Then.
pub(super) async fn watched<F: Future>(limit: Duration, future: F) -> Result<F::Output, Stalled> {
    let taking = Arc::new(Taking::default());
    let mut patience = Patience { limit, timer: None, waits: false };
    let mut future = pin!(TAKING.scope(Arc::clone(&taking), future));
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => patience.poll_end(&taking, context).map(|()| Err(Stalled(limit))),
    })
    .await
}

struct Patience {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether the timer runs.
    waits: bool,
}

impl Patience {
    fn poll_end(&mut self, taking: &Taking, context: &mut Context<'_>) -> Poll<()> {
        if !taking.waited_for.load(Ordering::Relaxed) {
            self.waits = false;
            return Poll::Pending;
        }
        loop {
            let end = Instant::now() + self.limit;
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
            if !self.waits {
                self.waits = true;
                taking.bytes.store(0, Ordering::Relaxed);
                timer.as_mut().reset(end);
            }
            ready!(timer.as_mut().poll(context));
            if taking.bytes.load(Ordering::Relaxed) < LEAST {
                return Poll::Ready(());
            }
            self.waits = false;
        }
    }
}

/// The body of an answer, in pieces; `K` is kept until it is dropped.
pub(super) struct Watched<K> {
    inner: Body,
    /// Of a large piece, what was not handed over yet.
    rest: Bytes,
    taking: Option<Arc<Taking>>,
    _kept: K,
}

impl<K> Watched<K> {
    /// Must be called by the task that polls it.
    pub(super) fn new(inner: Body, kept: K) -> Self {
        let taking = TAKING.try_with(Arc::clone).ok();
        // It is not asked for anything before the headers went out.
        if let Some(taking) = &taking {
            taking.is_waited_for(true);
        }
        Self { inner, rest: Bytes::new(), taking, _kept: kept }
    }

    fn hand_over(&mut self, mut data: Bytes) -> Frame<Bytes> {
        if data.len() > PIECE {
            self.rest = data.split_off(PIECE);
        }
        if let Some(taking) = &self.taking {
            taking.is_waited_for(true);
            taking.bytes.fetch_add(data.len(), Ordering::Relaxed);
        }
        Frame::data(data)
    }

    fn is_not_waited_for(&self) {
        if let Some(taking) = &self.taking {
            taking.is_waited_for(false);
        }
    }
}

impl<K> Drop for Watched<K> {
    fn drop(&mut self) {
        self.is_not_waited_for();
    }
}

impl<K: Unpin> HttpBody for Watched<K> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            return Poll::Ready(Some(Ok(self.hand_over(rest))));
        }
        let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) else {
            self.is_not_waited_for();
            return Poll::Pending;
        };
        Poll::Ready(match frame {
            Some(Ok(frame)) => Some(Ok(match frame.into_data() {
                Ok(data) => self.hand_over(data),
                Err(trailers) => trailers,
            })),
            ended @ (Some(Err(_)) | None) => {
                self.is_not_waited_for();
                ended
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.inner.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(rest));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full, StreamBody};
    use tokio::sync::mpsc;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn whole(bytes: usize) -> Body {
        Full::new(Bytes::from(vec![b'x'; bytes])).map_err(|never| match never {}).boxed_unsync()
    }

    /// As hyper does it: asks `body` for a piece each time that the client has `room` for one.
    async fn send(body: Body, mut room: mpsc::UnboundedReceiver<()>) -> usize {
        let mut body = Watched::new(body, ());
        let mut sent = 0;
        while room.recv().await.is_some() {
            match body.frame().await {
                Some(frame) => sent += frame.expect("no error").into_data().expect("data").len(),
                None => break,
            }
        }
        sent
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_given_up() {
        let (_room, never) = mpsc::unbounded_channel();
        let began = Instant::now();
        assert!(watched(LIMIT, send(whole(10), never)).await.is_err());
        assert_eq!(began.elapsed(), LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn who_drips_is_given_up_and_who_is_only_slow_is_not() {
        for (piece, taken) in [(LEAST / 8, false), (LEAST, true)] {
            let pieces =
                futures::stream::repeat_with(move || Ok(Frame::data(Bytes::from(vec![b'x'; piece]))));
            let body = StreamBody::new(futures::StreamExt::take(pieces, 64)).boxed_unsync();
            let (room, has_room) = mpsc::unbounded_channel();
            let client = tokio::spawn(async move {
                while room.send(()).is_ok() {
                    tokio::time::sleep(LIMIT / 3).await;
                }
            });
            let sent = watched(LIMIT, send(body, has_room)).await;
            assert_eq!(sent.ok(), taken.then_some(64 * piece), "{piece}");
            client.abort();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_upstream_that_is_silent_is_no_fault_of_the_clients() {
        let (tell, pieces) = mpsc::unbounded_channel::<Bytes>();
        let pieces = futures::stream::unfold(pieces, |mut pieces| async move {
            Some((Ok(Frame::data(pieces.recv().await?)), pieces))
        });
        let (room, has_room) = mpsc::unbounded_channel();
        let upstream = async move {
            for _ in 0..3 {
                room.send(()).expect("it is there");
                tokio::time::sleep(10 * LIMIT).await;
                tell.send(Bytes::from_static(b"x")).expect("it is there");
            }
        };
        let sending = watched(LIMIT, send(StreamBody::new(pieces).boxed_unsync(), has_room));
        let (sent, ()) = tokio::join!(sending, upstream);
        assert_eq!(sent.expect("not given up"), 3);
    }

    #[tokio::test]
    async fn a_large_answer_goes_in_pieces_with_its_length() {
        let mut body = Watched::new(whole(2 * PIECE + 1), ());
        for (piece, left) in [(PIECE, PIECE + 1), (PIECE, 1), (1, 0)] {
            let sent = body.frame().await.expect("a piece").expect("no error").into_data().expect("data");
            assert_eq!((sent.len(), body.size_hint().exact()), (piece, Some(left as u64)));
            assert_eq!(body.is_end_stream(), left == 0);
        }
    }
}
