//! The provider proxy in process, in front of a provider that misbehaves on request.
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;

use futures::FutureExt as _;
use http::{Method, StatusCode};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use weighbridge_gateway::directory::{Directory, World};
use weighbridge_gateway::{GatewayConfig, KeySource, ProxyConfig};
use weighbridge_tests::door::{Answer, Client, ClosedPort, Door, entry, proxy_config};
use weighbridge_tests::simulator::{Certificate, Simulator, completion};
use weighbridge_wire::provider::Kind;

const CHAT: &str = "/v1/chat/completions";
const KEY: &str = "sk-canary-7d2f9a";

struct Bed {
    folder: TempDir,
    simulator: Simulator,
    door: Door,
    client: Client,
}

fn config(base_url: &str, key_file: PathBuf) -> ProxyConfig {
    let keys = vec![KeySource { path: key_file, weight: NonZeroU16::MIN }];
    proxy_config(Kind::OpenAiCompatible, base_url, keys)
}

async fn bed() -> Bed {
    let folder = tempfile::tempdir().expect("a folder");
    let key_file = folder.path().join("key");
    std::fs::write(&key_file, format!("{KEY}\n")).expect("written");
    let simulator = Simulator::start().await.expect("a simulator");
    let base_url = format!("http://{}/base/v1", simulator.address());
    let door = Door::proxy(config(&base_url, key_file)).await.expect("a proxy");
    let client = Client::connect(door.address).await.expect("connected");
    Bed { folder, simulator, door, client }
}

