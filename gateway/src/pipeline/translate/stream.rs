//! A streamed answer: events pass as they come, each upstream chunk at once.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use weighbridge_wire::openai::ApiError;
use weighbridge_wire::openai::edit::{ResponseView, UsageView};
use weighbridge_wire::sse::{self, DONE, Decoder};

use super::super::admit::Call;
use super::super::record::Record;
use crate::Limits;
use crate::directory::World;
use crate::forward::UpstreamBody;
use crate::label;
use crate::metrics::Cut;
use crate::server::BodyError;

/// How long the upstream may take to close after `[DONE]`. The client has everything by then; waiting only
/// serves to keep the connection for the next request.
const CLOSE: Duration = Duration::from_secs(1);

/// Bytes of comments read before the first event. With more than that the answer begins without one: a
/// comment is a sign of life, and must not fill memory.
const OPENING_BYTES: usize = 64 << 10;

/// Turns the upstream's bytes into the caller's.
pub(in super::super) struct Relay {
    body: UpstreamBody,
    decoder: Option<Decoder>,
    model: String,
    world: World,
    canonical: String,
    keep_usage: bool,
    done: bool,
    /// What was read and not handed on yet: the opening, or events that leave nothing to send.
    passed: Passed,
}

/// What came out of one upstream chunk.
#[derive(Default)]
struct Passed {
    out: BytesMut,
    /// Events that bring text, a tool call or the end.
    pieces: u32,
    /// Whether any event came at all; comments are none.
    events: bool,
    usage: Option<UsageView>,
    ended: Option<Ended>,
}

/// How the stream ended.
enum Ended {
    Whole,
    /// The upstream's error has been passed on, if there was one to pass on.
    Cut {
        cut: Cut,
        error: ApiError,
        shown: bool,
    },
}

