//! Counting a request until the last byte of its answer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;

use super::metrics::ProxyMetrics;
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

    /// The request ends with the body of `response`.
    pub(super) fn follow(self, response: Response<UpstreamBody>) -> Response<Body> {
        let (head, body) = response.into_parts();
        let status = head.status.as_u16();
        let mut body = CountedBody { inner: body, counted: self, status };
        if body.inner.is_end_stream() {
            // hyper never polls an empty body.
            body.counted.code = status;
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

/// The provider's body, passed on unread. Broken or silent, it breaks the connection to the gateway, which
/// then tells its client in the client's dialect.
struct CountedBody {
    inner: UpstreamBody,
    counted: Counted,
    status: u16,
}

impl HttpBody for CountedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.counted.metrics.answer_bytes.inc_by(bytes as u64);
                if self.inner.is_end_stream() {
                    self.counted.code = self.status;
                }
            }
            Some(Err(error)) => {
                self.counted.code = if matches!(error, BodyError::Idle(_)) { 504 } else { 502 };
            }
            None => self.counted.code = self.status,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
