//! Gateway, proxy and provider over networks that seeds make bad: whatever breaks, a caller gets one answer, whole and
//! right, or an error in its dialect's shape, and every count comes back to nothing.
//!
//! `WEIGHBRIDGE_SEED=17` runs one seed again, `WEIGHBRIDGE_SEEDS=5000` looks further. A seed decides what breaks and after
//! how many bytes; which part of the process runs first is the kernel's affair, and no claim here rests on it.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test ends by panicking, and names its seed"
)]

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use weighbridge_gateway::directory::{Directory, Entry, World};
use weighbridge_gateway::{GatewayConfig, ProxyConfig};
use weighbridge_tests::door::{Answer, Client, Door, Form, Link, entry, proxy_config, write_keys};
use weighbridge_tests::simulator::{Certificate, Simulator};
use weighbridge_wire::provider::Kind;

/// What a provider speaks: a seed takes one.
const KINDS: [Kind; 4] = [Kind::OpenAiCompatible, Kind::OpenAi, Kind::Anthropic, Kind::Gemini];
const SEEDS: u64 = 60;
const REQUESTS: usize = 8;
/// Attempts that a request may cost the upstreams, as the gateway bounds them.
const ATTEMPTS: u64 = 3;
const MODELS: [&str; 7] =
    ["normal", "drip", "error-first", "error-in-stream", "status-503", "truncated", "cut"];
const TEXT: &str = "Hello, w\u{f6}rld 😀!";
/// Counts settle as fast as tasks run; a run that takes this long will never end.
const SETTLED: Duration = Duration::from_secs(60);

/// Says which seed failed.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {} failed: WEIGHBRIDGE_SEED={0} runs it again", self.0);
        }
    }
}

#[tokio::test]
async fn whatever_breaks_a_caller_gets_one_answer_or_an_error() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds = match number("WEIGHBRIDGE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("WEIGHBRIDGE_SEEDS").unwrap_or(SEEDS),
    };
    let (mut whole, mut failed, mut secure) = (0, 0, 0);
    for seed in seeds {
        let _named = Seed(seed);
        let run = tokio::time::timeout(SETTLED, run(seed)).await.expect("it ends");
        (whole, failed) = (whole + run.whole, failed + run.failed);
        secure += if run.secure { run.whole } else { 0 };
    }
    // A network that breaks nothing, or everything, would show nothing.
    assert!(whole > 0 && failed > 0, "{whole} whole answers, {failed} errors");
    // A seed alone may have no TLS.
    assert!(secure > 0 || number("WEIGHBRIDGE_SEED").is_some(), "no answer came by TLS");
}

#[derive(Default)]
struct Run {
    whole: usize,
    failed: usize,
    /// Whether its provider is called by TLS.
    secure: bool,
}

