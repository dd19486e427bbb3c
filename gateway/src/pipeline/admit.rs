//! Admit: the body within its bounds, a request that makes sense in its dialect, and a model that the caller may use and
//! that exists.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Request};
use hyper::body::Incoming;
use weighbridge_wire::canonical::{Failure, Took, Unsupported};
use weighbridge_wire::lane::{self, Body, Door, Lane, Stamp};

use super::{Pipeline, headers};
use crate::access::Caller;
use crate::directory::{Target, World};
use crate::failure;
use crate::forward::{Pieces, unix_seconds};
use crate::server::receive;

/// A request as it came. It is kept until an answer begins: where another upstream answers by then, it is made anew from it.
#[derive(Debug)]
pub(super) struct Received {
    caller: Caller,
    headers: HeaderMap,
    unsupported: Unsupported,
    body: Bytes,
}

/// An admitted request.
#[derive(Debug)]
pub(super) struct Call {
    /// The model, as it was when the request was admitted.
    pub target: Arc<Target>,
    /// How the answer comes back.
    pub lane: Lane,
    /// What makes it this answer and no other.
    pub stamp: Stamp,
    /// About how many tokens a provider reads, for the meter where it does not come to say; none of open weights, whose
    /// engine counts.
    pub estimated_input: Option<u64>,
    /// What had to be left out for the upstream's dialect, where the caller allowed it.
    pub dropped: Vec<String>,
    /// What goes upstream.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Pieces,
    /// What of it is in memory, with what it was made from.
    pub bytes: usize,
}

impl Pipeline {
    /// `caller`'s request, with all of its body.
    pub(super) async fn receive(
        &self,
        caller: Caller,
        request: Request<Incoming>,
    ) -> Result<Received, Failure> {
        let (head, body) = request.into_parts();
        let unsupported = unsupported(&head.headers)?;
        let body = receive(body, self.limits.body_bytes, self.timeouts.request_body, &self.bodies).await?;
        Ok(Received { caller, headers: head.headers, unsupported, body })
    }

    /// What `received` is for the upstream that answers for its model now.
    pub(super) fn admit(&self, door: &Door<'_>, received: &Received) -> Result<Call, Failure> {
        let Received { caller, headers, unsupported, body } = received;
        let said = headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let inbound = lane::read(door, body)?.with_headers(said);
        self.permit(caller, inbound.model())?;
        let snapshot = self.directory.snapshot();
        let target = snapshot
            .resolve(inbound.model(), caller.namespace())
            .cloned()
            .ok_or_else(|| snapshot.not_found(inbound.model(), caller.namespace()))?;
        let set = match &target.data_policy {
            Some(policy) => policy.fields(target.speaks.asked(inbound.operation(), inbound.stream())?)?,
            None => Vec::new(),
        };
        let outbound = inbound.outbound(&target.speaks, &target.upstream_model, *unsupported, &set)?;
        let headers = headers::upstream(headers, &outbound.lane);
        let (body, bytes) = match outbound.body {
            Body::Edited(edits) => (Pieces::edited(body, edits), body.len()),
            Body::Written(written) => {
                let bytes = body.len() + written.len();
                (Pieces::from(self.bodies.keep(written.into())?), bytes)
            }
        };
        let estimated_input = (target.world == World::Closed).then(|| inbound.estimated_input_tokens());
        Ok(Call {
            target,
            estimated_input,
            lane: outbound.lane,
            stamp: stamp(),
            path: outbound.path,
            dropped: outbound.dropped,
            headers,
            body,
            bytes,
        })
    }
}

/// A name of its own for each answer, and the time.
fn stamp() -> Stamp {
    let unique = format!("{:032x}", rand::random::<u128>());
    let began = Instant::now();
    Stamp { unique, created: unix_seconds(), took: Took::new(move || began.elapsed()), prompt_tokens: None }
}

/// What the caller wants done with what another dialect can't say.
fn unsupported(headers: &HeaderMap) -> Result<Unsupported, Failure> {
    match headers.get(headers::UNSUPPORTED).map(|value| value.as_bytes()) {
        None | Some(b"refuse") => Ok(Unsupported::Refuse),
        Some(b"drop") => Ok(Unsupported::Drop),
        Some(_) => {
            let name = headers::UNSUPPORTED;
            let name = name.as_str();
            Err(failure::bad_request(Some(name), format!("The header `{name}` is `refuse` or `drop`.")))
        }
    }
}
