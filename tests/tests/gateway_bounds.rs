//! Bounds that hold whatever the other side does: clients that take nothing, upstreams that never end, memory.
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use weighbridge_gateway::directory::{Directory, World};
use weighbridge_gateway::{GatewayConfig, KeySource, Limits, ProxyConfig, Timeouts};
use weighbridge_tests::door::{Answer, Client, Door, entry, proxy_config};
use weighbridge_tests::log::{Log, OfThisThread};
use weighbridge_tests::simulator::Simulator;
use weighbridge_wire::provider::Kind;

const CHAT: &str = "/v1/chat/completions";

fn ask(model: &str, more: &str) -> String {
    format!(r#"{{"messages":[{{"role":"user","content":"hi"}}],"model":"{model}"{more}}}"#)
}

async fn door(config: GatewayConfig, models: &[&str], endpoints: &[SocketAddr]) -> Door {
    let entries = models.iter().map(|model| entry(model, World::Open, endpoints)).collect();
    Door::gateway(config, Directory::from_entries(entries)).await.expect("a gateway")
}

async fn post(door: &Door, path: &str, body: impl Into<Bytes>) -> Answer {
    let mut client = Client::connect(door.address).await.expect("connected");
    client.post(path, body).await.expect("answered")
}

/// The sum of the series of `name` whose labels hold `label`.
async fn metric(door: &Door, name: &str, label: &str) -> f64 {
    let mut client = Client::connect(door.admin).await.expect("connected");
    let text = client.get("/metrics").await.expect("metrics").text().expect("text").to_owned();
    let series = text.lines().filter(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(label)
    });
    series.map(|line| line.rsplit(' ').next().expect("a value").parse::<f64>().expect("a number")).sum()
}

async fn until(door: &Door, name: &str, label: &str, count: f64) {
    while metric(door, name, label).await != count {
        tokio::task::yield_now().await;
    }
}

