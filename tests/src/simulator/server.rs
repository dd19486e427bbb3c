//! The simulator's server.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;
use weighbridge_wire::openai::PROMPT_TOKENS_HEADER;

use super::answer::{COMPLETION_TOKENS, PROMPT_TOKENS, completion};
use super::state::{Open, State};
use super::steps::{Step, steps};
use super::{Behaviour, Counts, Seen};

type Body = UnsyncBoxBody<Bytes, io::Error>;

const PACE: Duration = Duration::from_millis(20);

/// A running simulator; it ends when dropped.
pub struct Simulator {
    address: SocketAddr,
    state: Arc<State>,
    _task: AbortOnDropHandle<()>,
}

/// A certificate for `localhost`, and the key that signed it.
pub struct Certificate {
    /// The certificate in PEM; a client that trusts it reaches the simulator.
    pub pem: String,
    acceptor: TlsAcceptor,
}

impl Certificate {
    /// A fresh self-signed certificate.
    ///
    /// # Errors
    /// Where the libraries refuse.
    pub fn new() -> anyhow::Result<Self> {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der())
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        let config =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_no_client_auth()
                .with_single_cert(vec![made.cert.der().clone()], key)?;
        Ok(Self { pem: made.cert.pem(), acceptor: TlsAcceptor::from(Arc::new(config)) })
    }
}

impl Simulator {
    /// Starts on a free loopback port.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn start() -> io::Result<Self> {
        Self::on(TcpListener::bind("127.0.0.1:0").await?, None)
    }

    /// Starts with TLS on a free loopback port.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn start_tls(certificate: &Certificate) -> io::Result<Self> {
        Self::on(TcpListener::bind("127.0.0.1:0").await?, Some(certificate.acceptor.clone()))
    }

    /// Starts on `listener`.
    ///
    /// # Errors
    /// Where its address can't be read.
    pub fn on(listener: TcpListener, tls: Option<TlsAcceptor>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let state = Arc::new(State::new());
        let accept = accept(listener, tls, Arc::clone(&state));
        Ok(Self { address, state, _task: AbortOnDropHandle::new(tokio::spawn(accept)) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        self.state.counts.borrow().clone()
    }

    /// Resolves once the counts are as asked.
    pub async fn wait_for(&self, mut asked: impl FnMut(&Counts) -> bool) {
        // Fails only once the sender is gone, and we hold it.
        let _ = self.state.counts.subscribe().wait_for(|counts| asked(counts)).await;
    }

    /// Lets `steps` events of gated streams (or answers of silent requests) pass.
    pub fn release(&self, steps: usize) {
        self.state.gate.add_permits(steps);
    }

    /// The last requests, oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen()
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (state, tls) = (Arc::clone(&state), tls.clone());
        if stream.set_nodelay(true).is_err() {
            continue;
        }
        tokio::spawn(async move {
            match tls {
                None => serve(stream, state).await,
                // A client that does not trust us is a test's business, not an error here.
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => serve(stream, state).await,
                    Err(error) => tracing::debug!(%error, "no TLS"),
                },
            }
        });
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, state: Arc<State>) {
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        // An error in place of an answer makes hyper close the connection.
        async move { answer(state, request).await.ok_or_else(|| io::Error::other("hung up")) }
    });
    let connection = Builder::new(TokioExecutor::new());
    if let Err(error) = connection.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Option<Response<Body>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let asked = Asked::read(&path, &body);
    let key = head.headers.get(http::header::AUTHORIZATION).cloned();
    state.see(Seen { path, headers: head.headers, body });
    state.count(|counts| counts.requests += 1);
    let Some(asked) = asked else { return Some(error(404, "no such behaviour")) };
    respond(state, asked, key).await
}

pub(super) struct Asked {
    pub(super) model: String,
    pub(super) behaviour: Behaviour,
    pub(super) chat: bool,
    stream: bool,
    pub(super) include_usage: bool,
}

impl Asked {
    fn read(path: &str, body: &[u8]) -> Option<Self> {
        let body: serde_json::Value = serde_json::from_slice(body).ok()?;
        let model = body.get("model")?.as_str()?.to_owned();
        let is = |value: Option<&serde_json::Value>| value == Some(&serde_json::Value::Bool(true));
        Some(Self {
            behaviour: Behaviour::named(&model)?,
            model,
            chat: path.ends_with("/chat/completions"),
            stream: is(body.get("stream")),
            include_usage: is(body.pointer("/stream_options/include_usage")),
        })
    }
}

