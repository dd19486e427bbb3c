//! The body of a streamed answer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use weighbridge_wire::lane::{self, Operation};

use super::super::record::Record;
use super::relay::{End, Passed, Relay};
use crate::server::{BodyError, Silence};

/// A relay with the record that its passing fills. Dropped before the end, it cancels the upstream.
pub(super) struct StreamBody {
    relay: Box<Relay>,
    operation: Operation,
    record: Record,
    /// The caller's, which gets a sign of life when it has lasted.
    silence: Silence,
    ended: bool,
}

impl StreamBody {
    pub(super) fn new(relay: Box<Relay>, operation: Operation, keep_alive: Duration, record: Record) -> Self {
        Self { relay, operation, record, silence: Silence::new(keep_alive), ended: false }
    }

    fn pass(&mut self, passed: Passed) -> Option<Bytes> {
        let Passed { mut out, pieces, usage, whole, ended, .. } = passed;
        self.record.pieces(pieces);
        if let Some(usage) = usage {
            self.record.usage(usage);
        }
        if whole {
            // Callers leave as soon as they read the end mark; that is no cut.
            self.record.stream_ended();
        }
        match ended {
            None => {}
            Some(End::Whole) => {
                self.ended = true;
                self.record.stream_ended();
            }
            Some(End::Cut { cut, failure }) => {
                self.ended = true;
                let answer = lane::error(self.operation.dialect(), &failure);
                self.record.stream_cut(cut, answer.status);
                self.relay.fail(&failure, &mut out);
            }
        }
        (!out.is_empty()).then(|| Bytes::from(out))
    }

    /// A sign of life, once the silence has lasted.
    fn poll_keep_alive(&mut self, context: &mut Context<'_>) -> Poll<Bytes> {
        ready!(self.silence.poll(context));
        self.silence.broken();
        let mut out = Vec::new();
        lane::keep_alive(self.operation, &mut out);
        Poll::Ready(Bytes::from(out))
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let bytes = match self.relay.poll_next(context) {
            Poll::Ready(passed) => {
                self.silence.broken();
                self.pass(passed)
            }
            Poll::Pending => Some(ready!(self.poll_keep_alive(context))),
        };
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
