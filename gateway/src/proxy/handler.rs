//! One request through the proxy: key after key, until the provider takes one or the attempts are used up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{HeaderValue, USER_AGENT};
use http::uri::{PathAndQuery, Uri};
use http::{HeaderMap, Method, Request, Response};
use hyper::body::Incoming;
use weighbridge_wire::canonical::FailureClass;
use weighbridge_wire::provider::{Kind, Verdict};

use super::answer::{self, Said};
use super::config::Base;
use super::connector::{ProviderConnector, provider_connector};
use super::failure::{self, Failed};
use super::keys::{Chosen, Keys, NoKey, ShowError, Shown, TokenError, resting};
use super::metrics::ProxyMetrics;
use super::passing::Counted;
use super::{ProxyConfig, ProxyConfigError};
use crate::forward::{
    ATTEMPTS, ATTEMPTS_USED, COMMON_REQUEST_HEADERS, Pieces, Upstream, UpstreamBody, asked_wait, chain,
    copy_allowed,
};
use crate::server::{Body, BodyBudget, Handler, RequestSlots, ServerMetrics, receive};
use crate::{Limits, Timeouts};

const AGENT: HeaderValue = HeaderValue::from_static(concat!("weighbridge/", env!("CARGO_PKG_VERSION")));
/// Attempts where the gateway does not say: past three keys that are refused or limited, the fault is hardly theirs.
const DEFAULT_ATTEMPTS: u32 = 3;
/// As many as there may be keys.
const MAX_ATTEMPTS: u32 = 16;

/// The proxy of one provider.
pub(super) struct Proxy {
    provider: String,
    kind: Kind,
    base: Base,
    keys: Arc<Keys>,
    upstream: Upstream<ProviderConnector>,
    limits: Limits,
    timeouts: Timeouts,
    slots: RequestSlots,
    bodies: Arc<BodyBudget>,
    metrics: ProxyMetrics,
}

/// A request but for its key.
struct Outgoing {
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

/// What came of one attempt.
enum Outcome {
    Answer(Response<UpstreamBody>),
    /// An error that has nothing to do with the key.
    Error(Said),
    /// The provider does not take the key.
    Refused(u16),
    /// The provider does not let the key do this.
    Denied(Said),
    /// The provider does not take the key now.
    Limited(Said),
}

enum Reply {
    Answer(Response<UpstreamBody>),
    Error(Response<Body>),
}

impl Proxy {
    pub(super) fn new(
        config: &ProxyConfig,
        keys: Arc<Keys>,
        metrics: ProxyMetrics,
        server: ServerMetrics,
    ) -> Result<Self, ProxyConfigError> {
        Ok(Self {
            provider: config.provider.clone(),
            kind: config.kind,
            base: Base::new(config)?,
            keys,
            upstream: Upstream::new(provider_connector(config)?, &config.timeouts),
            limits: config.limits.clone(),
            timeouts: config.timeouts.clone(),
            slots: RequestSlots::new(config.limits.requests, server.requests_full),
            bodies: BodyBudget::new(config.limits.buffered_bytes, server.bodies_full),
            metrics,
        })
    }

    async fn pass(&self, path: &str, request: Request<Incoming>, counted: Counted) -> Response<Body> {
        let mut used = 0;
        let mut response = match self.exchange(path, request, &mut used).await {
            Ok(Reply::Answer(response)) => counted.follow(response),
            Ok(Reply::Error(response)) => {
                counted.end(response.status().as_u16());
                response
            }
            Err(failed) => {
                counted.end(failed.error.status);
                failed.response()
            }
        };
        response.headers_mut().insert(ATTEMPTS_USED, HeaderValue::from(used));
        response
    }

    async fn exchange(
        &self,
        path: &str,
        request: Request<Incoming>,
        used: &mut u32,
    ) -> Result<Reply, Failed> {
        let (head, body) = request.into_parts();
        let received =
            receive(body, self.limits.body_bytes, self.timeouts.request_body, &self.bodies).await?;
        let outgoing = self.outgoing(path, &head.headers, received.bytes.clone())?;
        let most = attempts(&head.headers);
        let mut tried: Vec<Chosen> = Vec::new();
        let (mut limited, mut denied) = (None, None);
        loop {
            let chosen = match (self.keys.choose(&tried), denied) {
                (Ok(chosen), still) => {
                    denied = still;
                    chosen
                }
                (Err(_), Some(said)) if limited.is_none() => return self.pass_on(said, None, &tried),
                (Err(why), _) => return self.out_of_keys(why, limited, &tried),
            };
            *used += 1;
            let outcome = self.attempt(&outgoing, &chosen).await?;
            tried.push(chosen);
            let Some(chosen) = tried.last() else { continue };
            let refused = match outcome {
                Outcome::Answer(response) => return Ok(Reply::Answer(response)),
                Outcome::Error(said) => return self.pass_on(said, None, &tried),
                Outcome::Refused(status) => {
                    self.keys.retire(chosen);
                    Some(status)
                }
                Outcome::Denied(said) => {
                    denied = Some(said);
                    None
                }
                Outcome::Limited(said) => {
                    self.keys.rest(chosen, resting(asked_wait(said.status, &said.headers)));
                    limited = Some(said);
                    None
                }
            };
            if *used >= most {
                return match (limited, denied, refused, self.keys.wait()) {
                    (Some(said), _, _, wait) => self.pass_on(said, wait, &tried),
                    (None, Some(said), _, _) => self.pass_on(said, None, &tried),
                    (None, None, Some(status), Some(_)) => Err(failure::rejected(&self.provider, status)),
                    (None, None, _, _) => Err(failure::no_key(&self.provider, NoKey::Retired)),
                };
            }
        }
    }

