//! A provider that answers as a test says, by the key and the path that it is asked with. What a proxy asks by itself (the
//! list of models) is no call: it is answered with 404 unless the test says otherwise.
#![allow(dead_code, reason = "each test that shares this file uses a part of it")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use weighbridge_gateway::{KeySource, ProxyConfig};
use weighbridge_tests::door::{self, proxy_config};
use weighbridge_wire::provider::Kind;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Path and query.
    pub path: String,
    pub headers: HeaderMap,
    /// The key that it was sent with.
    pub key: String,
}

type Script = dyn Fn(&Seen) -> Response<String> + Send + Sync;
type Log = Arc<Mutex<Vec<Seen>>>;
/// How a kind of request is answered, and where it is kept.
type Way = (Arc<Script>, Log);

/// Ends when dropped.
pub struct Provider {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    probes: Arc<Mutex<Vec<Seen>>>,
    _task: AbortOnDropHandle<()>,
}

impl Provider {
    /// Serves `kind` on a free port.
    pub async fn start(
        kind: Kind,
        script: impl Fn(&Seen) -> Response<String> + Send + Sync + 'static,
    ) -> Self {
        Self::listing(kind, script, |_| json(404, &[], r#"{"error":{"message":"no list"}}"#)).await
    }

    /// The same, which answers `list` to who asks for the list of models.
    pub async fn listing(
        kind: Kind,
        script: impl Fn(&Seen) -> Response<String> + Send + Sync + 'static,
        list: impl Fn(&Seen) -> Response<String> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (seen, probes) = (Log::default(), Log::default());
        let calls: Way = (Arc::new(script), Arc::clone(&seen));
        let accept = accept(listener, kind, calls, (Arc::new(list), Arc::clone(&probes)));
        Self { address, seen, probes, _task: AbortOnDropHandle::new(tokio::spawn(accept)) }
    }

    /// What was asked for the list of models since the last call, oldest first.
    pub fn probes(&self) -> Vec<Seen> {
        std::mem::take(&mut self.probes.lock().expect("unpoisoned"))
    }

    /// What came since the last call, oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().expect("unpoisoned"))
    }
}

async fn accept(listener: TcpListener, kind: Kind, calls: Way, probes: Way) {
    while let Ok((stream, _)) = listener.accept().await {
        let (calls, probes) = (calls.clone(), probes.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (script, seen) = if request.method() == http::Method::GET { &probes } else { &calls };
            let (script, seen) = (Arc::clone(script), Arc::clone(seen));
            async move {
                let (head, body) = request.into_parts();
                body.collect().await.expect("a body");
                let header = kind.profile().key;
                let sent = head.headers.get(header.name).map(|value| value.to_str().expect("text"));
                let key = sent.and_then(|sent| sent.strip_prefix(header.prefix)).unwrap_or_default();
                let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
                let asked = Seen { path, key: key.to_owned(), headers: head.headers };
                let answer = script(&asked);
                seen.lock().expect("unpoisoned").push(asked);
                Ok::<_, Infallible>(answer.map(|body| Full::new(Bytes::from(body))))
            }
        });
        tokio::spawn(async move {
            let connection = Builder::new(TokioExecutor::new());
            // A connection that a test's end cuts is no fault.
            let _ = connection.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// An answer in JSON, with more headers.
pub fn json(status: u16, headers: &[(&str, &str)], body: &str) -> Response<String> {
    let mut response = Response::builder().status(status).header("content-type", "application/json");
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body.to_owned()).expect("an answer")
}

/// Files `0`, `1`, … in `folder` that hold `keys`, each with its weight.
pub fn write_keys(folder: &Path, keys: &[(&str, u16)]) -> Vec<KeySource> {
    door::write_keys(folder, keys).expect("written")
}

/// Puts `key` into a file as the kubelet does: a new file takes the name.
pub fn put(path: &Path, key: &str) {
    let next = path.with_extension("next");
    std::fs::write(&next, format!("{key}\n")).expect("written");
    std::fs::rename(&next, path).expect("renamed");
}

/// A proxy for a provider at `address`, whose API is under `/base`.
pub fn config(kind: Kind, address: SocketAddr, keys: Vec<KeySource>) -> ProxyConfig {
    proxy_config(kind, &format!("http://{address}/base"), keys)
}

/// A path that `kind` serves.
pub fn a_path(kind: Kind) -> &'static str {
    match kind {
        Kind::OpenAi | Kind::AzureOpenAi | Kind::OpenAiCompatible => "/v1/chat/completions",
        Kind::Anthropic | Kind::AnthropicCompatible => "/v1/messages",
        Kind::Gemini => "/v1beta/models/m:streamGenerateContent?alt=sse",
    }
}
