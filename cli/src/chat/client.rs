//! Asking the door: one streamed chat completion at a time.

use std::collections::VecDeque;
use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, InvalidHeaderValue};
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Map, Value, json};
use url::Url;
use weighbridge_tls::{NamedFile, TlsError};
use weighbridge_wire::openai::chat::ChatCompletionChunk;
use weighbridge_wire::openai::{ErrorBody, FinishReason, parse};
use weighbridge_wire::sse::{DecodeError, Decoder};

use crate::args::ChatArgs;

/// Where the API key is, if the door asks for one: a command line is everybody's to read.
const API_KEY: &str = "WEIGHBRIDGE_API_KEY";

/// Bytes of one event, and of an error's body: far above what any server sends.
const LARGEST_EVENT: usize = 4 << 20;

/// A question that got no whole answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// `--url` leads nowhere.
    #[error("--url {0} is no address of a door: write http://HOST:PORT")]
    Url(Url),
    /// No connection.
    #[error("nothing answers at {url}: is `weighbridge up` running? Another address is named with --url")]
    Connect {
        url: Url,
        #[source]
        source: Box<hyper_util::client::legacy::Error>,
    },
    /// A connection to somebody whom nobody vouches for.
    #[error("the certificate of {url} is not trusted: name who has signed it with --ca-file")]
    Untrusted {
        url: Url,
        #[source]
        source: Box<hyper_util::client::legacy::Error>,
    },
    /// A key that no header can carry.
    #[error("the key in {API_KEY} has characters that no header can carry")]
    Key(#[source] InvalidHeaderValue),
    /// No TLS on this machine.
    #[error("TLS can't be set up")]
    Tls(#[source] rustls::Error),
    /// No authorities in the file.
    #[error(transparent)]
    Ca(Box<TlsError>),
    /// The door, or what is behind it, said no.
    #[error("{message} (HTTP {status})")]
    Refused { status: u16, message: String },
    /// The connection ended in mid-answer.
    #[error("the answer broke off")]
    Broken(#[source] hyper::Error),
    /// An error came as an event in mid-answer.
    #[error("the answer broke off: {0}")]
    Failed(String),
    /// The stream ended, but not as streams end.
    #[error("the answer ended without [DONE]: it may be cut")]
    Unfinished,
    /// Not server-sent events.
    #[error("the answer is no event stream")]
    Stream(#[source] DecodeError),
    /// An event that is no chunk of an answer.
    #[error("an event of the answer makes no sense: {0}")]
    Event(String),
}

/// A client of one door and one model.
pub struct Client {
    http: HttpClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: Url,
    authorization: Option<HeaderValue>,
    /// What is asked for beside the conversation.
    settings: Map<String, Value>,
}

/// An answer under way.
pub struct Answer {
    body: Incoming,
    decoder: Decoder,
    pieces: VecDeque<String>,
    finish_reason: Option<FinishReason>,
    done: bool,
}

impl Client {
    /// A client of the door at `--url`, for one model.
    ///
    /// # Errors
    /// `--url` is no address, or TLS can't be set up.
    pub fn new(args: &ChatArgs) -> Result<Self, CallError> {
        let refused = || CallError::Url(args.url.clone());
        let mut url = args.url.clone();
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refused());
        }
        // Both http://host and http://host/v1 are what people paste.
        let has_version = url.path().trim_end_matches('/').ends_with("/v1");
        {
            let mut path = url.path_segments_mut().map_err(|()| refused())?;
            path.pop_if_empty().extend((!has_version).then_some("v1")).extend(["chat", "completions"]);
        }
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        if let Some(path) = &args.ca_file {
            let more = weighbridge_tls::authorities(&NamedFile::new("--ca-file", path));
            roots.extend(more.map_err(|error| CallError::Ca(Box::new(error)))?.roots);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let trust = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(CallError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tls = HttpsConnectorBuilder::new()
            .with_tls_config(trust)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let http = HttpClient::builder(TokioExecutor::new()).build(tls);
        let mut settings = Map::new();
        settings.insert("model".to_owned(), json!(args.model));
        settings.insert("stream".to_owned(), json!(true));
        settings.extend(args.temperature.map(|degree| ("temperature".to_owned(), json!(degree))));
        settings.extend(args.max_tokens.map(|most| ("max_tokens".to_owned(), json!(most))));
        Ok(Self { http, url, authorization: authorization()?, settings })
    }

    /// Asks with the whole conversation.
    pub async fn ask(&self, messages: &[Value]) -> Result<Answer, CallError> {
        let mut question = self.settings.clone();
        question.insert("messages".to_owned(), Value::from(messages));
        let mut request = Request::new(Full::from(Value::Object(question).to_string()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.as_str().parse().map_err(|_| CallError::Url(self.url.clone()))?;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        request.headers_mut().extend(self.authorization.clone().map(|value| (AUTHORIZATION, value)));
        let response = self.http.request(request).await;
        let response = response.map_err(|source| {
            let (untrusted, url, source) = (is_untrusted(&source), self.url.clone(), Box::new(source));
            if untrusted { CallError::Untrusted { url, source } } else { CallError::Connect { url, source } }
        })?;
        let (parts, body) = response.into_parts();
        if !parts.status.is_success() {
            return Err(refusal(parts.status.as_u16(), body).await);
        }
        let decoder = Decoder::new(LARGEST_EVENT);
        Ok(Answer { body, decoder, pieces: VecDeque::new(), finish_reason: None, done: false })
    }
}

impl Answer {
    /// The next piece of text; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<String>, CallError> {
        loop {
            if let Some(piece) = self.pieces.pop_front() {
                return Ok(Some(piece));
            }
            if self.done {
                return Ok(None);
            }
            match self.body.frame().await {
                Some(frame) => {
                    if let Ok(bytes) = frame.map_err(CallError::Broken)?.into_data() {
                        self.decoder.push(&bytes);
                        self.take_events()?;
                    }
                }
                None => return Err(CallError::Unfinished),
            }
        }
    }

    /// Why it ended, once it did.
    pub fn finish_reason(self) -> Option<FinishReason> {
        self.finish_reason
    }

    fn take_events(&mut self) -> Result<(), CallError> {
        while let Some(frame) = self.decoder.next_frame().map_err(CallError::Stream)? {
            let Some(data) = frame.data() else { continue };
            if data.as_ref() == b"[DONE]" {
                self.done = true;
                return Ok(());
            }
            if let Ok(failure) = serde_json::from_slice::<ErrorBody>(&data) {
                return Err(CallError::Failed(failure.error.message));
            }
            let chunk: ChatCompletionChunk =
                parse(&data).map_err(|error| CallError::Event(error.body.error.message))?;
            for choice in chunk.choices {
                self.pieces.extend(choice.delta.content.filter(|text| !text.is_empty()));
                self.finish_reason = choice.finish_reason.or(self.finish_reason.take());
            }
        }
        Ok(())
    }
}

/// Whether the server's certificate is what was wrong. An `io::Error` names what it wraps as no source of its own.
fn is_untrusted(error: &(dyn Error + 'static)) -> bool {
    if matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_))) {
        return true;
    }
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    match wrapped {
        Some(wrapped) => is_untrusted(wrapped),
        None => error.source().is_some_and(is_untrusted),
    }
}

/// The header with the key of the environment, which no log shows.
fn authorization() -> Result<Option<HeaderValue>, CallError> {
    let Some(key) = std::env::var(API_KEY).ok().filter(|key| !key.is_empty()) else { return Ok(None) };
    let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(CallError::Key)?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// An error answer in words, OpenAI's shape or not.
async fn refusal(status: u16, body: Incoming) -> CallError {
    let bytes =
        Limited::new(body, LARGEST_EVENT).collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let message = match serde_json::from_slice::<ErrorBody>(&bytes) {
        Ok(body) => body.error.message,
        Err(_) => "the server refused and did not say why: is --url the address of a door?".to_owned(),
    };
    CallError::Refused { status, message }
}
