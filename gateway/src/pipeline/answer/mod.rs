//! Answer: what the upstream sent, as the caller is to see it.
//!
//! An answer is one only from the commit point on: a whole body that can be read, or the first event of a stream that
//! means something. Until then nothing has gone to the caller, so that another attempt stays unseen. Bytes are moved
//! and bounds kept here; what they mean is [`weighbridge_wire::lane`]'s affair.

mod opening;
mod refused;
mod relay;
mod stream;
mod whole;

use http::{Response, StatusCode};
use http_body_util::BodyExt;
use weighbridge_wire::canonical::{Failure, FailureClass, Usage};

use self::refused::Refused;
use self::relay::Relay;
pub(super) use self::stream::Pace;
use self::stream::StreamBody;
use self::whole::Whole;
use super::Pipeline;
use super::admit::Call;
use super::headers;
use super::record::Record;
use super::reports::Witness;
use super::residency::Check;
use super::route::NoPlace;
use crate::failure;
use crate::forward::UpstreamBody;
use crate::server::{Body, json_response};

/// An answer that may be delivered.
pub(super) enum Answer {
    Whole(Box<Whole>),
    Stream(Box<Relay>),
}

/// An attempt that gave no answer.
pub(super) enum NoAnswer {
    /// The upstream's error, which passes as it is if no other attempt does better: an engine is ours.
    Refused(Box<Refused>),
    /// Why, in words for the caller, and what it used all the same.
    Failed(Failure, Option<Usage>),
    /// The same, where no other attempt would do better whatever the class says: what is between us and a provider.
    Settled(Failure),
    /// An answer that must not be delivered, and what it used.
    Withheld(Failure, Option<Usage>),
    /// None was asked for: another upstream answers by now, for which the request must be made anew.
    Changed(Failure),
}

impl NoAnswer {
    /// What it comes to.
    pub(super) fn failure(&self) -> &Failure {
        match self {
            Self::Refused(refused) => &refused.failure,
            Self::Failed(failure, _)
            | Self::Settled(failure)
            | Self::Withheld(failure, _)
            | Self::Changed(failure) => failure,
        }
    }

    /// What the upstream says it used.
    pub(super) fn usage(&self) -> Option<Usage> {
        match self {
            Self::Failed(_, usage) | Self::Withheld(_, usage) => *usage,
            Self::Refused(_) | Self::Settled(_) | Self::Changed(_) => None,
        }
    }

    /// Whether the upstream has read the prompt, for all that is known: it answered, or was at it.
    pub(super) fn has_read(&self) -> bool {
        match self {
            Self::Failed(failure, _) => {
                matches!(failure.class, FailureClass::Timeout | FailureClass::TruncatedStream)
            }
            Self::Withheld(..) => true,
            Self::Refused(_) | Self::Settled(_) | Self::Changed(_) => false,
        }
    }
}

impl From<NoPlace> for NoAnswer {
    fn from(none: NoPlace) -> Self {
        match none {
            NoPlace::Refused(failure) => failure.into(),
            NoPlace::Changed(failure) => Self::Changed(failure),
        }
    }
}

impl From<Failure> for NoAnswer {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure, None)
    }
}

impl Pipeline {
    /// Reads `upstream` up to the commit point. Nothing that `check` withholds goes beyond it, and `witness` tells of what
    /// comes in place of an answer.
    pub(super) async fn commit(
        &self,
        call: &Call,
        upstream: Response<UpstreamBody>,
        mut check: Check,
        witness: Option<Witness>,
    ) -> Result<Answer, NoAnswer> {
        let (head, body) = upstream.into_parts();
        let invalid = |what: &str| invalid(&call.target.canonical, what);
        if head.status.is_redirection() || head.status.is_informational() {
            return Err(invalid("answered with a redirect, which is not followed").into());
        }
        if head.headers.contains_key(http::header::CONTENT_ENCODING) {
            return Err(invalid("sent a compressed answer, which was not asked for").into());
        }
        if !head.status.is_success() {
            let refused = refused::read(call, &head, body, (&self.bodies, self.timeouts.error_body)).await;
            check.refused(refused.failure());
            return Err(refused);
        }
        if head.status == StatusCode::OK
            && call.lane.streams()
            && headers::is_stream(&head.headers, &call.lane)
        {
            let bounds = (&self.limits, &self.bodies);
            let relay = Relay::open(call, &head, body, bounds, (check, witness)).await?;
            return Ok(Answer::Stream(Box::new(relay)));
        }
        let bounds = (&self.limits, &self.bodies);
        Ok(Answer::Whole(Box::new(whole::read(call, &head, body, bounds, (check, witness)).await?)))
    }
}

/// The upstream's answer can't be used.
fn invalid(canonical: &str, what: &str) -> Failure {
    failure::upstream("upstream_invalid_response", format!("`{canonical}` {what}."))
}

impl Answer {
    /// The response; `record` settles when its body is done.
    pub(super) fn deliver(self, call: &Call, pace: Pace, mut record: Record) -> Response<Body> {
        match self {
            Self::Whole(whole) => {
                let Whole { status, headers, body, usage, mut dropped } = *whole;
                record.whole(status.as_u16(), usage);
                dropped.splice(0..0, call.dropped.iter().cloned());
                let mut response = json_response(status, body);
                response.headers_mut().extend(headers);
                headers::name(response.headers_mut(), &call.target, record.endpoint_name(), &dropped);
                headers::held(response.headers_mut(), record.time_held());
                response
            }
            Self::Stream(mut relay) => {
                record.stream_began(relay.prompt_tokens());
                let mut headers = relay.take_headers();
                headers::name(&mut headers, &call.target, record.endpoint_name(), &call.dropped);
                headers::held(&mut headers, record.time_held());
                headers::unbuffered(&mut headers);
                let mut response =
                    Response::new(StreamBody::new(relay, call.lane.door(), pace, record).boxed_unsync());
                *response.headers_mut() = headers;
                response
            }
        }
    }
}
