//! TLS at the front door: HTTP/1 and HTTP/2, a certificate that is replaced while it is in use, and who does not get in.
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use weighbridge_gateway::GatewayConfig;
use weighbridge_gateway::access::Access;
use weighbridge_gateway::directory::{Directory, World};
use weighbridge_tests::certificates::{anonymous, front_door};
use weighbridge_tests::door::{Client, Door, entry};
use weighbridge_tests::simulator::Simulator;
use weighbridge_tls::{Handshakes, ServerTls};

const CHAT: &str = "/v1/chat/completions";
const NAME: &str = "door.test";

struct Bed {
    folder: TempDir,
    trusted: String,
    _simulator: Simulator,
    door: Door,
}

async fn bed() -> Bed {
    let folder = tempfile::tempdir().expect("a folder");
    let (files, trusted) = front_door(folder.path(), NAME).expect("a certificate");
    let tls = Arc::new(ServerTls::load(files, Handshakes::default()).expect("loaded"));
    let simulator = Simulator::start().await.expect("a simulator");
    let models = ["normal", "burst"].map(|model| entry(model, World::Open, &[simulator.address()]));
    let directory = Directory::from_entries(models.into());
    let door = Door::secure(GatewayConfig::default(), directory, Access::open("team"), Some(tls)).await;
    Bed { folder, trusted, _simulator: simulator, door: door.expect("a gateway") }
}

fn ask(model: &str, more: &str) -> String {
    format!(r#"{{"messages":[{{"role":"user","content":"hi"}}],"model":"{model}"{more}}}"#)
}

async fn metrics(door: &Door) -> String {
    let mut client = Client::connect(door.admin).await.expect("plain http");
    client.get("/metrics").await.expect("answered").text().expect("text").to_owned()
}

#[tokio::test]
async fn both_protocols_are_spoken_and_streams_arrive_whole() {
    let bed = bed().await;
    let trust = |alpn| anonymous(bed.folder.path(), &bed.trusted, alpn).expect("a client");
    let mut one = Client::connect_tls(bed.door.address, trust(&[b"http/1.1"]), NAME).await.expect("let in");
    let answer = one.post(CHAT, ask("normal", "")).await.expect("answered");
    assert_eq!(answer.status, StatusCode::OK);

    let stream = TcpStream::connect(bed.door.address).await.expect("connected");
    let connector = TlsConnector::from(trust(&[b"h2", b"http/1.1"]));
    let stream =
        connector.connect(ServerName::try_from(NAME).expect("a name"), stream).await.expect("let in");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    tokio::spawn(connection);
    // Several at once on one connection.
    let asked = (0..4).map(|_| {
        let body = Full::new(Bytes::from(ask("burst", r#","stream":true"#)));
        let uri = format!("https://{NAME}{CHAT}");
        let request = Request::builder().method(Method::POST).uri(uri);
        sender.send_request(request.header("content-type", "application/json").body(body).expect("a request"))
    });
    for answer in futures::future::join_all(asked).await {
        let answer = answer.expect("answered");
        assert_eq!(answer.status(), StatusCode::OK);
        let body = answer.into_body().collect().await.expect("whole").to_bytes();
        assert!(body.ends_with(b"data: [DONE]\n\n"), "{body:?}");
    }
}

#[tokio::test]
async fn a_replaced_certificate_is_taken_up_and_a_bad_one_is_counted() {
    let bed = bed().await;
    let trust = |trusted: &str| anonymous(bed.folder.path(), trusted, &[]).expect("a client");
    let mut early = Client::connect_tls(bed.door.address, trust(&bed.trusted), NAME).await.expect("let in");
    let (files, renewed) = front_door(bed.folder.path(), NAME).expect("a certificate");
    let mut late = Client::connect_tls(bed.door.address, trust(&renewed), NAME).await.expect("the new one");
    assert!(Client::connect_tls(bed.door.address, trust(&bed.trusted), NAME).await.is_err());
    let seen = metrics(&bed.door).await;
    assert!(seen.contains("weighbridge_certificate_reload_failures_total{use=\"server\"} 0"), "{seen}");
    assert!(seen.contains("weighbridge_certificate_expiry_timestamp_seconds{use=\"server\"} "), "{seen}");
    let key = std::fs::canonicalize(&files.pair.key.path).expect("there");
    std::fs::write(key, "nonsense").expect("written");
    for client in [&mut early, &mut late] {
        assert_eq!(client.post(CHAT, ask("normal", "")).await.expect("answered").status, StatusCode::OK);
    }
    assert!(Client::connect_tls(bed.door.address, trust(&renewed), NAME).await.is_ok());
    let seen = metrics(&bed.door).await;
    assert!(seen.contains("weighbridge_certificate_reload_failures_total{use=\"server\"} 1"), "{seen}");
}

#[tokio::test]
async fn plain_http_is_told_and_counted_and_gives_its_place_back() {
    let bed = bed().await;
    let mut plain = Client::connect(bed.door.address).await.expect("connected");
    let told = plain.post(CHAT, ask("normal", "")).await.expect("told");
    assert_eq!(told.status, StatusCode::BAD_REQUEST);
    assert!(told.text().expect("text").contains("use https"));
    drop(plain);
    let settled = async {
        loop {
            let seen = metrics(&bed.door).await;
            let counted = seen.contains("weighbridge_tls_handshake_failures_total{reason=\"plain_text\"} 1");
            if counted && seen.contains("weighbridge_connections 0") {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), settled).await.expect("it holds its place");
}
