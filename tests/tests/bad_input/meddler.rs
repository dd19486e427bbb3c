//! A provider that spoils right answers: it asks a faithful one, changes what that said, and may never end. What was taken of
//! its answers is counted, so that a test can say how much of them went anywhere.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use weighbridge_tests::door::Client;
use weighbridge_tests::simulator::Simulator;

/// An answer on its way: first `text`, and then `again`, for ever.
#[derive(Clone, Debug)]
pub struct Said {
    /// Path and query that were asked.
    pub path: String,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
    pub again: Option<String>,
}

impl Said {
    /// The same under another media type.
    pub fn of_type(mut self, media_type: &'static str) -> Self {
        self.headers.insert("content-type", http::HeaderValue::from_static(media_type));
        self
    }

    /// Its events, each with its blank line.
    pub fn frames(&self) -> Vec<&str> {
        let blank = if self.text.contains("\r\n\r\n") { "\r\n\r\n" } else { "\n\n" };
        self.text.split_inclusive(blank).collect()
    }

    /// Whether it is a stream, by its head.
    pub fn is_stream(&self) -> bool {
        self.headers
            .get("content-type")
            .is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
            || (self.path.contains(":streamGenerateContent"))
    }
}

/// What was taken of all answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    pub bytes: u64,
    /// Answers that are still being taken.
    pub open: u64,
}

/// What a provider looks at in a request's head.
const ASKED_WITH: [&str; 5] =
    ["content-type", "authorization", "x-api-key", "x-goog-api-key", "anthropic-version"];

type Meddle = dyn Fn(Said) -> Said + Send + Sync;

/// Ends when dropped.
pub struct Meddler {
    pub address: SocketAddr,
    pub simulator: Arc<Simulator>,
    taken: watch::Receiver<Taken>,
    _task: AbortOnDropHandle<()>,
}

impl Meddler {
    /// Serves a faithful provider's answers as `meddle` changes them.
    pub async fn start(meddle: impl Fn(Said) -> Said + Send + Sync + 'static) -> Self {
        let simulator = Arc::new(Simulator::start().await.expect("a simulator"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (count, taken) = watch::channel(Taken::default());
        let task = tokio::spawn(accept(listener, simulator.address(), Arc::new(meddle), Arc::new(count)));
        Self { address, simulator, taken, _task: AbortOnDropHandle::new(task) }
    }

    /// What was taken so far, once nothing is being taken any more.
    pub async fn taken(&self) -> u64 {
        let mut taken = self.taken.clone();
        taken.wait_for(|taken| taken.open == 0).await.expect("it serves").bytes
    }
}

async fn accept(
    listener: TcpListener,
    faithful: SocketAddr,
    meddle: Arc<Meddle>,
    count: Arc<watch::Sender<Taken>>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (meddle, count) = (Arc::clone(&meddle), Arc::clone(&count));
        let service = service_fn(move |request| {
            let (meddle, count) = (Arc::clone(&meddle), Arc::clone(&count));
            async move { Ok::<_, Infallible>(answer(request, faithful, &*meddle, count).await) }
        });
        tokio::spawn(async move {
            // A connection that a test's end cuts is no fault.
            let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    faithful: SocketAddr,
    meddle: &Meddle,
    count: Arc<watch::Sender<Taken>>,
) -> Response<Pieces> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    let path = head.uri.path_and_query().expect("a path").to_string();
    let mut client = Client::connect(faithful).await.expect("a simulator");
    let named = |name: &'static str| Some((name, head.headers.get(name)?.to_str().expect("text")));
    let headers: Vec<_> = ASKED_WITH.into_iter().filter_map(named).collect();
    let asked = client.open(head.method.clone(), &path, &headers, body).await;
    let right = asked.expect("begun").whole().await.expect("answered");
    let mut headers = HeaderMap::new();
    headers
        .extend(right.headers.get("content-type").map(|value| (http::header::CONTENT_TYPE, value.clone())));
    let text = right.text().expect("text").to_owned();
    let said = Said { path, status: right.status, headers, text, again: None };
    // What a proxy asks by itself is answered as it should be.
    let said = if head.method == http::Method::GET { said } else { meddle(said) };
    count.send_modify(|taken| taken.open += 1);
    let pieces = Pieces { first: Some(Bytes::from(said.text)), again: said.again.map(Bytes::from), count };
    let mut response = Response::new(pieces);
    *response.status_mut() = said.status;
    *response.headers_mut() = said.headers;
    response
}

struct Pieces {
    first: Option<Bytes>,
    again: Option<Bytes>,
    count: Arc<watch::Sender<Taken>>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let piece = self.first.take().or_else(|| self.again.clone());
        if let Some(piece) = &piece {
            self.count.send_modify(|taken| taken.bytes += piece.len() as u64);
        }
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.count.send_modify(|taken| taken.open -= 1);
    }
}
