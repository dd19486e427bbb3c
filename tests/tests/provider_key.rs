//! A provider's keys are on no surface of the proxy: answers, errors, logs at every level, metrics, `Debug`, panics.
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod provider_script;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::Method;
use provider_script::{LEAKS, Provider, Seen, a_path, config, leaky, write_keys};
use weighbridge_gateway::GatewayConfig;
use weighbridge_gateway::directory::{Directory, Entry, World};
use weighbridge_tests::door::{Answer, Client, Door, Form, entry};
use weighbridge_tests::log::Log;
use weighbridge_tests::simulator::Simulator;
use weighbridge_wire::provider::Kind;

const CHAT: &str = "/v1/chat/completions";
/// None is part of another, and each has what encodings change.
const KEYS: [&str; 3] = ["sk-canary-7d2f9a", "AIza+canary/2b=8c", "canary~\"third\\%41"];
const PLAIN: [&str; 3] = ["sk-canary-7d2f9a", "sk-canary-2b8c4e", "sk-canary-9f3a1d"];

async fn admin(door: &Door, path: &str) -> Answer {
    Client::connect(door.admin).await.expect("connected").get(path).await.expect("answered")
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

/// Everything that a caller is shown, of an answer that is broken off as well.
async fn shown(door: &Door, path: &str, body: &str) -> String {
    let mut client = Client::connect(door.address).await.expect("connected");
    let json = [("content-type", "application/json")];
    let mut answer = match client.open(Method::POST, path, &json, body.to_owned()).await {
        Ok(answer) => answer,
        Err(error) => return format!("{error:?}"),
    };
    let mut shown = format!("{:?}", answer.headers).into_bytes();
    loop {
        match answer.piece().await {
            Ok(Some(piece)) => shown.extend_from_slice(&piece),
            Ok(None) => break,
            Err(error) => {
                shown.extend_from_slice(format!("{error:?}").as_bytes());
                break;
            }
        }
    }
    String::from_utf8_lossy(&shown).into_owned()
}

async fn surfaces_of(kind: Kind) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let turn = Arc::new(Mutex::new(0));
    let now = Arc::clone(&turn);
    let of_list = Arc::clone(&turn);
    let said = written();
    let leaks = move |turn: &Mutex<usize>| leaky(kind, *turn.lock().expect("unpoisoned"), &KEYS, &said);
    let of_calls = leaks.clone();
    let calls = move |_: &Seen| of_calls(&now);
    let lists = move |_: &Seen| leaks(&of_list);
    let provider = Provider::listing(kind, calls, lists).await;
    let keys = write_keys(folder.path(), &KEYS.map(|key| (key, 1)));
    let config = config(kind, provider.address, keys);
    let mut surfaces = format!("{config:?}");
    let door = Door::proxy(config).await.expect("a proxy");
    let entry = Entry { speaks: kind.speaks("m"), ..entry("m", World::Closed, &[door.address]) };
    let front = Door::gateway(GatewayConfig::default(), Directory::from_entries(vec![entry])).await;
    let front = front.expect("a gateway");
    for next in 0..LEAKS {
        *turn.lock().expect("unpoisoned") = next;
        // The caller's own attempt to have a key shown is on the way too.
        surfaces += &shown(&door, a_path(kind), "{}").await;
        for form in Form::ALL {
            for stream in [false, true] {
                surfaces += &shown(&front, &form.path("m", stream), &form.body("m", stream, "hi")).await;
            }
        }
    }
    surfaces += admin(&front, "/metrics").await.text().expect("text");
    surfaces += admin(&door, "/metrics").await.text().expect("text");
    surfaces += admin(&door, "/readyz").await.text().expect("text");
    let mut operator = Client::connect(door.address).await.expect("connected");
    surfaces += operator.get("/state").await.expect("answered").text().expect("text");
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
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.writer()).finish();
    // Of the whole process, which is why this test has one to itself.
    tracing::subscriber::set_global_default(subscriber).expect("the only one");
    let panics = Log::of_panics();
    let mut surfaces = surfaces_of_misbehaviour().await;
    for kind in Kind::ALL.into_iter().filter(|kind| !kind.has_place()) {
        surfaces += &surfaces_of(kind).await;
    }
    surfaces += &log.text();
    surfaces += &panics.text();
    assert!(surfaces.contains("weighbridge_provider_requests_total"), "the metrics are there");
    assert!(surfaces.contains("the provider answered with an error"), "no log");
    assert!(surfaces.contains("the provider's answer holds its key"), "no answer had one");
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
