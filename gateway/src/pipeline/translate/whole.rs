//! An answer that is not a stream.

use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_ENCODING;
use http::response::Parts;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use weighbridge_wire::openai::edit::{ResponseView, UsageView};
use weighbridge_wire::openai::{ApiError, ErrorBody};

use super::super::admit::Call;
use super::super::reply;
use crate::Limits;
use crate::forward::UpstreamBody;
use crate::server::BodyError;

/// Bytes of an upstream's error that are read: a message, not a page.
const ERROR_BYTES: usize = 64 << 10;

/// The body as the caller is to see it, and its usage.
///
/// # Errors
/// Where the upstream's answer is none: not JSON, compressed, a redirect, too large, or cut.
pub(super) async fn read(
    head: &Parts,
    body: UpstreamBody,
    call: &Call,
    limits: &Limits,
) -> Result<(Bytes, Option<UsageView>), ApiError> {
    let canonical = &call.target.canonical;
    let invalid =
        |what: &str| ApiError::upstream("upstream_invalid_response", &format!("`{canonical}` {what}."));
    if head.headers.contains_key(CONTENT_ENCODING) {
        return Err(invalid("sent a compressed answer, which was not asked for"));
    }
    if head.status.is_success() {
        if !reply::is_json(&head.headers) {
            return Err(invalid("sent an answer that is not JSON"));
        }
        let bytes = collect(body, limits.answer_bytes, canonical).await?;
        let view =
            ResponseView::parse(&bytes).ok_or_else(|| invalid("sent an answer that is not valid JSON"))?;
        if view.is_error() {
            return Err(invalid("answered 200 with an error inside"));
        }
        let usage = view.usage();
        let renamed = view.rename(&call.requested).map(Bytes::from);
        return Ok((renamed.unwrap_or(bytes), usage));
    }
    if head.status.is_redirection() || head.status.is_informational() {
        return Err(invalid("answered with a redirect, which is not followed"));
    }
    let bytes = collect(body, ERROR_BYTES, canonical).await.ok();
    // Engines and proxies are ours and speak in our shape; anything else is not shown to the caller.
    match bytes {
        Some(bytes) if serde_json::from_slice::<ErrorBody>(&bytes).is_ok() => Ok((bytes, None)),
        _ => Err(invalid(&format!("answered {} with no readable error", status(head.status)))),
    }
}

fn status(status: StatusCode) -> &'static str {
    if status.is_client_error() { "4xx" } else { "5xx" }
}

async fn collect(body: UpstreamBody, limit: usize, canonical: &str) -> Result<Bytes, ApiError> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::upstream(
            "upstream_response_too_large",
            &format!("`{canonical}` sent an answer larger than {limit} bytes."),
        )),
        Err(error) => match error.downcast_ref::<BodyError>() {
            Some(BodyError::Idle(time)) => Err(ApiError::upstream_timeout(&format!(
                "`{canonical}` sent nothing for {} s.",
                time.as_secs()
            ))),
            _ => Err(ApiError::upstream(
                "upstream_broken",
                &format!("The answer of `{canonical}` was cut off."),
            )),
        },
    }
}
