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
use weighbridge_wire::provider::{Credential, Kind};

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
                let Credential::Header(header) = kind.profile().credential else {
                    panic!("a cloud has its own simulator")
                };
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
        Kind::Vertex | Kind::Bedrock => panic!("a cloud has its own simulator"),
    }
}

/// Answers of which each says `keys`, errors, redirects and pages in the ways `said` too, in its body, its headers or both,
/// and successes of every kind. The last ones refuse the key.
pub fn leaky(kind: Kind, turn: usize, keys: &[&str], said: &[String]) -> Response<String> {
    let error = serde_json::json!({"message": said, "code": keys[0], "param": keys[1]});
    let body = serde_json::json!({"type": "error", "error": error}).to_string();
    // What an answer says that is one is not read, so that a key is known there as it is written in its file.
    let plain = keys.join(" ");
    let echoed =
        serde_json::json!({"type": "error", "error": {"message": plain, "code": keys[0]}}).to_string();
    let headers = [("x-request-id", keys[0]), ("request-id", said[3].as_str()), ("retry-after", keys[0])];
    let of_type = |media_type: &str, body: String| {
        let response = Response::builder().header("content-type", media_type);
        response.header("x-request-id", keys[0]).header("request-id", keys[0]).body(body).expect("an answer")
    };
    match turn {
        0 => json(400, &headers, &body),
        1 => json(500, &headers, &body),
        2 => json(529, &headers, &body),
        3 => Response::builder()
            .status(302)
            .header("location", format!("https://evil.test/{}", keys[0]))
            .body(said.concat())
            .expect("an answer"),
        4 => Response::builder().header("content-type", "text/html").body(said.concat()).expect("an answer"),
        // An error under a 200, whole and as an event.
        5 => of_type(
            "application/json",
            format!(r#"{{"error":{{"message":"Incorrect API key: {}"}}}}"#, keys[0]),
        ),
        6 => of_type("application/json", echoed),
        7 => of_type("text/event-stream", format!("event: error\ndata: {echoed}\n\n")),
        8 => of_type("text/event-stream", format!("data: {{\"error\":{{\"message\":\"{}\"}}}}\n\n", keys[0])),
        // An answer that is one, and says the keys where the model's words stand.
        9 => of_type("application/json", whole(kind, keys[0])),
        10 => of_type("application/json", whole(kind, &plain)),
        11 => of_type("text/event-stream", format!(": {}\n\n{}", keys[0], events(kind, keys[0]))),
        12 => of_type("text/event-stream", events(kind, &plain)),
        // From here on keys rest, and then are refused.
        13 => json(429, &[("retry-after-ms", "0"), ("x-request-id", keys[0])], &body),
        _ => json(401, &headers, &body),
    }
}

/// How many such answers there are, three that refuse the key among them.
pub const LEAKS: usize = 18;

/// The header that shows a key.
fn header_of(kind: Kind) -> &'static str {
    match kind.profile().credential {
        Credential::Header(header) => header.name,
        Credential::ServiceAccount | Credential::Aws { service: _ } => {
            panic!("a cloud has its own simulator")
        }
    }
}

/// An answer of `kind`'s with `text` for its words.
fn whole(kind: Kind, text: &str) -> String {
    match header_of(kind) {
        "x-api-key" => serde_json::json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m",
            "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": null,
            "usage": {"input_tokens": 1, "output_tokens": 1}}),
        "x-goog-api-key" => serde_json::json!({"candidates": [{"content": {"role": "model",
            "parts": [{"text": text}]}, "finishReason": "STOP", "index": 0}],
            "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}}),
        _ => serde_json::json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}),
    }
    .to_string()
}

/// The same as a stream.
fn events(kind: Kind, text: &str) -> String {
    let named = |events: &[serde_json::Value]| -> String {
        let event = |event: &serde_json::Value| {
            format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default())
        };
        events.iter().map(event).collect()
    };
    match header_of(kind) {
        "x-api-key" => named(&[
            serde_json::json!({"type": "message_start", "message": {"id": "msg_1", "type": "message",
                "role": "assistant", "model": "m", "content": [], "stop_reason": null, "stop_sequence": null,
                "usage": {"input_tokens": 1, "output_tokens": 1}}}),
            serde_json::json!({"type": "content_block_start", "index": 0,
                "content_block": {"type": "text", "text": ""}}),
            serde_json::json!({"type": "content_block_delta", "index": 0,
                "delta": {"type": "text_delta", "text": text}}),
            serde_json::json!({"type": "content_block_stop", "index": 0}),
            serde_json::json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
                "usage": {"output_tokens": 1}}),
            serde_json::json!({"type": "message_stop"}),
        ]),
        "x-goog-api-key" => format!("data: {}\n\n", whole(kind, text)),
        _ => {
            let chunk = |delta: serde_json::Value, end: serde_json::Value| {
                let chunk = serde_json::json!({"id": "c", "object": "chat.completion.chunk", "created": 1,
                    "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": end}]});
                format!("data: {chunk}\n\n")
            };
            let words =
                chunk(serde_json::json!({"role": "assistant", "content": text}), serde_json::Value::Null);
            format!("{words}{}data: [DONE]\n\n", chunk(serde_json::json!({}), serde_json::json!("stop")))
        }
    }
}
