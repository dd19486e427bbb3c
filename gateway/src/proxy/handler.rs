//! One request through the proxy: key after key, until the provider takes one or the attempts are used up. What each
//! attempt shows of keys and provider is kept ([`super::keys`], [`super::watch`]).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{HeaderValue, USER_AGENT};
use http::uri::Uri;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use weighbridge_tls::Identity;
use weighbridge_wire::canonical::FailureClass;
use weighbridge_wire::provider::Kind;

use super::answer::{self, Said};
use super::config::Base;
use super::connector::{ProviderConnector, provider_connector};
use super::failure::{self, Failed};
use super::keys::{Chosen, Guard, Keys, NoKey, Rest, ShowError, Shown, TokenError, resting, used_up};
use super::metrics::ProxyMetrics;
use super::passing::Counted;
use super::watch::{Asker, STATE_PATH, Watch};
use super::{ProviderFeed, ProxyConfig, ProxyConfigError};
use crate::forward::{
    ATTEMPTS, ATTEMPTS_USED, COMMON_REQUEST_HEADERS, FAILED_PATH, HOST, KEY, Pieces, RESIDENCY_PATH,
    Upstream, UpstreamBody, chain, copy_allowed,
};
use crate::server::{
    Body, BodyBudget, CalledBy, Handler, RequestSlots, ServerMetrics, Shutdown, json_response, receive,
};
use crate::{Limits, Timeouts};

const AGENT: HeaderValue = HeaderValue::from_static(concat!("weighbridge/", env!("CARGO_PKG_VERSION")));
/// Attempts where the gateway does not say: past three keys that are refused or limited, the fault is hardly theirs.
const DEFAULT_ATTEMPTS: u32 = 3;
/// As many as there may be keys.
const MAX_ATTEMPTS: u32 = 16;

/// The proxy of one provider.
pub(super) struct Proxy {
    provider: String,
    pub(super) kind: Kind,
    base: Base,
    pub(super) keys: Arc<Keys>,
    pub(super) watch: Arc<Watch>,
    upstream: Upstream<ProviderConnector>,
    limits: Limits,
    pub(super) timeouts: Timeouts,
    slots: RequestSlots,
    pub(super) bodies: Arc<BodyBudget>,
    pub(super) metrics: ProxyMetrics,
    feed: ProviderFeed,
    shutdown: Shutdown,
}

/// A request but for its key.
pub(super) struct Outgoing {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

/// What came of one attempt.
pub(super) enum Outcome {
    Answer(Response<UpstreamBody>),
    Error(Said),
}

/// What an error says of the key that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The provider does not know it.
    Refused,
    /// It may not do this; whether it may do anything, a probe shows.
    Forbidden,
    /// Its account is used up, which no waiting mends.
    Exhausted,
    /// Too much is asked for with it now.
    Limited,
}

/// What the provider said of the keys that it did not take. Each may say more than our own words.
#[derive(Default)]
struct Heard {
    limited: Option<Said>,
    forbidden: Option<Said>,
    exhausted: Option<Said>,
    refused: Option<u16>,
}

enum Reply {
    Answer(Response<UpstreamBody>, Guard),
    Error(Response<Body>),
}

impl Proxy {
    pub(super) fn new(
        config: &ProxyConfig,
        keys: Arc<Keys>,
        watch: Arc<Watch>,
        metrics: ProxyMetrics,
        server: ServerMetrics,
        told: (ProviderFeed, Shutdown),
    ) -> Result<Self, ProxyConfigError> {
        let (feed, shutdown) = told;
        Ok(Self {
            provider: config.provider.clone(),
            kind: config.kind,
            base: Base::new(config)?,
            keys,
            watch,
            upstream: Upstream::new(provider_connector(config)?, &config.timeouts),
            limits: config.limits.clone(),
            timeouts: config.timeouts.clone(),
            slots: RequestSlots::new(config.limits.requests, server.requests_full),
            bodies: BodyBudget::new(config.limits.buffered_bytes, server.bodies_full),
            metrics,
            feed,
            shutdown,
        })
    }

    /// How things stand with the provider. Who waits for news is not waited for when the process is to end.
    async fn state(&self, query: Option<&str>) -> Response<Body> {
        tokio::select! {
            state = self.feed.answer(query) => state,
            () = self.shutdown.draining() => json_response(StatusCode::SERVICE_UNAVAILABLE, "{}"),
        }
    }

