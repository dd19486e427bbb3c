//! One connection of HTTP/1 to an upstream, driven by whoever uses it.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use futures::future::{FusedFuture, FutureExt};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper::rt::{Read, Write};

use super::Pieces;
use super::turns::Turns;

/// Turns in one go. An exchange takes a handful; what never comes to rest leaves other tasks of the thread theirs.
const MOST_TURNS: u32 = 64;

/// A connection without a task of its own: it moves on when an answer is waited for or read, within the task that does so.
/// Between reading a piece of an answer and writing it to the caller there is then no queue, no wake-up and no change
/// of thread, and pieces that arrived together are there together.
pub(super) struct Connection {
    sender: http1::SendRequest<Pieces>,
    /// What moves the bytes. It ends with the connection.
    driver: Pin<Box<dyn FusedFuture<Output = hyper::Result<()>> + Send>>,
    turns: Arc<Turns>,
    /// Of `turns`.
    waker: Waker,
    /// Since when it has been there.
    pub opened: Instant,
}

impl Connection {
    /// Speaks HTTP/1 over `io`.
    pub(super) async fn open<T: Read + Write + Unpin + Send + 'static>(io: T) -> hyper::Result<Self> {
        let (sender, driver) = http1::handshake(io).await?;
        let turns = Arc::new(Turns::default());
        let waker = Waker::from(Arc::clone(&turns));
        Ok(Self { sender, driver: Box::pin(driver.fuse()), turns, waker, opened: Instant::now() })
    }

    /// Sends `request` and waits for the head of its answer. Its body comes only while this connection is polled
    /// ([`Self::poll_with`]).
    pub(super) async fn send(
        &mut self,
        request: Request<Pieces>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Pieces>>> {
        let mut answer = pin!(self.sender.try_send_request(request));
        std::future::poll_fn(|context| self.poll_with(context, |inner| answer.as_mut().poll(inner))).await
    }

    /// Polls `waiting` and the connection in turns, until the first is ready or neither moves.
    pub(super) fn poll_with<T>(
        &mut self,
        context: &mut Context<'_>,
        mut waiting: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let mut inner = Context::from_waker(&self.waker);
        self.turns.begin(context.waker());
        for _ in 0..MOST_TURNS {
            if let Poll::Ready(ready) = waiting(&mut inner) {
                self.turns.leave();
                return Poll::Ready(ready);
            }
            // How it ended is told to the one who waits, by hyper's own ways.
            if !self.driver.is_terminated() {
                let _ = self.driver.as_mut().poll(&mut inner);
            }
            if self.turns.end() {
                return Poll::Pending;
            }
        }
        self.turns.leave();
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Whether the connection can take another request: the one before is done on both sides, and neither closed it.
    /// Nobody is woken by it from here on until it is polled again.
    pub(super) fn is_free(&mut self) -> bool {
        let mut inner = Context::from_waker(&self.waker);
        self.turns.forget();
        if !self.driver.is_terminated() {
            // How much its task has done before says nothing of the connection: without a budget the runtime would hide
            // that it was closed.
            let _ = pin!(tokio::task::unconstrained(&mut self.driver)).poll(&mut inner);
        }
        !self.driver.is_terminated() && self.sender.is_ready()
    }
}

#[cfg(test)]
mod tests {
    use hyper_util::rt::TokioIo;

    use super::super::turns::Count;
    use super::*;

    #[tokio::test]
    async fn what_never_rests_leaves_other_tasks_their_turn() {
        let (near, _far) = tokio::io::duplex(64);
        let mut connection = Connection::open(TokioIo::new(near)).await.expect("open");
        let task = Arc::new(Count::default());
        let (waker, mut polls) = (Waker::from(Arc::clone(&task)), 0);
        let polled = connection.poll_with(&mut Context::from_waker(&waker), |inner| {
            polls += 1;
            inner.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        assert!(polled.is_pending());
        assert_eq!((polls, task.woken()), (MOST_TURNS, 1), "it comes back by itself");
    }
}