/// It answers the server's pings and never gives a stream room: without a guard it holds its place, the upstream's
/// connection and a sequence of the engine for ever.
#[tokio::test]
async fn an_http2_stream_without_room_is_given_up_and_its_upstream_with_it() {
    let simulator = Simulator::start().await.expect("a simulator");
    let timeouts = Timeouts { write_stall: Duration::from_millis(50), ..Timeouts::default() };
    let config = GatewayConfig { timeouts, ..GatewayConfig::default() };
    let door = door(config, &["gated"], &[simulator.address()]).await;
    let stream = TcpStream::connect(door.address).await.expect("connected");
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(0_u32);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    // More than fits no room at all, and never its end.
    simulator.release(3);
    let request = Request::post(format!("http://{}{CHAT}", door.address));
    let request = request.body(Full::new(Bytes::from(ask("gated", r#","stream":true"#)))).expect("a request");
    let response = sender.send_request(request).await.expect("begun");
    assert_eq!(response.status(), StatusCode::OK);
    simulator.wait_for(|counts| counts.abandoned == 1).await;
    until(&door, "weighbridge_write_stalls_total", "", 1.0).await;
    until(&door, "weighbridge_requests_in_flight", "", 0.0).await;
    assert_eq!(metric(&door, "weighbridge_streams_cut_total", "cause=\"client\"").await, 1.0);
    assert!(response.into_body().collect().await.is_err(), "the client hears of it");
    assert!(!connection.is_finished(), "its other streams go on");
}

#[tokio::test]
async fn a_request_has_so_long_in_all_whatever_comes_meanwhile() {
    let simulator = Simulator::start().await.expect("a simulator");
    let timeouts = Timeouts {
        total: Duration::from_millis(100),
        // More often than the end is looked for, so that the stream is never silent.
        keep_alive: Duration::from_millis(5),
        ..Timeouts::default()
    };
    let config = GatewayConfig { timeouts, ..GatewayConfig::default() };
    let door = door(config, &["gated", "silent"], &[simulator.address()]).await;
    let whole = post(&door, CHAT, ask("silent", "")).await;
    assert_eq!(whole.status, StatusCode::GATEWAY_TIMEOUT);
    assert!(whole.text().expect("text").contains("did not finish within"), "{whole:?}");
    simulator.release(2);
    let stream = post(&door, CHAT, ask("gated", r#","stream":true"#)).await;
    let text = stream.text().expect("text");
    assert!(stream.status == StatusCode::OK && text.contains("did not finish within"), "{text}");
    until(&door, "weighbridge_streams_cut_total", "cause=\"overdue\"", 1.0).await;
    simulator.wait_for(|counts| counts.abandoned == 2).await;
}

/// An upstream whose errors never end, and are never silent: a byte each few milliseconds.
async fn dripping() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let head =
                    "HTTP/1.1 503 x\r\ncontent-type: application/json\r\ncontent-length: 60000\r\n\r\n{";
                let _ = stream.write_all(head.as_bytes()).await;
                while stream.write_all(b" ").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn an_upstreams_error_is_waited_for_a_moment_and_not_for_its_end() {
    let timeouts = Timeouts { error_body: Duration::from_millis(50), ..Timeouts::default() };
    let upstream = dripping().await;
    let config = GatewayConfig { timeouts: timeouts.clone(), ..GatewayConfig::default() };
    let gateway = door(config, &["normal"], &[upstream]).await;
    let answer = post(&gateway, CHAT, ask("normal", "")).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert!(answer.text().expect("text").contains("answered 5xx with no readable error"), "{answer:?}");

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("key");
    std::fs::write(&path, "sk-key").expect("written");
    let keys = vec![KeySource { path, weight: NonZeroU16::MIN }];
    let config = proxy_config(Kind::OpenAiCompatible, &format!("http://{upstream}/v1"), keys);
    let proxy = Door::proxy(ProxyConfig { timeouts, ..config }).await.expect("a proxy");
    let answer = post(&proxy, CHAT, ask("normal", "")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.text().expect("text").contains("`acme` answered 503"), "{answer:?}");
}

/// What is held counts, whatever it is: requests, what they are translated into, and whole answers.
#[tokio::test]
async fn the_memory_for_bodies_bounds_translations_and_answers_too() {
    let simulator = Simulator::start().await.expect("a simulator");
    let endpoints = [simulator.address(); 1];
    let of = |buffered_bytes| GatewayConfig {
        limits: Limits { buffered_bytes, ..Limits::default() },
        ..GatewayConfig::default()
    };
    // The request fits, and its answer does not: no other replica is asked for one as large.
    let request = ask("normal", "");
    let narrow = door(of(request.len() + 100), &["normal"], &endpoints).await;
    let answer = post(&narrow, CHAT, request.clone()).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        answer.text().expect("text").contains("server_busy") && answer.headers.contains_key("retry-after")
    );
    assert_eq!(simulator.counts().requests, 1);
    until(&narrow, "weighbridge_request_bodies_full_total", "", 1.0).await;

    let text = "x".repeat(4000);
    let content =
        format!(r#""messages":[{{"role":"user","content":"{text}"}}],"model":"normal","max_tokens":9"#);
    let door = door(of(6000), &["normal"], &endpoints).await;
    for _ in 0..3 {
        let raw = post(&door, CHAT, format!("{{{content}}}")).await;
        assert_eq!(raw.status, StatusCode::OK, "each gives its place back: {raw:?}");
        // As it came and as it is written.
        let translated = post(&door, "/v1/messages", format!("{{{content}}}")).await;
        assert_eq!(translated.status.as_u16(), 529, "{translated:?}");
    }
}

#[tokio::test]
async fn what_goes_to_no_model_is_logged_and_counted_too() {
    let log = Log::default();
    let lines = tracing_subscriber::fmt().json().with_writer(log.writer()).finish();
    // Of this thread, on which all of this test runs.
    let _logged = OfThisThread::new(lines);
    let door = door(GatewayConfig::default(), &["normal"], &[]).await;
    let mut client = Client::connect(door.address).await.expect("connected");
    let asked = [
        (Method::GET, "/v1/models", 200, "models"),
        (Method::GET, "/v1/models/nobody", 404, "models"),
        (Method::DELETE, "/v1/models", 405, "method_not_allowed"),
        (Method::GET, CHAT, 405, "method_not_allowed"),
        (Method::GET, "/v1/nothing", 404, "unknown_url"),
    ];
    for (method, path, status, _) in &asked {
        let answer = client.open(method.clone(), path, &[], "").await.expect("answered");
        assert_eq!(answer.whole().await.expect("whole").status, *status, "{path}");
    }
    let text = log.text();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let lines: Vec<(u64, String)> = lines
        .filter(|line| line["target"] == "access")
        .map(|line| {
            let fields = &line["fields"];
            assert!(fields["milliseconds"].is_f64(), "{line}");
            (
                fields["code"].as_u64().expect("a code"),
                fields["operation"].as_str().expect("a word").to_owned(),
            )
        })
        .collect();
    assert_eq!(lines, asked.map(|(_, _, status, operation)| (u64::from(status), operation.to_owned())));
    for (code, count) in [(200, 1.0), (404, 2.0), (405, 2.0)] {
        assert_eq!(metric(&door, "weighbridge_requests_total", &format!("code=\"{code}\"")).await, count);
    }
}
