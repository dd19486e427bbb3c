//! One request through the proxy.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderValue, USER_AGENT};
use http::uri::{PathAndQuery, Uri};
use http::{Method, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use weighbridge_wire::openai::ApiError;

use super::config::Base;
use super::connector::{ProviderConnector, provider_connector};
use super::failure;
use super::key::KeyFile;
use super::metrics::ProxyMetrics;
use super::{ProxyConfig, ProxyConfigError};
use crate::forward::{Pieces, REQUEST_HEADERS, RESPONSE_HEADERS, Upstream, UpstreamBody, copy_allowed};
use crate::server::{
    Body, BodyBudget, BodyError, Handler, RequestSlot, RequestSlots, ServerMetrics, error_response, receive,
};
use crate::{Limits, Timeouts};

/// Paths that are forwarded, as a caller and as the provider writes them. Nothing else leaves the cluster.
const PATHS: [(&str, &str); 4] = [
    ("/v1/chat/completions", "/chat/completions"),
    ("/v1/completions", "/completions"),
    ("/v1/embeddings", "/embeddings"),
    ("/v1/rerank", "/rerank"),
];
const AGENT: HeaderValue = HeaderValue::from_static(concat!("weighbridge/", env!("CARGO_PKG_VERSION")));
/// Status of a request whose caller left.
const CALLER_LEFT: u16 = 499;

/// The proxy of one provider.
pub(super) struct Proxy {
    provider: String,
    base: Base,
    key: Arc<KeyFile>,
    upstream: Upstream<ProviderConnector>,
    limits: Limits,
    timeouts: Timeouts,
    slots: RequestSlots,
    bodies: Arc<BodyBudget>,
    metrics: ProxyMetrics,
}

impl Proxy {
    pub(super) fn new(
        config: &ProxyConfig,
        key: Arc<KeyFile>,
        metrics: ProxyMetrics,
        server: ServerMetrics,
    ) -> Result<Self, ProxyConfigError> {
        Ok(Self {
            provider: config.provider.clone(),
            base: Base::new(config)?,
            key,
            upstream: Upstream::new(provider_connector(config)?, &config.timeouts),
            limits: config.limits.clone(),
            timeouts: config.timeouts.clone(),
            slots: RequestSlots::new(config.limits.requests, server.requests_full),
            bodies: BodyBudget::new(config.limits.buffered_bytes, server.bodies_full),
            metrics,
        })
    }

    async fn pass(&self, path: &str, request: Request<Incoming>, counted: Counted) -> Response<Body> {
        match self.try_pass(path, request).await {
            Ok(Passed::Answer(response)) => {
                let (head, body) = response.into_parts();
                let status = head.status.as_u16();
                let mut body = CountedBody { inner: body, counted, status };
                if body.inner.is_end_stream() {
                    // hyper never polls an empty body.
                    body.counted.code = status;
                }
                Response::from_parts(head, body.boxed_unsync())
            }
            Ok(Passed::Refused(response)) => {
                counted.end(response.status().as_u16());
                response
            }
            Err(error) => {
                counted.end(error.status);
                error_response(&error)
            }
        }
    }

    async fn try_pass(&self, path: &str, request: Request<Incoming>) -> Result<Passed, ApiError> {
        let (head, body) = request.into_parts();
        let received =
            receive(body, self.limits.body_bytes, self.timeouts.request_body, &self.bodies).await?;
        let key = self.key.current().map_err(|error| {
            tracing::warn!(%error, "a request was refused: there is no key");
            failure::no_key(&self.provider, error)
        })?;
        let mut request = Request::new(Pieces::from(received.bytes.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri(path)?;
        copy_allowed(&head.headers, request.headers_mut(), REQUEST_HEADERS);
        request.headers_mut().insert(USER_AGENT, AGENT);
        let bearer = key.bearer().ok_or_else(|| ApiError::internal("the key is no header value"))?;
        request.headers_mut().insert(AUTHORIZATION, bearer);

        let sent = Instant::now();
        let response = self.upstream.send(request).await.map_err(|error| {
            let answer = failure::unanswered(&self.provider, &error);
            let error = key.redact(&crate::forward::chain(&error));
            tracing::warn!(%error, answer = answer.body.error.message, "the provider did not answer");
            answer
        })?;
        self.metrics.first_byte.observe(sent.elapsed().as_secs_f64());
        let (mut head, body) = response.into_parts();
        if !head.status.is_success() {
            tracing::warn!(status = head.status.as_u16(), "the provider answered with an error");
            let (error, hints) =
                failure::answered(&self.provider, &key, head.status, &head.headers, body).await;
            let mut refused = error_response(&error);
            refused.headers_mut().extend(hints);
            return Ok(Passed::Refused(refused));
        }
        let mut headers = http::HeaderMap::new();
        copy_allowed(&head.headers, &mut headers, RESPONSE_HEADERS);
        head.headers = headers;
        // The provider's protocol version is not ours to repeat.
        head.version = http::Version::default();
        Ok(Passed::Answer(Response::from_parts(head, body)))
    }

    fn uri(&self, path: &str) -> Result<Uri, ApiError> {
        let refused = || ApiError::internal("the provider's base URL takes no path");
        let path = PathAndQuery::try_from(format!("{}{path}", self.base.path)).map_err(|_| refused())?;
        Uri::builder()
            .scheme(self.base.scheme.clone())
            .authority(self.base.authority.clone())
            .path_and_query(path)
            .build()
            .map_err(|_| refused())
    }
}

impl Handler for Proxy {
    async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        let Some((_, at_provider)) = PATHS.iter().find(|(ours, _)| *ours == path) else {
            return error_response(&ApiError::unknown_url(request.method().as_str(), path));
        };
        if request.method() != Method::POST {
            return error_response(&ApiError::method_not_allowed(request.method().as_str(), path));
        }
        let slot = match self.slots.take() {
            Ok(slot) => slot,
            Err(error) => return error_response(&error),
        };
        let counted = Counted::begin(&self.metrics, slot);
        self.pass(at_provider, request, counted).await
    }
}

enum Passed {
    Answer(Response<UpstreamBody>),
    Refused(Response<Body>),
}

/// Counts one request when dropped; where nobody said how it ended, the caller left.
struct Counted {
    metrics: ProxyMetrics,
    code: u16,
    _slot: RequestSlot,
}

impl Counted {
    fn begin(metrics: &ProxyMetrics, slot: RequestSlot) -> Self {
        metrics.in_flight.inc();
        Self { metrics: metrics.clone(), code: CALLER_LEFT, _slot: slot }
    }

    fn end(mut self, code: u16) {
        self.code = code;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        self.metrics.count(self.code);
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