fn ask(model: &str, more: &str) -> String {
    format!(r#"{{"messages":[],"model":"{model}"{more}}}"#)
}

fn code(answer: &Answer) -> String {
    answer.json().expect("JSON")["error"]["code"].as_str().unwrap_or_default().to_owned()
}

async fn admin(door: &Door, path: &str) -> Answer {
    Client::connect(door.admin).await.expect("connected").get(path).await.expect("answered")
}

#[tokio::test]
async fn the_key_is_added_and_what_the_caller_brought_stays_behind() {
    let mut bed = bed().await;
    let body = "{\"model\" : \"normal\",\n \"x\":1.0}";
    let headers = [
        ("authorization", "Bearer callers-own"),
        ("x-api-key", "callers-own"),
        ("cookie", "callers-own"),
        ("x-forwarded-for", "10.0.0.1"),
        ("connection", "keep-alive, x-secret"),
        ("accept-encoding", "gzip"),
        ("x-request-id", "r-1"),
    ];
    let answer = bed.client.open(Method::POST, CHAT, &headers, body).await.expect("answered");
    let answer = answer.whole().await.expect("whole");
    assert_eq!(answer.text().expect("text"), completion("normal", true));
    let seen = bed.simulator.seen().remove(0);
    assert_eq!((seen.path.as_str(), seen.body.as_ref()), ("/base/v1/chat/completions", body.as_bytes()));
    assert_eq!(seen.headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(seen.headers["host"], bed.simulator.address().to_string());
    assert_eq!(seen.headers["x-request-id"], "r-1");
    let mut names: Vec<_> = seen.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["authorization", "content-length", "host", "user-agent", "x-request-id"]);
}

/// The gateway meters by it, so only an engine of ours may say it.
#[tokio::test]
async fn a_providers_word_on_prompt_tokens_stays_behind() {
    let mut bed = bed().await;
    bed.simulator.release(8);
    let answer = bed.client.post(CHAT, ask("told", r#","stream":true"#)).await.expect("answered");
    assert_eq!(answer.status, StatusCode::OK);
    assert!(!answer.headers.contains_key("x-weighbridge-prompt-tokens"), "{:?}", answer.headers);
}

#[tokio::test]
async fn only_what_is_listed_is_forwarded() {
    let mut bed = bed().await;
    for path in ["/v1/files", "/v1/chat/completions/../../files", "/v1/chat/completions/", "//evil/", "/"] {
        let answer = bed.client.post(path, ask("normal", "")).await.expect("answered");
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
    let answer =
        bed.client.open(Method::POST, "http://evil.test/v1/completions", &[], ask("normal", "")).await;
    assert_eq!(answer.expect("answered").whole().await.expect("whole").status, StatusCode::OK);
    assert_eq!(bed.client.get(CHAT).await.expect("answered").status, StatusCode::METHOD_NOT_ALLOWED);
    // The one request that went out went to the pinned host.
    let seen = bed.simulator.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].headers["host"], bed.simulator.address().to_string());
}

#[tokio::test]
async fn embeddings_and_reranking_reach_the_provider() {
    let mut bed = bed().await;
    for (path, there) in [("/v1/embeddings", "/base/v1/embeddings"), ("/v1/rerank", "/base/v1/rerank")] {
        let answer = bed.client.post(path, ask("normal", "")).await.expect("answered");
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert_eq!(bed.simulator.seen().last().expect("a request").path, there);
    }
}

#[tokio::test]
async fn without_a_key_nothing_is_sent_and_the_pod_is_not_ready() {
    let mut bed = bed().await;
    let key = bed.folder.path().join("key");
    assert_eq!(admin(&bed.door, "/readyz").await.status, StatusCode::OK);
    std::fs::write(&key, " \n").expect("written");
    let answer = bed.client.post(CHAT, ask("normal", "")).await.expect("answered");
    assert_eq!(
        (answer.status, code(&answer)),
        (StatusCode::BAD_GATEWAY, "provider_credentials_missing".into())
    );
    assert!(admin(&bed.door, "/readyz").await.text().expect("text").contains("empty"));
    std::fs::remove_file(&key).expect("removed");
    let answer = bed.client.post(CHAT, ask("normal", "")).await.expect("answered");
    assert_eq!(code(&answer), "provider_credentials_missing");
    let ready = admin(&bed.door, "/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(ready.text().expect("text").contains("missing"));
    assert_eq!(bed.simulator.counts().requests, 0);

    std::fs::write(&key, "rotated").expect("written");
    assert_eq!(admin(&bed.door, "/readyz").await.status, StatusCode::OK);
    bed.client.post(CHAT, ask("normal", "")).await.expect("answered");
    assert_eq!(bed.simulator.seen()[0].headers["authorization"], "Bearer rotated");
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_is_a_502() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("key");
    std::fs::write(&key, KEY).expect("written");
    let port = ClosedPort::new().expect("a port");
    let closed = port.address;
    // Refused; a certificate that nobody trusts.
    let simulator = Simulator::start_tls(&Certificate::new().expect("made")).await.expect("a simulator");
    let port = simulator.address().port();
    for base_url in [format!("http://{closed}/v1"), format!("https://localhost:{port}/v1")] {
        let door = Door::proxy(config(&base_url, key.clone())).await.expect("a proxy");
        let mut client = Client::connect(door.address).await.expect("connected");
        let answer = client.post(CHAT, ask("normal", "")).await.expect("answered");
        assert_eq!((answer.status, code(&answer)), (StatusCode::BAD_GATEWAY, "provider_unreachable".into()));
        let said = answer.text().expect("text");
        assert!(said.contains("check baseURL of ExternalProvider `acme`"), "{said}");
    }
    assert_eq!(simulator.counts().requests, 0);
}

/// A name is checked again by what it leads to: its owner may point it inside after the object was admitted. Without the
/// check this provider would answer.
#[tokio::test]
async fn a_name_that_leads_inside_is_not_connected_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let (key, ca_file) = (folder.path().join("key"), folder.path().join("ca.pem"));
    let certificate = Certificate::new().expect("made");
    std::fs::write(&key, KEY).expect("written");
    std::fs::write(&ca_file, &certificate.pem).expect("written");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base_url = format!("https://localhost:{}/v1", listener.local_addr().expect("its address").port());
    let ca_file = Some(ca_file);
    let config = ProxyConfig { allow_private: false, ca_file, ..config(&base_url, key) };
    let door = Door::proxy(config).await.expect("a proxy");
    let mut client = Client::connect(door.address).await.expect("connected");
    tokio::select! {
        answer = client.post(CHAT, ask("normal", "")) => {
            let answer = answer.expect("answered");
            assert_eq!((answer.status, code(&answer)), (StatusCode::BAD_GATEWAY, "provider_unreachable".into()));
        }
        connected = listener.accept() => panic!("{connected:?}"),
    }
    // A connection would be in the backlog by now.
    assert!(listener.accept().now_or_never().is_none());
}

#[tokio::test]
async fn a_private_authority_is_trusted_where_it_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let (key, ca_file) = (folder.path().join("key"), folder.path().join("ca.pem"));
    let certificate = Certificate::new().expect("made");
    std::fs::write(&key, KEY).expect("written");
    std::fs::write(&ca_file, &certificate.pem).expect("written");
    let simulator = Simulator::start_tls(&certificate).await.expect("a simulator");
    let base_url = format!("https://localhost:{}/v1", simulator.address().port());
    let config = ProxyConfig { ca_file: Some(ca_file), ..config(&base_url, key) };
    let door = Door::proxy(config).await.expect("a proxy");
    let mut client = Client::connect(door.address).await.expect("connected");
    let answer = client.post(CHAT, ask("normal", "")).await.expect("answered");
    assert_eq!(answer.text().expect("text"), completion("normal", true));
}

#[tokio::test]
async fn what_must_not_be_reached_is_refused_at_start() {
    for base_url in ["http://api.example.com/v1", "https://169.254.169.254/v1", "https://[::1]/v1"] {
        let config = ProxyConfig { allow_private: false, ..config(base_url, "key".into()) };
        let door = Door::proxy(config).await.expect("ports");
        let error = door.ended().await.expect_err("must be refused");
        assert!(format!("{error:#}").contains("--base-url"), "{error:#}");
    }
}

/// At the gateway, which knows the caller's dialect: the proxy passes a provider's words on as they are.
#[tokio::test]
async fn the_providers_errors_are_ours_with_its_words_labelled() {
    for (model, status, expected) in [
        ("status-400", 400, "simulated"),
        ("status-401", 502, "upstream_credentials_exhausted"),
        ("status-402", 429, "simulated"),
        ("status-403", 502, "provider_credentials"),
        ("status-404", 502, "provider_not_found"),
        ("status-429", 429, "simulated"),
        ("status-500", 502, "provider_error"),
        ("status-503", 503, "provider_overloaded"),
        ("status-529", 503, "provider_overloaded"),
        ("redirect", 502, "provider_redirect"),
        ("html", 502, "provider_invalid_response"),
        ("hang-up", 502, "provider_broken"),
    ] {
        // A key that is refused, or limited, is not used again: each has its own proxy.
        let bed = bed().await;
        let entries = vec![entry(model, World::Closed, &[bed.door.address])];
        let directory = Directory::from_entries(entries);
        let door = Door::gateway(GatewayConfig::default(), directory).await.expect("a gateway");
        let mut client = Client::connect(door.address).await.expect("connected");
        let answer = client.post(CHAT, ask(model, "")).await.expect("answered");
        assert_eq!((answer.status.as_u16(), code(&answer).as_str()), (status, expected), "{model}");
        let text = answer.text().expect("text");
        assert!(text.contains("rovider `acme`"), "{text}");
        // No waiting mends an account that is used up.
        let waits = matches!(status, 429 | 503) && model != "status-402";
        assert_eq!(answer.headers.contains_key("retry-after"), waits, "{model}");
        for ours in ["x-weighbridge-failure", "x-weighbridge-attempts-used"] {
            assert!(!answer.headers.contains_key(ours), "{ours} is between gateway and proxy");
        }
        let seen = bed.simulator.seen();
        assert!(seen.iter().all(|seen| seen.path.ends_with(CHAT)), "redirects are not followed");
    }
}

#[tokio::test]
async fn two_hops_stream_cut_and_count_like_one() {
    let bed = bed().await;
    let at: [SocketAddr; 1] = [bed.door.address];
    let models = ["normal", "cut", "status-429", "error-in-stream"];
    let entries = models.iter().map(|model| entry(model, World::Closed, &at)).collect();
    let door =
        Door::gateway(GatewayConfig::default(), Directory::from_entries(entries)).await.expect("a gateway");
    let mut client = Client::connect(door.address).await.expect("connected");

    let answer = client.post(CHAT, ask("normal", r#","stream":true"#)).await.expect("answered");
    assert!(answer.text().expect("text").ends_with("data: [DONE]\n\n"));
    assert_eq!(answer.headers["x-weighbridge-world"], "closed");
    let answer = client.post(CHAT, ask("cut", r#","stream":true"#)).await.expect("a clean end");
    assert!(answer.text().expect("text").contains("upstream_truncated"));
    let answer = client.post(CHAT, ask("error-in-stream", r#","stream":true"#)).await.expect("a clean end");
    let text = answer.text().expect("text");
    assert!(text.contains("The upstream of `team/error-in-stream` broke off, saying: out of luck"), "{text}");
    let answer = client.post(CHAT, ask("status-429", "")).await.expect("answered");
    assert_eq!(
        (answer.status.as_u16(), &answer.headers["retry-after"]),
        (429, &"7".parse().expect("a value"))
    );

    let metrics = admin(&door, "/metrics").await;
    let metrics = metrics.text().expect("text");
    let labels = r#"namespace="team",model="status-429",world="closed",provider="acme",code="429""#;
    assert!(metrics.contains(&format!("weighbridge_requests_total{{{labels}}} 1")), "{metrics}");
}

/// What a provider said before its connection broke reaches the caller, though both come at once.
#[tokio::test]
async fn what_came_with_the_break_goes_out_before_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("its address");
    let event = r#"data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"Hello"}}]}"#;
    let said = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{event}\n\n\r\n",
        event.len() + 2
    );
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let said = said.clone();
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !String::from_utf8_lossy(&request).contains("\"stream\":true") {
                    if stream.read_buf(&mut request).await.expect("read") == 0 {
                        return;
                    }
                }
                stream.write_all(said.as_bytes()).await.expect("written");
            });
        }
    });
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("key");
    std::fs::write(&key, KEY).expect("written");
    let proxy = Door::proxy(config(&format!("http://{at}/v1"), key)).await.expect("a proxy");
    let entries = vec![entry("m", World::Closed, &[proxy.address])];
    let door = Door::gateway(GatewayConfig::default(), Directory::from_entries(entries)).await;
    let door = door.expect("a gateway");
    let mut client = Client::connect(door.address).await.expect("connected");
    for _ in 0..32 {
        let answer = client.post(CHAT, ask("m", r#","stream":true"#)).await.expect("a clean end");
        let text = answer.text().expect("text");
        assert!(text.contains("Hello") && text.contains("upstream_truncated"), "{text}");
    }
}
