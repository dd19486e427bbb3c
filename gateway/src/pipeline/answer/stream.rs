//! The body of a streamed answer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::Instant;
use weighbridge_wire::lane::{self, Operation};

use super::super::record::Record;
use super::relay::{End, Passed, Relay};
use crate::server::{BodyError, Silence};

/// What a stream's caller hears whatever the upstream says.
#[derive(Clone, Copy)]
pub(in super::super) struct Pace {
    /// How long a silence lasts before the caller gets a sign of life.
    pub keep_alive: Duration,
    /// When the stream ends at the latest, which is so long after the request began.
    pub ends: Instant,
    pub total: Duration,
}

impl Pace {
    fn is_over(&self) -> bool {
        Instant::now() >= self.ends
    }
}

/// A relay with the record that its passing fills. Dropped before the end, it cancels the upstream.
pub(super) struct StreamBody {
    relay: Box<Relay>,
    operation: Operation,
    record: Record,
    /// The caller's, which gets a sign of life when it has lasted.
    silence: Silence,
    pace: Pace,
    ended: bool,
}

impl StreamBody {
    pub(super) fn new(relay: Box<Relay>, operation: Operation, pace: Pace, record: Record) -> Self {
        Self { relay, operation, record, silence: Silence::new(pace.keep_alive), pace, ended: false }
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

    fn sign_of_life(&self) -> Bytes {
        let mut out = Vec::new();
        lane::keep_alive(self.operation, &mut out);
        Bytes::from(out)
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
        let total = self.pace.total;
        let next = match self.pace.is_over() {
            true => Poll::Ready(self.relay.overdue(total)),
            false => self.relay.poll_next(context),
        };
        let bytes = match next {
            Poll::Ready(passed) => {
                self.silence.broken();
                self.pass(passed)
            }
            Poll::Pending => {
                let ends = self.pace.ends;
                ready!(self.silence.poll_before(ends, context));
                self.silence.broken();
                match self.pace.is_over() {
                    true => {
                        let passed = self.relay.overdue(total);
                        self.pass(passed)
                    }
                    false => Some(self.sign_of_life()),
                }
            }
        };
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
