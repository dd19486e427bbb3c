//! A provider's keys are on no surface of the proxy: answers, errors, logs at every level, metrics, `Debug`, panics.
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod provider_script;

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::Response;
use provider_script::{Provider, Seen, a_path, config, json, write_keys};
use weighbridge_tests::door::{Answer, Client, Door};
use weighbridge_tests::simulator::Simulator;
use weighbridge_wire::provider::Kind;

const CHAT: &str = "/v1/chat/completions";
/// None is part of another, and each has what encodings change.
const KEYS: [&str; 3] = ["sk-canary-7d2f9a", "AIza+canary/2b=8c", "canary~\"third\\%41"];
const PLAIN: [&str; 3] = ["sk-canary-7d2f9a", "sk-canary-2b8c4e", "sk-canary-9f3a1d"];

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

/// Every way to write every key.
fn written() -> Vec<String> {
    let percent = |key: &str, all: bool| {
        let one = |byte: u8| match byte {
            byte if byte.is_ascii_alphanumeric() && !all => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        };
        key.bytes().map(one).collect::<String>()
    };
    let ways = |key: &&str| {
        let header = format!("Bearer {key}");
        let basic = format!("user:{key}");
        let mut ways = vec![(*key).to_owned(), percent(key, false), percent(key, true)];
        for text in [key, header.as_str(), basic.as_str()] {
            ways.extend([STANDARD.encode(text), URL_SAFE_NO_PAD.encode(text)]);
        }
        ways
    };
    KEYS.iter().flat_map(ways).collect()
}

/// Says every key in every way, in body and headers, as the answer that `turn` stands for.
fn leaky(turn: usize) -> Response<String> {
    let said = written();
    let body =
        serde_json::json!({"type": "error", "error": {"message": said, "code": KEYS[0], "param": KEYS[1]}});
    let headers = [("x-request-id", KEYS[0]), ("request-id", said[3].as_str()), ("retry-after", KEYS[0])];
    match turn {
        0 => json(400, &headers, &body.to_string()),
        1 => json(500, &headers, &body.to_string()),
        2 => json(529, &headers, &body.to_string()),
        3 => Response::builder()
            .status(302)
            .header("location", format!("https://evil.test/{}", PLAIN[0]))
            .body(said.concat())
            .expect("an answer"),
        4 => Response::builder().header("content-type", "text/html").body(said.concat()).expect("an answer"),
        5 => json(429, &[("retry-after-ms", "0"), ("x-request-id", KEYS[0])], &body.to_string()),
        _ => json(401, &headers, &body.to_string()),
    }
}
const TURNS: usize = 10;

async fn surfaces_of(kind: Kind) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let turn = Arc::new(Mutex::new(0));
    let now = Arc::clone(&turn);
    let of_list = Arc::clone(&turn);
    let leaks = move |_: &Seen| leaky(*now.lock().expect("unpoisoned"));
    let lists = move |_: &Seen| leaky(*of_list.lock().expect("unpoisoned"));
    let provider = Provider::listing(kind, leaks, lists).await;
    let keys = write_keys(folder.path(), &KEYS.map(|key| (key, 1)));
    let config = config(kind, provider.address, keys);
    let mut surfaces = format!("{config:?}");
    let door = Door::proxy(config).await.expect("a proxy");
    let mut client = Client::connect(door.address).await.expect("connected");
    for next in 0..TURNS {
        *turn.lock().expect("unpoisoned") = next;
        // The caller's own attempt to have a key shown is on the way too.
        let answer = client.post(a_path(kind), "{}").await.expect("answered");
        surfaces += &format!("{answer:?}{}", String::from_utf8_lossy(&answer.body));
    }
    surfaces += admin(&door, "/metrics").await.text().expect("text");
    surfaces += admin(&door, "/readyz").await.text().expect("text");
    surfaces += admin(&door, "/state").await.text().expect("text");
    let seen = provider.seen();
    assert!(
        seen.iter().all(|seen| seen.path.starts_with("/base/") && seen.headers.contains_key("user-agent"))
    );
    let used: BTreeSet<String> = seen.into_iter().map(|seen| seen.key).collect();
    assert_eq!(used, KEYS.map(str::to_owned).into(), "{kind}: every key was sent");
    assert!(surfaces.contains("[key]"), "{kind}: errors are passed on, without the keys");
    surfaces
}

async fn surfaces_of_misbehaviour() -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let simulator = Simulator::start().await.expect("a simulator");
    let keys = write_keys(folder.path(), &PLAIN.map(|key| (key, 1)));
    let config = config(Kind::OpenAiCompatible, simulator.address(), keys);
    let mut surfaces = format!("{config:?}");
    let door = Door::proxy(config).await.expect("a proxy");
    let mut client = Client::connect(door.address).await.expect("connected");
    for model in [
        "normal",
        "status-400",
        "status-500",
        "echo-key",
        "echo-key",
        "echo-key",
        "redirect",
        "hang-up",
        "html",
        "cut",
        "invalid-json",
        "status-401",
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
    let sent = |key: &str| {
        simulator.seen().iter().any(|seen| seen.headers["authorization"] == format!("Bearer {key}"))
    };
    assert!(PLAIN.into_iter().all(sent));
    surfaces
}

#[tokio::test]
async fn the_keys_are_on_no_surface() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // Of the whole process, which is why this test has one to itself.
    tracing::subscriber::set_global_default(subscriber).expect("the only one");
    let panics = Log::default();
    let said = panics.clone();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        write!(said.clone(), "{panic}").expect("written");
        hook(panic);
    }));
    let mut surfaces = surfaces_of_misbehaviour().await;
    for kind in Kind::ALL {
        surfaces += &surfaces_of(kind).await;
    }
    surfaces += &String::from_utf8_lossy(&log.0.lock().expect("unpoisoned"));
    surfaces += &String::from_utf8_lossy(&panics.0.lock().expect("unpoisoned"));
    assert!(surfaces.contains("weighbridge_provider_requests_total"), "the metrics are there");
    assert!(surfaces.contains("the provider answered with an error"), "no log");
    let shown = |text: &str| {
        surfaces
            .find(text)
            .map(|at| String::from_utf8_lossy(&surfaces.as_bytes()[at.saturating_sub(200)..at + text.len()]))
    };
    assert_eq!(shown("canary"), None);
    for text in written() {
        // Inside base64 the first and the last digits may be of the text around.
        assert_eq!(shown(&text[3..text.len() - 3]), None);
    }
}
