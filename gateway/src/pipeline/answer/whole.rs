//! An answer that is not a stream.

use std::sync::Arc;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, StatusCode};
use weighbridge_wire::canonical::Usage;
use weighbridge_wire::lane;

use super::super::admit::Call;
use super::super::headers;
use super::super::reports::Witness;
use super::super::residency::Check;
use super::{NoAnswer, invalid};
use crate::Limits;
use crate::failure;
use crate::forward::UpstreamBody;
use crate::label;
use crate::server::{BodyBudget, BodyError, GatherError, gather};

/// A whole answer as the caller is to see it.
#[derive(Debug)]
pub(in super::super) struct Whole {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub usage: Option<Usage>,
    /// What the caller's dialect can't say.
    pub dropped: Vec<String>,
}

/// Reads an answer with a status of success.
///
/// # Errors
/// Where it is none: not JSON, too large, cut off, or an error under a 200; and where `check` withholds it.
pub(super) async fn read(
    call: &Call,
    head: &Parts,
    body: UpstreamBody,
    (limits, bodies): (&Limits, &Arc<BodyBudget>),
    (mut check, witness): (Check, Option<Witness>),
) -> Result<Whole, NoAnswer> {
    let canonical = &call.target.canonical;
    if !headers::media_type(&head.headers).eq_ignore_ascii_case("application/json") {
        return Err(invalid(canonical, "sent an answer that is not JSON").into());
    }
    let bytes = collect(body, limits.answer_bytes, bodies, canonical).await?;
    let read = match call.lane.whole(&call.stamp, head.status.as_u16(), &bytes) {
        Ok(read) => read,
        Err(failure) => {
            if let Some(witness) = witness {
                witness.tell(&failure).await;
            }
            return Err(label::said(&call.target, failure).into());
        }
    };
    let lane::Whole { body, usage, dropped, place } = read;
    let checked = check.head(&head.headers).and_then(|()| check.said(place.as_ref()));
    checked.and_then(|()| check.delivered()).map_err(|failure| NoAnswer::Withheld(failure, usage))?;
    let headers = if call.lane.translates() { HeaderMap::new() } else { headers::answered(&head.headers) };
    let body = match body {
        None => bytes,
        Some(written) => bodies.keep(written.into()).map_err(NoAnswer::Settled)?,
    };
    Ok(Whole { status: head.status, headers, body, usage, dropped })
}

/// The whole of `body`, at most `limit` bytes.
pub(super) async fn collect(
    mut body: UpstreamBody,
    limit: usize,
    bodies: &Arc<BodyBudget>,
    canonical: &str,
) -> Result<Bytes, NoAnswer> {
    gather(&mut body, limit, bodies).await.map_err(|error| match error {
        GatherError::TooLarge => NoAnswer::from(failure::upstream(
            "upstream_response_too_large",
            format!("`{canonical}` sent an answer larger than {limit} bytes."),
        )),
        // It is we who have no room: another replica's answer would be as large.
        GatherError::Full(failure) => NoAnswer::Settled(failure),
        GatherError::Body(BodyError::Idle(time)) => failure::silent(canonical, time).into(),
        GatherError::Body(BodyError::Broken(_) | BodyError::Leaking) => {
            failure::upstream("upstream_broken", format!("The answer of `{canonical}` was cut off.")).into()
        }
    })
}
