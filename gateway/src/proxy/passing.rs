//! Counting a request until the last byte of its answer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use weighbridge_wire::canonical::FailureClass;

use super::keys::Guard;
use super::metrics::ProxyMetrics;
use super::watch::Watch;
use crate::forward::UpstreamBody;
use crate::server::{Body, BodyError, RequestSlot};

/// Status of a request whose caller left.
const CALLER_LEFT: u16 = 499;

/// Counts one request when dropped; where nobody said how it ended, the caller left.
pub(super) struct Counted {
    metrics: ProxyMetrics,
    code: u16,
    _slot: RequestSlot,
}

impl Counted {
    pub(super) fn begin(metrics: &ProxyMetrics, slot: RequestSlot) -> Self {
        metrics.in_flight.inc();
        Self { metrics: metrics.clone(), code: CALLER_LEFT, _slot: slot }
    }

    /// The request ended with `code`.
    pub(super) fn end(mut self, code: u16) {
        self.code = code;
    }

    /// The request ends with the body of `response`, which breaks off before what `guard` finds in it; how it ended, `watch`
    /// is told.
    pub(super) fn follow(
        self,
        response: Response<UpstreamBody>,
        guard: Guard,
        watch: Arc<Watch>,
    ) -> Response<Body> {
        let (head, body) = response.into_parts();
        let status = head.status.as_u16();
        let mut body = CountedBody { inner: body, counted: self, guard, watch, status, broken: None };
        if body.inner.is_end_stream() {
            // hyper never polls an empty body.
            body.end();
        }
        Response::from_parts(head, body.boxed_unsync())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        let failed = self.code == CALLER_LEFT && std::thread::panicking();
        self.metrics.count(if failed { 500 } else { self.code });
    }
}

/// The provider's body, passed on unread but for its own key, which no caller may see. Broken or silent, it breaks the
/// connection to the gateway, which then tells its client in the client's dialect.
struct CountedBody {
    inner: UpstreamBody,
    counted: Counted,
    guard: Guard,
    watch: Arc<Watch>,
    status: u16,
    /// How it broke off, where what came before is still to go out.
    broken: Option<BodyError>,
}

impl CountedBody {
    /// It is whole.
    fn end(&mut self) {
        // hyper may ask once more for what has ended.
        if std::mem::replace(&mut self.counted.code, self.status) != self.status {
            self.watch.answered();
        }
    }

    /// hyper closes a connection whose body fails with what it has not yet written: between what came and the failure it
    /// needs a moment to write.
    fn break_off(
        &mut self,
        error: BodyError,
        context: &Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.counted.code = match &error {
            BodyError::Idle(time) => {
                let message = format!("its answer stopped: nothing came for {} s", time.as_secs());
                self.watch.unanswered(FailureClass::Timeout, &message);
                504
            }
            BodyError::Broken(_) => {
                self.watch.unanswered(FailureClass::TruncatedStream, "its answer broke off");
                502
            }
            BodyError::Leaking => 502,
        };
        self.broken = Some(error);
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl HttpBody for CountedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let frame = match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
            None => {
                self.end();
                return Poll::Ready(None);
            }
            Some(Err(error)) => return self.break_off(error, context),
            Some(Ok(frame)) => frame,
        };
        if let Some(data) = frame.data_ref() {
            if self.guard.sees(data) {
                tracing::warn!("the provider's answer holds its key, and ends here");
                return self.break_off(BodyError::Leaking, context);
            }
            self.counted.metrics.answer_bytes.inc_by(data.len() as u64);
        }
        if self.inner.is_end_stream() {
            self.end();
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
