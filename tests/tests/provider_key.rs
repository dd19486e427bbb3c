//! A provider's key is on no surface of the proxy: answers, errors, logs at every level, metrics, `Debug`.
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

use std::io::Write;
use std::sync::{Arc, Mutex};

use weighbridge_gateway::{Drain, Limits, ProxyConfig, Timeouts};
use weighbridge_tests::door::{Answer, Client, Door};
use weighbridge_tests::simulator::Simulator;

const CHAT: &str = "/v1/chat/completions";
const KEY: &str = "sk-canary-7d2f9a";

async fn admin(door: &Door, path: &str) -> Answer {
    Client::connect(door.admin).await.expect("connected").get(path).await.expect("answered")
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("unpoisoned").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_key_is_on_no_surface() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // Of the whole process, which is why this test has one to itself.
    tracing::subscriber::set_global_default(subscriber).expect("the only one");
    let folder = tempfile::tempdir().expect("a folder");
    let key_file = folder.path().join("key");
    std::fs::write(&key_file, format!("{KEY}\n")).expect("written");
    let simulator = Simulator::start().await.expect("a simulator");
    let config = ProxyConfig {
        namespace: "team".to_owned(),
        provider: "acme".to_owned(),
        base_url: format!("http://{}/v1", simulator.address()).parse().expect("a URL"),
        key_file,
        allow_private: true,
        ca_file: None,
        limits: Limits::default(),
        timeouts: Timeouts::default(),
        drain: Drain::default(),
    };
    let mut surfaces = format!("{config:?}");
    let door = Door::proxy(config).await.expect("a proxy");
    let mut client = Client::connect(door.address).await.expect("connected");
    for model in [
        "normal",
        "status-401",
        "status-400",
        "status-500",
        "echo-key",
        "redirect",
        "hang-up",
        "html",
        "cut",
        "invalid-json",
    ] {
        for more in ["", r#","stream":true"#] {
            match client.post(CHAT, format!(r#"{{"messages":[],"model":"{model}"{more}}}"#)).await {
                Ok(answer) => surfaces += &format!("{answer:?}"),
                Err(error) => {
                    surfaces += &format!("{error:?}");
                    client = Client::connect(door.address).await.expect("connected");
                }
            }
        }
    }
    surfaces += admin(&door, "/metrics").await.text().expect("text");
    surfaces += admin(&door, "/readyz").await.text().expect("text");
    surfaces += &String::from_utf8_lossy(&log.0.lock().expect("unpoisoned"));
    assert!(surfaces.contains("weighbridge_provider_requests_total"), "the metrics are there");
    assert!(surfaces.contains("the provider answered with an error"), "no log in {surfaces}");
    assert!(simulator.seen().iter().all(|seen| seen.headers["authorization"] == format!("Bearer {KEY}")));
    let found = surfaces.find("canary").map(|at| &surfaces[at.saturating_sub(200)..at + 20]);
    assert_eq!(found, None);
}