async fn respond(state: Arc<State>, asked: Asked, key: Option<HeaderValue>) -> Option<Response<Body>> {
    match asked.behaviour {
        Behaviour::Status(status) => Some(error(status, "as you asked")),
        Behaviour::HangUp => None,
        Behaviour::Html => Some(whole(200, "text/html", "<html>Welcome</html>".to_owned())),
        Behaviour::ErrorIn200 => Some(whole(200, "application/json", error_body("inside"))),
        Behaviour::EchoKey => {
            let key = key.as_ref().and_then(|key| key.to_str().ok()).unwrap_or_default();
            Some(error(400, &format!("your key is {key}")))
        }
        Behaviour::Redirect => {
            let mut response = whole(307, "application/json", "{}".to_owned());
            response.headers_mut().insert(LOCATION, HeaderValue::from_static("/v1/elsewhere"));
            Some(response)
        }
        Behaviour::Silent => {
            let mut open = Open { state: &state, done: false };
            state.pass_gate().await;
            open.done = true;
            Some(whole(200, "application/json", completion(&asked.model, asked.chat)))
        }
        _ if asked.stream => Some(streamed(Arc::clone(&state), &asked)),
        Behaviour::InvalidJson => Some(whole(200, "application/json", "{\"half\":".to_owned())),
        Behaviour::Endless => Some(endless("application/json")),
        Behaviour::Cut => {
            let half = Bytes::from_static(b"{\"id\":\"sim-1\",");
            let parts = [Ok(Frame::data(half)), Err(io::Error::other("cut"))];
            let mut response = Response::new(StreamBody::new(stream::iter(parts)).boxed_unsync());
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Some(response)
        }
        _ => {
            count_usage(&state, COMPLETION_TOKENS);
            state.count(|counts| counts.finished += 1);
            Some(whole(200, "application/json; charset=utf-8", completion(&asked.model, asked.chat)))
        }
    }
}

fn count_usage(state: &State, completion: u64) {
    state.count(|counts| {
        counts.input_tokens += PROMPT_TOKENS;
        counts.output_tokens += completion;
    });
}

fn endless(content_type: &'static str) -> Response<Body> {
    let first = Bytes::from_static(b"data: {\"x\":\"");
    let rest = Bytes::from(vec![b' '; 64 << 10]);
    let body = stream::once(async { first }).chain(stream::repeat(rest)).map(|bytes| Ok(Frame::data(bytes)));
    let mut response = Response::new(StreamBody::new(body).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn streamed(state: Arc<State>, asked: &Asked) -> Response<Body> {
    if asked.behaviour == Behaviour::Endless {
        return endless("text/event-stream");
    }
    // One event ahead at most: what a test sees arrive is what was just produced.
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    tokio::spawn(produce(state, steps(asked), sender));
    let frames = stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    if asked.behaviour == Behaviour::Told {
        response.headers_mut().insert(PROMPT_TOKENS_HEADER, HeaderValue::from(PROMPT_TOKENS));
    }
    response
}

type Frames = tokio::sync::mpsc::Sender<io::Result<Frame<Bytes>>>;

async fn produce(state: Arc<State>, steps: Vec<Step>, frames: Frames) {
    let mut open = Open { state: &state, done: false };
    for step in steps {
        match step {
            Step::Gate => tokio::select! {
                () = state.pass_gate() => {}
                () = frames.closed() => return,
            },
            Step::Pause => tokio::time::sleep(PACE).await,
            Step::Send(bytes) => {
                if frames.send(Ok(Frame::data(bytes))).await.is_err() {
                    return;
                }
            }
            Step::Count { input, output } => state.count(|counts| {
                counts.input_tokens += input;
                counts.output_tokens += output;
            }),
            Step::Break => {
                // The caller may be gone already; then there is nothing to break.
                let _ = frames.send(Err(io::Error::other("cut"))).await;
            }
        }
    }
    open.done = true;
}

fn whole(status: u16, content_type: &'static str, body: String) -> Response<Body> {
    let mut response =
        Response::new(Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn error_body(message: &str) -> String {
    serde_json::json!({"error": {"message": message, "type": "simulated", "param": null, "code": "simulated"}})
        .to_string()
}

fn error(status: u16, message: &str) -> Response<Body> {
    let mut response = whole(status, "application/json", error_body(message));
    if matches!(status, 429 | 503 | 529) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("7"));
    }
    response
}