    async fn attempt(&self, outgoing: &Outgoing, chosen: &Chosen) -> Result<Outcome, Failed> {
        match self.send(outgoing, chosen).await? {
            // Nothing was done yet, and the key itself may be good.
            (Outcome::Refused(401), Some(shown)) if chosen.key.forget(&shown) => {
                Ok(self.send(outgoing, chosen).await?.0)
            }
            (outcome, _) => Ok(outcome),
        }
    }

    /// What came of sending it once, and what of the key it showed.
    async fn send(&self, outgoing: &Outgoing, chosen: &Chosen) -> Result<(Outcome, Option<Shown>), Failed> {
        let profile = self.kind.profile();
        let mut request = Request::new(Pieces::from(outgoing.body.clone()));
        *request.method_mut() = Method::POST;
        request.uri_mut().clone_from(&outgoing.uri);
        request.headers_mut().clone_from(&outgoing.headers);
        let shown = match chosen.key.show(&mut request, &outgoing.body, &self.upstream).await {
            Ok(shown) => shown,
            Err(error) => {
                tracing::warn!(error = chain(&error), key = chosen.index, "a key can't be shown");
                if let ShowError::Token(TokenError::Refused { status, said: _ }) = error {
                    return Ok((Outcome::Refused(status), None));
                }
                return Err(failure::unshown(&self.provider, &error));
            }
        };

        let sent = Instant::now();
        let response = self.upstream.send(request).await.map_err(|error| {
            let failed = failure::unanswered(&self.provider, &error);
            let error = self.keys.redactor(std::slice::from_ref(chosen)).redact_text(&chain(&error));
            tracing::warn!(%error, answer = failed.error.body.error.message, "the provider did not answer");
            failed
        })?;
        self.metrics.first_byte.observe(sent.elapsed().as_secs_f64());
        if !response.status().is_success() {
            let status = response.status().as_u16();
            tracing::warn!(status, key = chosen.index, "the provider answered with an error");
            let said = Said::read(profile, response).await;
            let header = |name: &str| said.headers.get(name)?.to_str().ok();
            let outcome = match self.kind.verdict(status, header) {
                Verdict::Refused => Outcome::Refused(status),
                Verdict::Denied => Outcome::Denied(said),
                Verdict::Limited => Outcome::Limited(said),
                Verdict::Nothing => Outcome::Error(said),
            };
            return Ok((outcome, Some(shown)));
        }
        if let Some(what) = answer::is_none(response.headers()) {
            tracing::warn!(what, "the provider's answer is none");
            return Err(failure::no_answer(&self.provider, what));
        }
        let (mut head, body) = response.into_parts();
        head.headers = answer::allowed(profile, &head.headers);
        // The provider's protocol version is not ours to repeat.
        head.version = http::Version::default();
        Ok((Outcome::Answer(Response::from_parts(head, body)), Some(shown)))
    }

    /// What the provider said of a key that it limits tells more than our own words.
    fn out_of_keys(&self, why: NoKey, limited: Option<Said>, tried: &[Chosen]) -> Result<Reply, Failed> {
        match (why, limited) {
            (NoKey::Resting(wait), Some(said)) => self.pass_on(said, Some(wait), tried),
            (NoKey::Missing(_) | NoKey::Retired | NoKey::Resting(_), _) => {
                let failed = failure::no_key(&self.provider, why);
                if failed.class == FailureClass::Credential {
                    tracing::warn!(answer = failed.error.body.error.message, "a request was refused");
                }
                Err(failed)
            }
        }
    }

    fn pass_on(&self, said: Said, wait: Option<Duration>, tried: &[Chosen]) -> Result<Reply, Failed> {
        said.pass(&self.provider, &self.keys.redactor(tried), wait).map(Reply::Error)
    }

    fn outgoing(&self, path: &str, from: &HeaderMap, body: Bytes) -> Result<Outgoing, Failed> {
        let profile = self.kind.profile();
        let mut headers = HeaderMap::new();
        copy_allowed(from, &mut headers, COMMON_REQUEST_HEADERS);
        copy_allowed(from, &mut headers, profile.request_headers);
        for (name, value) in profile.default_headers {
            headers.entry(*name).or_insert(HeaderValue::from_static(value));
        }
        for (name, value) in profile.fixed_headers {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        headers.insert(USER_AGENT, AGENT);
        Ok(Outgoing { uri: self.uri(path)?, headers, body })
    }

    fn uri(&self, path: &str) -> Result<Uri, Failed> {
        let refused = || Failed::unsent("the provider's base URL takes no path");
        let path = PathAndQuery::try_from(format!("{}{path}", self.base.path)).map_err(|_| refused())?;
        Uri::builder()
            .scheme(self.base.scheme.clone())
            .authority(self.base.authority.clone())
            .path_and_query(path)
            .build()
            .map_err(|_| refused())
    }
}

/// How many attempts the gateway leaves to us.
fn attempts(headers: &HeaderMap) -> u32 {
    let told = headers.get(ATTEMPTS).and_then(|value| value.to_str().ok()?.parse().ok());
    told.unwrap_or(DEFAULT_ATTEMPTS).clamp(1, MAX_ATTEMPTS)
}

impl Handler for Proxy {
    async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let (method, path) = (request.method(), request.uri().path());
        let Some(at_provider) = self.kind.forwarded(path, request.uri().query()) else {
            return Failed::from(crate::failure::unknown_url(method.as_str(), path)).response();
        };
        if method != Method::POST {
            return Failed::from(crate::failure::method_not_allowed(method.as_str(), path)).response();
        }
        let slot = match self.slots.take() {
            Ok(slot) => slot,
            Err(error) => return Failed::from(error).response(),
        };
        let counted = Counted::begin(&self.metrics, slot);
        self.pass(&at_provider, request, counted).await
    }
}