async fn run(seed: u64) -> Run {
    let mut random = StdRng::seed_from_u64(seed);
    let world = if random.random() { World::Open } else { World::Closed };
    // Providers are called by TLS, over which they offer HTTP/2: all requests then share a connection that breaks.
    let secure = world == World::Closed && random.random();
    let certificate = Certificate::http2().expect("made");
    let simulator = if secure { Simulator::start_tls(&certificate).await } else { Simulator::start().await };
    let simulator = simulator.expect("a simulator");
    let mut links = 0..;
    let mut link = async |to| {
        Link::start(to, seed.wrapping_mul(31).wrapping_add(links.next().unwrap_or(0))).await.expect("a link")
    };
    let to_provider = link(simulator.address()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let keys = write_keys(folder.path(), &[("sk-of-the-provider", 1)]).expect("written");
    let base_url = format!("{}://{}/v1", if secure { "https" } else { "http" }, to_provider.address);
    let kind = KINDS[random.random_range(0..KINDS.len())];
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, &certificate.pem).expect("written");
    let config = ProxyConfig { ca_file: Some(ca_file), ..proxy_config(kind, &base_url, keys) };
    let proxy = Door::proxy(config).await.expect("a proxy");
    let to_proxy = link(proxy.address).await;
    let replicas = [link(simulator.address()).await, link(simulator.address()).await];

    let endpoints = match world {
        World::Open => replicas.iter().map(|link| link.address).collect::<Vec<_>>(),
        World::Closed => vec![to_proxy.address],
    };
    let entries = MODELS.iter().map(|model| match (entry(model, world, &endpoints), world) {
        (entry, World::Open) => entry,
        (entry, World::Closed) => Entry { speaks: kind.speaks(model), ..entry },
    });
    let entries = entries.collect();
    let door =
        Door::gateway(GatewayConfig::default(), Directory::from_entries(entries)).await.expect("a gateway");
    let to_door = link(door.address).await;
    // Of a caller whose own network is good, nothing may ever break.
    let good_network: bool = random.random();
    let address = if good_network { door.address } else { to_door.address };

    let mut run = Run { secure, ..Run::default() };
    for _ in 0..REQUESTS {
        let form = Form::ALL[random.random_range(0..Form::ALL.len())];
        let model = MODELS[random.random_range(0..MODELS.len())];
        let stream: bool = random.random();
        let answer = async {
            let mut client = Client::connect(address).await?;
            client.post(&form.path(model, stream), form.body(model, stream, "hi")).await
        };
        match answer.await {
            Ok(answer) => match check(form, model, stream, &answer) {
                Ok(()) => run.whole += 1,
                Err(()) => run.failed += 1,
            },
            Err(error) => assert!(!good_network, "{form:?} {model} {stream}: {error:#}"),
        }
    }
    settled(&door, &simulator, good_network).await;
    run
}

/// One answer, whole and right; or an error in the dialect's shape after no more than a beginning of it.
fn check(form: Form, model: &str, stream: bool, answer: &Answer) -> Result<(), ()> {
    let text = answer.text().expect("text");
    let context = format!("{form:?} {model} {stream}: {} {text}", answer.status);
    if answer.status != 200 {
        assert!(answer.status.is_client_error() || answer.status.is_server_error(), "{context}");
        form.error(&answer.json().expect("JSON")).expect("an error");
        return Err(());
    }
    if !stream {
        assert_eq!(form.read(&answer.json().expect("JSON")).expect("an answer").0, TEXT, "{context}");
        return Ok(());
    }
    let events = form.events(text).unwrap_or_else(|error| panic!("{context}: {error:#}"));
    let said = form.streamed(&events);
    assert!(TEXT.starts_with(&said), "{context}: no beginning of the answer");
    let ends = events.iter().filter(|event| form.is_end(event)).count();
    if ends > 0 {
        assert_eq!((ends, said.as_str()), (1, TEXT), "{context}");
        assert!(!matches!(model, "error-first" | "error-in-stream" | "truncated" | "cut"), "{context}");
        return Ok(());
    }
    let last = events.last().unwrap_or_else(|| panic!("{context}: neither answer nor error"));
    match form {
        Form::Responses if last["type"] == "response.failed" => {}
        // As it came, it is OpenAI's own event.
        Form::Responses => assert_eq!(last["type"], "error", "{context}"),
        Form::Chat | Form::Messages | Form::Events | Form::Array => {
            form.error(last).expect("an error");
        }
    }
    Err(())
}

/// Nothing is left open, nothing was counted twice, and the upstreams were not asked more often than the bound says.
async fn settled(door: &Door, simulator: &Simulator, good_network: bool) {
    let sum = |metrics: &str, name: &str| -> f64 {
        let lines = metrics.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    };
    let metrics = loop {
        // A caller that left is noticed a moment later; each look lets the others run.
        let mut client = Client::connect(door.admin).await.expect("connected");
        let metrics = client.get("/metrics").await.expect("metrics").text().expect("text").to_owned();
        if sum(&metrics, "weighbridge_requests_in_flight") == 0.0 {
            break metrics;
        }
    };
    let requests = sum(&metrics, "weighbridge_requests_total");
    assert!(requests <= REQUESTS as f64, "{metrics}");
    assert!(!good_network || requests == REQUESTS as f64, "{metrics}");
    let asked = simulator.counts().requests;
    assert!(asked <= ATTEMPTS * REQUESTS as u64, "{asked} requests at the upstreams");
}
