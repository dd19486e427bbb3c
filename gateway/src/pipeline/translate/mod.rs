//! Translate: the upstream's answer as the caller is to see it.
//!
//! Today both ends speak OpenAI's dialect, so only the model's name changes back and the usage chunk goes
//! if the caller did not ask for it. An answer is delivered only once it is known to be one: a whole body
//! that parses, or the first event of a stream.

mod stream;
mod whole;

use std::sync::Arc;

use http::{Response, StatusCode};
use http_body_util::BodyExt;
use weighbridge_wire::openai::ApiError;
use weighbridge_wire::openai::edit::UsageView;

use self::stream::{Relay, StreamBody};
use super::admit::Call;
use super::record::Record;
use super::reply;
use crate::Limits;
use crate::directory::Target;
use crate::forward::UpstreamBody;
use crate::server::{Body, json_response};

/// An answer ready to be delivered.
pub(super) enum Answer {
    Whole { target: Arc<Target>, response: Response<bytes::Bytes>, usage: Option<UsageView> },
    Stream { target: Arc<Target>, response: Response<Box<Relay>>, prompt_tokens: Option<u64> },
}

/// Reads as much of the upstream's answer as it takes to know that it is one.
///
/// # Errors
/// What the caller gets in place of an answer.
pub(super) async fn answer(
    call: Call,
    upstream: Response<UpstreamBody>,
    limits: &Limits,
) -> Result<Answer, ApiError> {
    let target = Arc::clone(&call.target);
    let (mut head, body) = upstream.into_parts();
    let (headers, prompt_tokens) =
        (reply::upstream_headers(&head.headers), reply::prompt_tokens(&head.headers));
    if head.status == StatusCode::OK && reply::is_event_stream(&head.headers) && call.stream {
        let relay = Relay::open(body, call, limits).await?;
        head.headers = headers;
        let response = Response::from_parts(head, Box::new(relay));
        return Ok(Answer::Stream { target, response, prompt_tokens });
    }
    let (bytes, usage) = whole::read(&head, body, &call, limits).await?;
    head.headers = headers;
    Ok(Answer::Whole { target, response: Response::from_parts(head, bytes), usage })
}

impl Answer {
    /// The response; `record` settles when its body is done.
    pub(super) fn deliver(self, mut record: Record) -> Response<Body> {
        match self {
            Self::Whole { target, response, usage } => {
                let (head, bytes) = response.into_parts();
                record.whole(head.status.as_u16(), usage);
                let mut response = json_response(head.status, bytes);
                reply::copy(head.headers, response.headers_mut());
                reply::name(response.headers_mut(), &target, record.endpoint_name());
                response
            }
            Self::Stream { target, response, prompt_tokens } => {
                record.stream_began(prompt_tokens);
                let (head, relay) = response.into_parts();
                let mut headers = head.headers;
                reply::name(&mut headers, &target, record.endpoint_name());
                reply::unbuffered(&mut headers);
                let mut response = Response::new(StreamBody::new(relay, record).boxed_unsync());
                *response.headers_mut() = headers;
                response
            }
        }
    }
}