impl Relay {
    /// Reads up to the first event, before which an error is still an HTTP status.
    pub(super) async fn open(body: UpstreamBody, call: Call, limits: &Limits) -> Result<Self, ApiError> {
        let mut relay = Self {
            body,
            decoder: Some(Decoder::new(limits.event_bytes)),
            keep_usage: call.include_usage,
            world: call.target.world,
            canonical: call.target.canonical.clone(),
            model: call.requested,
            done: false,
            passed: Passed::default(),
        };
        while !relay.passed.events && relay.passed.ended.is_none() && relay.passed.out.len() < OPENING_BYTES {
            std::future::poll_fn(|context| relay.poll_chunk(context)).await;
        }
        match relay.passed.ended {
            Some(Ended::Cut { error, .. }) => Err(error),
            Some(Ended::Whole) | None => Ok(relay),
        }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Passed> {
        while self.passed.out.is_empty() && self.passed.ended.is_none() {
            ready!(self.poll_chunk(context));
        }
        Poll::Ready(std::mem::take(&mut self.passed))
    }

    /// Reads one upstream chunk into `passed`.
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let mut passed = std::mem::take(&mut self.passed);
        match frame {
            _ if self.done => passed.ended = Some(Ended::Whole),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    self.chunk(&data, &mut passed);
                }
            }
            Some(Err(BodyError::Idle(time))) => {
                let message = format!("`{}` sent nothing for {} s.", self.canonical, time.as_secs());
                passed.ended = Some(cut(Cut::idle, ApiError::upstream_timeout(&message)));
            }
            Some(Err(BodyError::Broken(_))) | None => self.upstream_ended(&mut passed),
        }
        self.passed = passed;
        Poll::Ready(())
    }

    fn chunk(&mut self, data: &[u8], passed: &mut Passed) {
        let Some(mut decoder) = self.decoder.take() else { return };
        decoder.push(data);
        while passed.ended.is_none() && !self.done {
            match decoder.next_frame() {
                Ok(Some(frame)) => self.event(&frame, passed),
                Ok(None) => break,
                Err(error) => {
                    let message = format!("`{}` sent an unreadable stream: {error}.", self.canonical);
                    let error = ApiError::upstream("upstream_invalid_response", &message);
                    passed.ended = Some(cut(Cut::event_too_large, error));
                }
            }
        }
        self.decoder = Some(decoder);
    }

    fn event(&mut self, frame: &sse::Frame, passed: &mut Passed) {
        let Some(data) = frame.data() else {
            passed.out.extend_from_slice(frame.raw());
            return;
        };
        passed.events = true;
        if data.starts_with(DONE.as_bytes()) {
            self.done = true;
            self.body.set_idle(CLOSE);
            passed.out.extend_from_slice(frame.raw());
            return;
        }
        let Some(view) = ResponseView::parse(&data) else {
            let message = format!("`{}` sent an event that is not valid JSON.", self.canonical);
            passed.ended =
                Some(cut(Cut::upstream_error, ApiError::upstream("upstream_invalid_response", &message)));
            return;
        };
        if view.is_error() {
            self.error(frame, &data, passed);
            return;
        }
        passed.usage = view.usage().or(passed.usage);
        passed.pieces += u32::from(view.speaks());
        if view.is_usage_chunk() && !self.keep_usage {
            return;
        }
        match (view.rename(&self.model), frame.data_span()) {
            (None, _) => passed.out.extend_from_slice(frame.raw()),
            (Some(renamed), Some(span)) => {
                passed.out.extend_from_slice(frame.raw().get(..span.start).unwrap_or_default());
                passed.out.extend_from_slice(&renamed);
                passed.out.extend_from_slice(frame.raw().get(span.end..).unwrap_or_default());
            }
            (Some(renamed), None) => passed.out.extend_from_slice(&encode(&renamed)),
        }
    }

    /// An engine's error is ours and passes; a provider's is put in our words, its text labelled.
    fn error(&self, frame: &sse::Frame, data: &[u8], passed: &mut Passed) {
        let shown = self.world == World::Open;
        if shown {
            passed.out.extend_from_slice(frame.raw());
        }
        let error = label::provider_error(&self.canonical, data);
        passed.ended = Some(Ended::Cut { cut: Cut::upstream_error, error, shown });
    }

    fn upstream_ended(&mut self, passed: &mut Passed) {
        // A last event without its blank line counts only if it is the end mark.
        let last = self.decoder.take().and_then(Decoder::finish);
        let marked = last.filter(|frame| frame.data().is_some_and(|data| data.starts_with(DONE.as_bytes())));
        if marked.is_some() {
            sse_event(DONE, &mut passed.out);
            (passed.events, passed.ended) = (true, Some(Ended::Whole));
            return;
        }
        let message = format!("The stream of `{}` broke off.", self.canonical);
        passed.ended = Some(cut(Cut::upstream, ApiError::upstream("upstream_truncated", &message)));
    }
}

fn cut(cut: Cut, error: ApiError) -> Ended {
    Ended::Cut { cut, error, shown: false }
}

fn encode(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    sse::event(&String::from_utf8_lossy(data), &mut out);
    out
}

fn sse_event(data: &str, out: &mut BytesMut) {
    out.extend_from_slice(&encode(data.as_bytes()));
}

/// A relay with the record that its passing fills. Dropped before the end, it cancels the upstream.
pub(super) struct StreamBody {
    relay: Box<Relay>,
    record: Record,
    ended: bool,
}

impl StreamBody {
    pub(super) fn new(relay: Box<Relay>, record: Record) -> Self {
        Self { relay, record, ended: false }
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
        let mut passed = ready!(self.relay.poll_next(context));
        self.record.pieces(passed.pieces);
        if let Some(usage) = passed.usage {
            self.record.usage(usage);
        }
        if self.relay.done {
            // Clients leave as soon as they read the end mark; that is no cut.
            self.record.stream_ended();
        }
        match passed.ended {
            None => {}
            Some(Ended::Whole) => {
                self.ended = true;
                self.record.stream_ended();
            }
            Some(Ended::Cut { cut, error, shown }) => {
                self.ended = true;
                self.record.stream_cut(cut, error.status);
                if !shown {
                    sse_event(&String::from_utf8_lossy(&error.to_json()), &mut passed.out);
                }
            }
        }
        if passed.out.is_empty() {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(Frame::data(passed.out.freeze()))))
    }
}
