//! One HTTP exchange with a hub: the token goes to the hub alone, redirects are followed with care.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, LOCATION, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use url::Url;

use super::super::request::{InvalidToken, Token};
use super::retry::{self, Clock};
use super::{FetchError, redirect};

const AGENT: HeaderValue = HeaderValue::from_static(concat!("weighbridge/", env!("CARGO_PKG_VERSION")));

/// A connection pool to one hub and its storage.
pub(super) struct HubClient {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    authorization: Option<HeaderValue>,
    endpoint: Url,
    stall: Duration,
    clock: Arc<dyn Clock>,
}

/// When the redirects of an answer are followed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Follow {
    /// Everywhere that is allowed.
    Anywhere,
    /// While the target is the hub itself; the first redirect away from it is the answer.
    SameOrigin,
}

/// An answer and where it came from.
pub(super) struct Answer {
    pub url: Url,
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Incoming,
    stall: Duration,
}

impl HubClient {
    pub(super) fn new(
        token: Option<&Token>,
        endpoint: &Url,
        stall: Duration,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, FetchError> {
        let authorization = token.map(|token| HeaderValue::from_str(&token.bearer())).transpose();
        let mut authorization = authorization.map_err(|_| FetchError::Token(InvalidToken))?;
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
            if endpoint.scheme() == "http" {
                tracing::warn!(%endpoint, "the hub token is sent without TLS: use an https endpoint");
            }
        }
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(stall));
        // HTTP/1 only: parallel ranges are there to have parallel connections.
        let tls = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
            .map_err(|error| transport(endpoint, error))?
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new()).build(tls);
        Ok(Self { client, authorization, endpoint: endpoint.clone(), stall, clock: Arc::clone(clock) })
    }

    /// Sends one request, redirects followed. Any status but a followed redirect is an answer.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: &HeaderMap,
        follow: Follow,
    ) -> Result<Answer, FetchError> {
        let mut url = url.clone();
        for _ in 0..=redirect::MAX_REDIRECTS {
            let response = self.hop(method.clone(), &url, headers).await?;
            let status = response.status();
            let redirected = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
            if redirected {
                let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
                let next = redirect::target(&url, location)?;
                if follow == Follow::Anywhere || redirect::same_origin(&next, &self.endpoint) {
                    url = next;
                    continue;
                }
            }
            let (parts, body) = response.into_parts();
            return Ok(Answer { url, status, headers: parts.headers, body, stall: self.stall });
        }
        Err(FetchError::TooManyRedirects(redirect::MAX_REDIRECTS))
    }

    async fn hop(
        &self,
        method: Method,
        url: &Url,
        headers: &HeaderMap,
    ) -> Result<Response<Incoming>, FetchError> {
        let mut request = Request::new(Empty::new());
        *request.method_mut() = method;
        *request.uri_mut() = url.as_str().parse().map_err(|error| transport(url, error))?;
        request.headers_mut().extend(headers.clone());
        request.headers_mut().insert(USER_AGENT, AGENT);
        // Lengths and ranges must speak of the file, not of a compressed form of it.
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(authorization) = &self.authorization
            && redirect::same_origin(url, &self.endpoint)
        {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        match tokio::time::timeout(self.stall, self.client.request(request)).await {
            Ok(response) => response.map_err(|error| transport(url, error)),
            Err(_) => Err(FetchError::Stalled { host: host(url), after: self.stall }),
        }
    }

    /// Whether `url` is at the hub itself, not at storage that it points to.
    pub(super) fn is_hub(&self, url: &Url) -> bool {
        redirect::same_origin(url, &self.endpoint)
    }

    /// The error that a refusing answer means.
    pub(super) fn refusal(&self, answer: &Answer, revision: &str) -> FetchError {
        let code = answer.header("x-error-code").unwrap_or_default();
        match answer.status.as_u16() {
            401 if self.authorization.is_some() => FetchError::TokenRefused,
            401 => FetchError::TokenMissing,
            403 => FetchError::Forbidden,
            404 if code == "RevisionNotFound" => FetchError::NoSuchRevision(revision.to_owned()),
            404 => FetchError::NoSuchFile,
            status => {
                let asked = answer.header(RETRY_AFTER.as_str());
                let retry_after = asked.and_then(|asked| retry::retry_after(asked, self.clock.now()));
                FetchError::Status { status, retry_after }
            }
        }
    }
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(super) fn host(&self) -> String {
        host(&self.url)
    }

    /// The next bytes; `None` at the end of the answer.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            let frame = match tokio::time::timeout(self.stall, self.body.frame()).await {
                Ok(Some(frame)) => frame.map_err(|error| transport(&self.url, error))?,
                Ok(None) => return Ok(None),
                Err(_) => return Err(FetchError::Stalled { host: self.host(), after: self.stall }),
            };
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
    }
}

fn transport(url: &Url, source: impl Error + Send + Sync + 'static) -> FetchError {
    FetchError::Transport { host: host(url), source: Box::new(source) }
}

/// The host alone: a storage address carries its signature in the query.
fn host(url: &Url) -> String {
    url.host_str().unwrap_or("the server").to_owned()
}
