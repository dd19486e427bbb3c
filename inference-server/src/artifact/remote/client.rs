//! One HTTP exchange: what gives access goes to the source's own server alone, redirects are followed with care.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, LOCATION, PROXY_AUTHORIZATION, RETRY_AFTER, USER_AGENT, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::RootCertStore;
use url::Url;

use super::super::origin::registry::{self, Challenge};
use super::super::origin::{Access, Kind, Origin};
use super::super::request::Network;
use super::proxy::{Connector, Proxies};
use super::retry::{self, Clock};
use super::{FetchError, redirect};

const AGENT: HeaderValue = HeaderValue::from_static(concat!("weighbridge/", env!("CARGO_PKG_VERSION")));

/// Bytes of an answer that hands out a token: real ones have a few thousand.
const MOST_TOKEN: usize = 1 << 20;

/// A connection pool to one server and the storage that it points to.
pub(super) struct RemoteClient {
    client: Client<HttpsConnector<Connector>, Empty<Bytes>>,
    proxies: Proxies,
    kind: Kind,
    /// What the server itself is shown.
    access: Access,
    home: Url,
    stall: Duration,
    clock: Arc<dyn Clock>,
}

/// When the redirects of an answer are followed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Follow {
    /// Everywhere that is allowed.
    Anywhere,
    /// While the target is the server itself; the first redirect away from it is the answer.
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

