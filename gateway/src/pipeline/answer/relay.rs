//! A stream on its way: the upstream's bytes in, the caller's out.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::HeaderMap;
use http::response::Parts;
use http_body::Body as _;
use weighbridge_wire::canonical::{Failure, FailureClass, Usage};
use weighbridge_wire::lane::{self, Ended, Observed, Stamp, StreamBounds};

use super::super::admit::Call;
use super::super::headers;
use super::super::reports::Witness;
use super::super::residency::Check;
use super::NoAnswer;
use super::opening::Opening;
use crate::Limits;
use crate::directory::Target;
use crate::failure;
use crate::forward::UpstreamBody;
use crate::label;
use crate::metrics::Cut;
use crate::server::{BodyBudget, BodyError, Held};

/// How long the upstream may take to close after its end mark. The caller has everything by then; waiting only
/// serves to keep the connection for the next request.
const CLOSE: Duration = Duration::from_secs(1);
/// What a translation may keep of an answer beside what counts against the memory for bodies: most are no longer.
const UNCOUNTED_BYTES: usize = 16 << 10;
/// What goes to the caller in one piece at most, of what arrived together: a hundred tokens.
const TOGETHER_BYTES: usize = 32 << 10;

/// Turns the upstream's bytes into the caller's.
pub(in super::super) struct Relay {
    body: UpstreamBody,
    stream: lane::Stream,
    /// For what `stream` keeps.
    held: Held,
    target: Arc<Target>,
    headers: HeaderMap,
    prompt_tokens: Option<u64>,
    check: Check,
    /// Told of what the upstream says in place of the rest, until it is.
    witness: Option<Witness>,
    /// That.
    said: Option<Failure>,
    /// The end mark has passed; only the upstream's close is waited for.
    done: bool,
    /// What was read and not handed on yet.
    passed: Passed,
    /// Until the commit point.
    opening: Option<Opening>,
}

/// What came out of what was read.
#[derive(Default)]
pub(super) struct Passed {
    pub out: Vec<u8>,
    /// About the tokens that came.
    pub pieces: u32,
    pub usage: Option<Usage>,
    /// Whether anything came that an answer consists of.
    meaningful: bool,
    /// The end mark came.
    pub whole: bool,
    pub ended: Option<End>,
}

/// How a stream ended.
pub(super) enum End {
    Whole,
    /// Not whole, and what the caller is told.
    Cut {
        cut: Cut,
        failure: Failure,
    },
}

impl Relay {
    /// Reads up to the commit point, before which a failure is still an HTTP status.
    ///
    /// # Errors
    /// Where no answer begins, and where `check` withholds it.
    pub(super) async fn open(
        call: &Call,
        head: &Parts,
        body: UpstreamBody,
        (limits, bodies): (&Limits, &Arc<BodyBudget>),
        (mut check, witness): (Check, Option<Witness>),
    ) -> Result<Self, NoAnswer> {
        check.head(&head.headers).map_err(|failure| NoAnswer::Withheld(failure, None))?;
        let prompt_tokens = headers::prompt_tokens(&head.headers);
        let stamp = Stamp { prompt_tokens, ..call.stamp.clone() };
        let Limits { event_bytes, answer_bytes, .. } = *limits;
        let bounds = StreamBounds { event_bytes, answer_bytes };
        let mut relay = Self {
            body,
            stream: call.lane.clone().stream(&stamp, bounds),
            held: Held::none(bodies),
            target: Arc::clone(&call.target),
            headers: headers::streamed(&head.headers, &call.lane),
            prompt_tokens,
            check,
            witness,
            said: None,
            done: false,
            passed: Passed::default(),
            opening: Some(Opening::new(&call.lane)),
        };
        while !relay.is_committed() {
            std::future::poll_fn(|context| relay.poll_chunk(context)).await;
        }
        relay.opening = None;
        match relay.passed.ended.take() {
            Some(End::Cut { failure, cut: Cut::residency }) => {
                return Err(NoAnswer::Withheld(failure, relay.passed.usage));
            }
            Some(End::Cut { failure, cut: _ }) if !relay.passed.meaningful => {
                // Before another attempt: it may depend on what the proxy knows.
                if let Some((witness, said)) = relay.witness.take().zip(relay.said.take()) {
                    witness.tell(&said).await;
                }
                return Err(NoAnswer::Failed(failure, relay.passed.usage));
            }
            ended => relay.passed.ended = ended,
        }
        match relay.check.delivered() {
            Ok(()) => Ok(relay),
            Err(failure) => Err(NoAnswer::Withheld(failure, relay.passed.usage)),
        }
    }