    async fn pass(&self, path: &str, request: Request<Incoming>, counted: Counted) -> Response<Body> {
        let mut used = 0;
        let mut response = match self.exchange(path, request, &mut used).await {
            Ok(Reply::Answer(response, guard)) => counted.follow(response, guard, Arc::clone(&self.watch)),
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
        self.is_called_where_demanded(&head.headers)?;
        let outgoing = self.outgoing(path, &head.headers, received.clone())?;
        let most = attempts(&head.headers);
        let (mut tried, mut heard) = (Vec::<Chosen>::new(), Heard::default());
        loop {
            let chosen = match self.keys.choose(&tried) {
                Ok(chosen) => chosen,
                Err(why) => return self.out_of_keys(why, heard, &tried),
            };
            *used += 1;
            let sent = Instant::now();
            let outcome = self.attempt(&outgoing, &chosen).await?;
            self.metrics.first_byte.observe(sent.elapsed().as_secs_f64());
            let said = match outcome {
                Outcome::Answer(mut response) => {
                    self.keys.accept(&chosen);
                    let guard = self.keys.guard(&chosen);
                    answer::without_keys(response.headers_mut(), |value| guard.finds(value));
                    response.headers_mut().insert(KEY, chosen.name());
                    return Ok(Reply::Answer(response, guard));
                }
                Outcome::Error(said) => said,
            };
            let fault = fault(said.failure.class);
            self.blame(&chosen, fault, said.wait);
            tried.push(chosen);
            match fault {
                None => return self.pass_on(said, None, &tried),
                Some(Fault::Refused) => heard.refused = Some(said.status.as_u16()),
                Some(Fault::Forbidden) => heard.forbidden = Some(said),
                Some(Fault::Exhausted) => heard.exhausted = Some(said),
                Some(Fault::Limited) => heard.limited = Some(said),
            }
            if *used >= most {
                return self.out_of_attempts(heard, &tried);
            }
        }
    }

    fn is_called_where_demanded(&self, headers: &HeaderMap) -> Result<(), Failed> {
        let Some(demanded) = headers.get(HOST) else { return Ok(()) };
        if demanded.as_bytes().eq_ignore_ascii_case(self.base.authority.host().as_bytes()) {
            return Ok(());
        }
        Err(failure::elsewhere(&self.provider, self.base.authority.host()))
    }

    /// Sends `outgoing` with one key. What it shows of the provider is noted; what it says of the key is the caller's
    /// to judge.
    pub(super) async fn attempt(&self, outgoing: &Outgoing, chosen: &Chosen) -> Result<Outcome, Failed> {
        let outcome = match self.show_and_send(outgoing, chosen).await? {
            // Nothing was done yet, and the key itself may be good.
            (Outcome::Error(said), Some(shown))
                if said.failure.class == FailureClass::Credential && chosen.key.forget(&shown) =>
            {
                self.show_and_send(outgoing, chosen).await?.0
            }
            (outcome, _) => outcome,
        };
        if let Outcome::Error(said) = &outcome {
            let (status, class) = (said.status.as_u16(), said.failure.class.as_str());
            tracing::warn!(status, class, key = chosen.index, "the provider answered with an error");
        }
        Ok(outcome)
    }

    /// What came of sending it once, and what of the key it showed; nothing where the key could not be shown.
    async fn show_and_send(
        &self,
        outgoing: &Outgoing,
        chosen: &Chosen,
    ) -> Result<(Outcome, Option<Shown>), Failed> {
        let sent = std::slice::from_ref(chosen);
        let mut request = outgoing.request();
        let error = match chosen.key.show(&mut request, &outgoing.body, &self.upstream).await {
            Ok(shown) => return Ok((self.send(request, sent).await?, Some(shown))),
            Err(error) => error,
        };
        let redactor = self.keys.redactor(sent);
        tracing::warn!(
            error = redactor.redact_text(&chain(&error)),
            key = chosen.index,
            "a key can't be shown"
        );
        // The host that gives tokens for a key is the first to say whether the provider knows it.
        if let ShowError::Token(TokenError::Refused { status, said }) = &error {
            let said = Said::of_the_key(*status, said.clone());
            self.watch.said(&said.failure, &redactor, asker(&outgoing.method, sent));
            return Ok((Outcome::Error(said), None));
        }
        let failed = failure::unshown(&self.provider, &error);
        if let ShowError::Token(TokenError::Failed(_)) = &error {
            self.watch.unanswered(failed.class, &failed.error.body.error.message);
        }
        Err(failed)
    }

    /// Sends `request`, which holds the keys `sent`.
    pub(super) async fn send(&self, request: Request<Pieces>, sent: &[Chosen]) -> Result<Outcome, Failed> {
        let asker = asker(request.method(), sent);
        let response = self.upstream.send(request).await.map_err(|error| {
            let failed = failure::unanswered(&self.provider, &error);
            let error = self.keys.redactor(sent).redact_text(&chain(&error));
            tracing::warn!(%error, answer = failed.error.body.error.message, "the provider did not answer");
            self.watch.unanswered(failed.class, &failed.error.body.error.message);
            failed
        })?;
        if !response.status().is_success() {
            let said = Said::read(self.kind, response, self.timeouts.error_body).await;
            self.watch.said(&said.failure, &self.keys.redactor(sent), asker);
            return Ok(Outcome::Error(said));
        }
        if let Some(what) = answer::is_none(response.headers()) {
            tracing::warn!(what, "the provider's answer is none");
            let failed = failure::no_answer(&self.provider, what);
            self.watch.unanswered(failed.class, &failed.error.body.error.message);
            return Err(failed);
        }
        // Of a caller's answer the whole of it is waited for.
        if asker != Asker::Caller {
            self.watch.answered();
        }
        let (mut head, body) = response.into_parts();
        head.headers = answer::allowed(self.kind.profile(), &head.headers);
        // The provider's protocol version is not ours to repeat.
        head.version = http::Version::default();
        Ok(Outcome::Answer(Response::from_parts(head, body)))
    }

    /// Sets the key aside as long as its fault lasts.
    pub(super) fn blame(&self, chosen: &Chosen, fault: Option<Fault>, wait: Option<Duration>) {
        match fault {
            None => {}
            Some(Fault::Refused) => {
                self.keys.retire(chosen);
                self.watch.doubt(chosen.index);
            }
            Some(Fault::Forbidden) => self.watch.doubt(chosen.index),
            Some(Fault::Exhausted) => self.keys.rest(chosen, used_up(wait), Rest::Exhausted),
            Some(Fault::Limited) => self.keys.rest(chosen, resting(wait), Rest::Limited),
        }
        if fault.is_some() {
            self.watch.wake();
        }
    }

    /// No key is left to try. What the provider said of those that were tells more than our own words.
    fn out_of_keys(&self, why: NoKey, heard: Heard, tried: &[Chosen]) -> Result<Reply, Failed> {
        let Heard { limited, forbidden, exhausted, refused: _ } = heard;
        match (why, limited, forbidden, exhausted) {
            (NoKey::Resting(wait), Some(said), _, _) => self.pass_on(said, Some(wait), tried),
            (_, _, Some(said), _) | (NoKey::Exhausted, _, None, Some(said)) => {
                self.pass_on(said, None, tried)
            }
            (NoKey::Missing(_) | NoKey::Retired | NoKey::Exhausted | NoKey::Resting(_), _, None, _) => {
                let failed = failure::no_key(&self.provider, why);
                if failed.class == FailureClass::Credential {
                    tracing::warn!(answer = failed.error.body.error.message, "a request was refused");
                }
                Err(failed)
            }
        }
    }

    /// The attempts are used up, and there may be keys yet.
    fn out_of_attempts(&self, heard: Heard, tried: &[Chosen]) -> Result<Reply, Failed> {
        let Heard { limited, forbidden, exhausted, refused } = heard;
        if let Some(said) = limited {
            return self.pass_on(said, self.keys.wait(), tried);
        }
        if let Some(said) = forbidden {
            return self.pass_on(said, None, tried);
        }
        // The same words whether keys are left or not: an account that is used up is no fault of one key's.
        if let Some(said) = exhausted {
            return self.pass_on(said, None, tried);
        }
        Err(match refused.zip(self.keys.wait()) {
            Some((status, _)) => failure::rejected(&self.provider, status),
            None => failure::no_key(&self.provider, NoKey::Retired),
        })
    }

    fn pass_on(&self, said: Said, wait: Option<Duration>, tried: &[Chosen]) -> Result<Reply, Failed> {
        said.pass(&self.provider, &self.keys.redactor(tried), wait).map(Reply::Error)
    }

    fn outgoing(&self, path: &str, from: &HeaderMap, body: Bytes) -> Result<Outgoing, Failed> {
        let mut headers = HeaderMap::new();
        copy_allowed(from, &mut headers, COMMON_REQUEST_HEADERS);
        copy_allowed(from, &mut headers, self.kind.profile().request_headers);
        self.own_headers(&mut headers);
        let uri = self.base.calls(path).ok_or_else(no_path)?;
        Ok(Outgoing { method: Method::POST, uri, headers, body })
    }

    /// A request of our own for the list of models at `path`, with nothing of any caller in it.
    pub(super) fn asking(&self, path: &str) -> Result<Outgoing, Failed> {
        let mut headers = HeaderMap::new();
        self.own_headers(&mut headers);
        let uri = self.base.models(path).ok_or_else(no_path)?;
        Ok(Outgoing { method: Method::GET, uri, headers, body: Bytes::new() })
    }

    fn own_headers(&self, headers: &mut HeaderMap) {
        for (name, value) in self.kind.profile().default_headers {
            headers.entry(*name).or_insert(HeaderValue::from_static(value));
        }
        for (name, value) in self.kind.profile().fixed_headers {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        headers.insert(USER_AGENT, AGENT);
    }
}

fn no_path() -> Failed {
    Failed::unsent("the provider's base URL takes no path")
}

/// Whose request it is that goes out with the keys `sent`: only callers' are of this method.
fn asker(method: &Method, sent: &[Chosen]) -> Asker {
    match (method, sent) {
        (&Method::POST, _) => Asker::Caller,
        (_, []) => Asker::Stranger,
        (_, _) => Asker::Probe,
    }
}

/// How many attempts the gateway leaves to us.
fn attempts(headers: &HeaderMap) -> u32 {
    let told = headers.get(ATTEMPTS).and_then(|value| value.to_str().ok()?.parse().ok());
    told.unwrap_or(DEFAULT_ATTEMPTS).clamp(1, MAX_ATTEMPTS)
}

/// What an error of this class says of the key.
pub(super) fn fault(class: FailureClass) -> Option<Fault> {
    match class {
        FailureClass::Credential => Some(Fault::Refused),
        FailureClass::Forbidden => Some(Fault::Forbidden),
        FailureClass::QuotaExhausted => Some(Fault::Exhausted),
        FailureClass::RateLimited => Some(Fault::Limited),
        FailureClass::BadRequest
        | FailureClass::ContextTooLong
        | FailureClass::TooLarge
        | FailureClass::NotFound
        | FailureClass::Overloaded
        | FailureClass::Timeout
        | FailureClass::TruncatedStream
        | FailureClass::ContentBlocked
        | FailureClass::ResidencyUnsatisfiable
        | FailureClass::Upstream
        | FailureClass::Internal => None,
    }
}

impl Outgoing {
    /// The request, without a key.
    pub(super) fn request(&self) -> Request<Pieces> {
        let mut request = Request::new(Pieces::from(self.body.clone()));
        request.method_mut().clone_from(&self.method);
        request.uri_mut().clone_from(&self.uri);
        request.headers_mut().clone_from(&self.headers);
        request
    }
}

impl Handler for Proxy {
    async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let (method, path) = (request.method(), request.uri().path());
        // Where callers show certificates, the operator asks how things stand, and gateways call the provider.
        let operator = request.extensions().get().map(|CalledBy(identity)| *identity == Identity::Operator);
        if path == STATE_PATH && operator != Some(false) && method == Method::GET {
            return self.state(request.uri().query()).await;
        }
        if operator == Some(true) {
            return Failed::from(crate::failure::unknown_url(method.as_str(), path)).response();
        }
        if method == Method::POST && path == RESIDENCY_PATH {
            return self.told_of_residency(request).await.unwrap_or_else(|failed| failed.response());
        }
        if method == Method::POST && path == FAILED_PATH {
            return self.told_of_failure(request).await.unwrap_or_else(|failed| failed.response());
        }
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