impl RemoteClient {
    pub(super) fn new(
        origin: &Origin,
        network: &Network,
        stall: Duration,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, FetchError> {
        let Network { authorities, proxies } = network;
        let (kind, access, home) = (origin.kind, origin.access.clone(), origin.home.clone());
        if home.scheme() == "http" && access.is_secret() {
            tracing::warn!(endpoint = %home, "the token is sent without TLS: use an https endpoint");
        }
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        roots.roots.extend(authorities.iter().flat_map(|own| own.roots.iter().cloned()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| transport(&home, error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(stall));
        // HTTP/1 only: parallel ranges are there to have parallel connections.
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Connector::new(tcp, proxies.clone()));
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, proxies: proxies.clone(), kind, access, home, stall, clock: Arc::clone(clock) })
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
            let mut response = self.hop(method.clone(), &url, headers).await?;
            if let Some(challenge) = self.challenge(&url, &response) {
                self.log_in(challenge).await?;
                response = self.hop(method.clone(), &url, headers).await?;
            }
            self.same_region(&url, &response)?;
            let status = response.status();
            let redirected = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
            if redirected {
                let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
                let next = redirect::target(&url, location)?;
                if follow == Follow::Anywhere || redirect::same_origin(&next, &self.home) {
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
        let mut headers = headers.clone();
        if self.is_home(url) {
            let mut shown = Request::new(());
            *shown.method_mut() = method.clone();
            *shown.uri_mut() = url.as_str().parse().map_err(|error| transport(url, error))?;
            *shown.headers_mut() = headers;
            self.access.show(&mut shown, self.clock.now())?;
            headers = shown.into_parts().0.headers;
        }
        self.request(method, url, &headers).await
    }

    /// One request with `headers` and what all have.
    async fn request(
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
        if let Some(authorization) = self.proxies.authorization(url) {
            request.headers_mut().insert(PROXY_AUTHORIZATION, authorization);
        }
        match tokio::time::timeout(self.stall, self.client.request(request)).await {
            Ok(response) => response.map_err(|error| transport(url, error)),
            Err(_) => Err(FetchError::Stalled { host: host(url), after: self.stall }),
        }
    }

    /// What a registry wants before it answers, where it says so.
    fn challenge(&self, url: &Url, response: &Response<Incoming>) -> Option<Challenge> {
        let is_asked = response.status() == StatusCode::UNAUTHORIZED && self.is_home(url);
        if !is_asked || !matches!(self.access, Access::Registry(_)) {
            return None;
        }
        let header = response.headers().get(WWW_AUTHENTICATE)?.to_str().ok()?;
        Challenge::read(header, &self.home)
    }

    async fn log_in(&self, challenge: Challenge) -> Result<(), FetchError> {
        let Access::Registry(login) = &self.access else { return Ok(()) };
        let url = match challenge {
            Challenge::Basic => {
                login.password().into_iter().for_each(|password| login.take(password.clone()));
                return Ok(());
            }
            Challenge::Token(url) => url,
        };
        let mut headers = HeaderMap::new();
        headers.extend(login.password().map(|password| (AUTHORIZATION, password.clone())));
        let response = self.request(Method::GET, &url, &headers).await?;
        let (parts, body) = response.into_parts();
        let mut answer =
            Answer { url, status: parts.status, headers: parts.headers, body, stall: self.stall };
        if !answer.status.is_success() {
            return Err(self.refusal(&answer, ""));
        }
        let text = answer.whole(MOST_TOKEN).await?;
        let shown = registry::handed_out(&text).ok_or_else(|| FetchError::Protocol {
            host: answer.host(),
            what: "its answer holds no token".to_owned(),
        })?;
        login.take(shown);
        Ok(())
    }

    /// S3 says where a bucket is that is asked for elsewhere, and nothing else of use.
    fn same_region(&self, url: &Url, response: &Response<Incoming>) -> Result<(), FetchError> {
        if self.kind != Kind::S3 || response.status().is_success() || !self.is_home(url) {
            return Ok(());
        }
        let region = response.headers().get("x-amz-bucket-region").and_then(|value| value.to_str().ok());
        match region {
            Some(region) if self.access.region().is_some_and(|own| own != region) => {
                Err(FetchError::OtherRegion(region.to_owned()))
            }
            Some(region) if response.status().is_redirection() => {
                Err(FetchError::OtherRegion(region.to_owned()))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether `url` is at the server itself, not at storage that it points to.
    pub(super) fn is_home(&self, url: &Url) -> bool {
        redirect::same_origin(url, &self.home)
    }

    /// The error that a refusing answer means.
    pub(super) fn refusal(&self, answer: &Answer, revision: &str) -> FetchError {
        let code = answer.header("x-error-code").unwrap_or_default();
        match answer.status.as_u16() {
            401 if self.access.is_something() => FetchError::Refused(self.kind),
            401 => FetchError::Unnamed(self.kind),
            403 => FetchError::Forbidden(self.kind),
            404 if code == "RevisionNotFound" => FetchError::NoSuchRevision(revision.to_owned()),
            404 => FetchError::NoSuchFile(self.kind),
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

    /// What tells this content from another: the entity tag, or the time of its last change where there is none.
    pub(super) fn identity(&self) -> Option<&str> {
        self.header("etag").or_else(|| self.header("last-modified"))
    }

    /// All of it, of at most `most` bytes.
    pub(super) async fn whole(&mut self, most: usize) -> Result<Vec<u8>, FetchError> {
        let mut whole = Vec::new();
        while let Some(data) = self.next().await? {
            if whole.len() + data.len() > most {
                let what = format!("an answer of more than {most} bytes");
                return Err(FetchError::Protocol { host: self.host(), what });
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole)
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
    let (host, source) = (host(url), Box::new(source));
    match untrusted(source.as_ref()) {
        Some(why) => FetchError::Untrusted { host, why },
        None => FetchError::Transport { host, source },
    }
}

/// What is wrong with the server's certificate, somewhere below `error`.
fn untrusted(error: &(dyn Error + 'static)) -> Option<String> {
    // An error inside one of the system's is none of its sources.
    if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        return untrusted(inner);
    }
    match error.downcast_ref::<rustls::Error>() {
        Some(rustls::Error::InvalidCertificate(problem)) => Some(problem.to_string()),
        Some(_) | None => untrusted(error.source()?),
    }
}

/// The host alone: a storage address carries its signature in the query.
fn host(url: &Url) -> String {
    url.host_str().unwrap_or("the server").to_owned()
}