    fn is_committed(&self) -> bool {
        let Passed { out, meaningful, ended, whole, pieces: _, usage: _ } = &self.passed;
        let full = self.opening.as_ref().is_none_or(|opening| opening.is_full(out.len()));
        *meaningful || *whole || ended.is_some() || full
    }

    /// Ends the caller's stream with `failure`.
    pub(super) fn fail(&mut self, failure: &Failure, out: &mut Vec<u8>) {
        self.stream.fail(failure, out);
    }

    /// Headers of the upstream that go with it.
    pub(super) fn take_headers(&mut self) -> HeaderMap {
        std::mem::take(&mut self.headers)
    }

    pub(super) fn prompt_tokens(&self) -> Option<u64> {
        self.prompt_tokens
    }

    /// The end, where the time is up.
    pub(super) fn overdue(&mut self, total: Duration) -> Passed {
        let mut passed = std::mem::take(&mut self.passed);
        let failure = failure::overdue(&self.target.canonical, total);
        let cut = End::Cut { cut: Cut::overdue, failure };
        passed.ended = passed.ended.or(Some(if self.done { End::Whole } else { cut }));
        passed
    }

    /// What has come since, once something has come. What arrived together goes on together; nothing waits for what has
    /// not arrived.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Passed> {
        while self.passed.ended.is_none() && self.passed.out.len() < TOGETHER_BYTES {
            if self.poll_chunk(context).is_pending() {
                if self.passed.out.is_empty() {
                    return Poll::Pending;
                }
                break;
            }
        }
        self.tell();
        Poll::Ready(std::mem::take(&mut self.passed))
    }

    fn tell(&mut self) {
        if let Some(said) = self.said.take()
            && let Some(witness) = self.witness.take()
        {
            witness.tell_soon(said);
        }
    }

    /// Reads one chunk of the upstream's into `passed`.
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match frame {
            // The caller has everything.
            Some(Err(_)) | None if self.done => self.passed.ended = Some(End::Whole),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    if let Some(opening) = &mut self.opening {
                        opening.count(&data);
                    }
                    let before = self.passed.out.len();
                    let observed = self.stream.push(&data, &mut self.passed.out);
                    match self.check.said(observed.place.as_ref()) {
                        Ok(()) => {
                            self.observe(observed);
                            self.count_kept();
                        }
                        Err(failure) => {
                            self.passed.out.truncate(before);
                            self.passed.usage = observed.usage.or(self.passed.usage);
                            self.passed.ended = Some(End::Cut { cut: Cut::residency, failure });
                        }
                    }
                }
            }
            Some(Err(BodyError::Idle(time))) => {
                let failure = failure::silent(&self.target.canonical, time);
                self.passed.ended = Some(End::Cut { cut: Cut::idle, failure });
            }
            ended @ (Some(Err(BodyError::Broken(_) | BodyError::Leaking)) | None) => {
                let observed = self.stream.finish(&mut self.passed.out);
                self.observe(observed);
                // A connection that breaks, the proxy sees itself.
                if ended.is_some() {
                    self.said = None;
                }
            }
        }
        Poll::Ready(())
    }

    fn count_kept(&mut self) {
        let more = self.stream.kept().saturating_sub(self.held.bytes());
        if more > UNCOUNTED_BYTES
            && let Err(failure) = self.held.more(more)
        {
            self.passed.ended.get_or_insert(End::Cut { cut: Cut::memory, failure });
        }
    }

    fn observe(&mut self, observed: Observed) {
        let Observed { meaningful, pieces, usage, place: _, ended } = observed;
        self.passed.meaningful |= meaningful;
        self.passed.pieces += pieces;
        self.passed.usage = usage.or(self.passed.usage);
        match ended {
            None => {}
            Some(Ended::Whole) if !self.done => {
                (self.done, self.passed.whole) = (true, true);
                self.body.set_idle(CLOSE);
            }
            Some(Ended::Whole) => {}
            Some(Ended::Failed(failure)) => {
                self.said = Some(failure.clone());
                self.passed.ended = Some(self.cut(failure));
            }
        }
    }

    fn cut(&self, failure: Failure) -> End {
        let canonical = &self.target.canonical;
        let cut = match failure.class {
            FailureClass::TruncatedStream => Cut::upstream,
            _ => Cut::upstream_error,
        };
        let failure = match failure.class {
            FailureClass::TruncatedStream => {
                failure::truncated(format!("The stream of `{canonical}` broke off."))
            }
            _ => label::in_stream(&self.target, failure),
        };
        End::Cut { cut, failure }
    }
}
