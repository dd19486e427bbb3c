//! Between our own parts: a gateway gets in, nobody else does, and a gateway talks to nobody but whom it means.
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use http::Method;
use jiff::Timestamp;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;
use weighbridge_gateway::access::Access;
use weighbridge_gateway::directory::{Directory, Entry, World};
use weighbridge_gateway::{Drain, GatewayConfig, KeySource, Limits, ProxyConfig, Timeouts};
use weighbridge_operator::certificates::{Authority, Issuer};
use weighbridge_tests::certificates::{Installation, anonymous, front_door, lifetimes};
use weighbridge_tests::door::{Client, Door, entry};
use weighbridge_tests::engine::Engine;
use weighbridge_tests::simulator::Simulator;
use weighbridge_tls::{ClientTls, Handshakes, Identity, ServerTls};
use weighbridge_wire::provider::Kind;

const CHAT: &str = "/v1/chat/completions";

fn engine(name: &str) -> Identity {
    Identity::Engine { namespace: "team".to_owned(), name: name.to_owned() }
}

fn proxy(name: &str) -> Identity {
    Identity::Proxy { namespace: "team".to_owned(), name: name.to_owned() }
}

/// The model `name` at `address`, where `identity` is to answer.
fn at(name: &str, world: World, address: SocketAddr, identity: Identity) -> Entry {
    let mut entry = entry(name, world, &[address]);
    for endpoint in &mut entry.endpoints {
        endpoint.identity = Some(identity.clone());
    }
    entry
}

async fn gateway(upstream: Arc<ClientTls>, entries: Vec<Entry>) -> Door {
    let timeouts = Timeouts { reach_again: Duration::ZERO, ..Timeouts::default() };
    let config = GatewayConfig { upstream: Some(upstream), timeouts, ..GatewayConfig::default() };
    Door::gateway(config, Directory::from_entries(entries)).await.expect("a gateway")
}

async fn metrics(admin: SocketAddr) -> String {
    let mut client = Client::connect(admin).await.expect("connected");
    client.get("/metrics").await.expect("answered").text().expect("text").to_owned()
}

/// Waits until the admin port says so: a refused connection is counted a moment after its client knows.
async fn says(admin: SocketAddr, line: &str) {
    let there = async {
        while !metrics(admin).await.lines().any(|seen| seen == line) {
            tokio::task::yield_now().await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(60), there).await.is_err() {
        panic!("{line} is not in {}", metrics(admin).await);
    }
}

/// Nobody gets an answer out of `address`, where `identity` answers, but gateways of `ours`.
async fn only_gateways_get_in(
    ours: &Installation,
    address: SocketAddr,
    admin: SocketAddr,
    identity: &Identity,
) {
    let mut plain = Client::connect(address).await.expect("connected");
    let told = plain.post(CHAT, "{}").await.expect("told");
    assert_eq!(told.status, 400);
    assert!(told.text().expect("text").contains("use https"), "{told:?}");

    let name = identity.to_string();
    let trusted = &ours.issuer.trust().bundle;
    let others = Installation::new().expect("others");
    let gateway = Identity::Gateway;
    let stranger = engine("stranger");
    for (who, config) in [
        ("nobody", anonymous(ours.folder(), trusted, &[]).expect("a client")),
        ("itself", ours.client("itself", identity).expect("a client").current()),
        ("another pod", ours.client("stranger", &stranger).expect("a client").current()),
        (
            "a gateway of others",
            others.client_trusting("gateway", &gateway, trusted).expect("a client").current(),
        ),
    ] {
        let heard = async {
            let mut client = Client::connect_tls(address, config, &name).await?;
            client.post(CHAT, "{}").await
        };
        assert!(heard.await.is_err(), "{who} got an answer");
    }
    says(admin, "weighbridge_tls_handshake_failures_total{reason=\"refused\"} 4").await;
    says(admin, "weighbridge_tls_handshake_failures_total{reason=\"plain_text\"} 1").await;
    // Probes and scrapers show nothing.
    let mut probe = Client::connect(admin).await.expect("connected");
    for path in ["/livez", "/readyz"] {
        assert_eq!(probe.get(path).await.expect("answered").status, 200, "{path}");
    }
    let ends = "weighbridge_certificate_expiry_timestamp_seconds{use=\"server\"} ";
    let text = metrics(admin).await;
    let ends = text.lines().find_map(|line| line.strip_prefix(ends)).expect("the end of the certificate");
    let left = ends.parse::<i64>().expect("seconds") - Timestamp::now().as_second();
    assert!((6 * 86_400..8 * 86_400).contains(&left), "{left} s left");
}

#[tokio::test]
async fn an_engine_answers_gateways_and_nobody_else() {
    let ours = Installation::new().expect("an installation");
    let files = ours.server_files("engine", &engine("bert")).expect("files");
    let served = Engine::golden("bert", Some(files)).await.expect("an engine");
    let upstream = ours.client("gateway", &Identity::Gateway).expect("a certificate");
    let door = gateway(upstream, vec![at("bert", World::Open, served.address, engine("bert"))]).await;
    let mut client = Client::connect(door.address).await.expect("connected");
    let body = json!({"model": "bert", "input": ["what is it"]}).to_string();
    let answer = client.post("/v1/embeddings", body).await.expect("answered");
    assert_eq!(answer.status, 200, "{answer:?}");
    only_gateways_get_in(&ours, served.address, served.admin, &engine("bert")).await;
    let seen = metrics(door.admin).await;
    assert!(seen.contains("weighbridge_certificate_expiry_timestamp_seconds{use=\"client\"}"), "{seen}");
}

/// A proxy with a key, in front of a simulator.
struct Provider {
    simulator: Simulator,
    door: Door,
    _folder: TempDir,
}

async fn provider(tls: Arc<ServerTls>) -> Provider {
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("key");
    std::fs::write(&key, "sk-test").expect("written");
    let simulator = Simulator::start().await.expect("a simulator");
    let config = ProxyConfig {
        namespace: "team".to_owned(),
        provider: "acme".to_owned(),
        kind: Kind::OpenAiCompatible,
        base_url: Some(format!("http://{}/v1", simulator.address()).parse().expect("a URL")),
        place: None,
        keys: vec![KeySource { path: key, weight: NonZeroU16::MIN }],
        allow_private: true,
        ca_file: None,
        limits: Limits::default(),
        timeouts: Timeouts::default(),
        drain: Drain::default(),
    };
    let door = Door::secure_proxy(config, Some(tls)).await.expect("a proxy");
    Provider { simulator, door, _folder: folder }
}

fn ask(model: &str, more: &str) -> String {
    format!(r#"{{"messages":[{{"role":"user","content":"hi"}}],"model":"{model}"{more}}}"#)
}

#[tokio::test]
async fn a_proxy_answers_gateways_and_nobody_else() {
    let ours = Installation::new().expect("an installation");
    let provider = provider(ours.server("proxy", &proxy("acme")).expect("a certificate")).await;
    let upstream = ours.client("gateway", &Identity::Gateway).expect("a certificate");
    let address = provider.door.address;
    let door = gateway(upstream, vec![at("normal", World::Closed, address, proxy("acme"))]).await;
    let mut client = Client::connect(door.address).await.expect("connected");
    let answer = client.post(CHAT, ask("normal", "")).await.expect("answered");
    assert_eq!(answer.status, 200, "{answer:?}");
    let before = provider.simulator.counts().requests;
    only_gateways_get_in(&ours, address, provider.door.admin, &proxy("acme")).await;
    assert_eq!(provider.simulator.counts().requests, before, "nobody spent the account's money");
}

/// How things stand is for the operator, calls are for gateways, and neither may do what is the other's.
#[tokio::test]
async fn the_operator_asks_a_proxy_how_things_stand_and_nobody_else_does() {
    let ours = Installation::new().expect("an installation");
    let provider = provider(ours.server("proxy", &proxy("acme")).expect("a certificate")).await;
    let name = proxy("acme").to_string();
    let client = async |identity: &Identity| {
        let config = ours.client(&identity.to_string(), identity).expect("a certificate").current();
        Client::connect_tls(provider.door.address, config, &name).await.expect("connected")
    };
    let mut operator = client(&Identity::Operator).await;
    let state = operator.get("/state").await.expect("answered");
    assert_eq!(
        (state.status.as_u16(), state.json().expect("JSON")["provider"].as_str()),
        (200, Some("acme"))
    );
    assert_eq!(operator.post(CHAT, ask("normal", "")).await.expect("answered").status, 404);
    let mut gateway = client(&Identity::Gateway).await;
    assert_eq!(gateway.get("/state").await.expect("answered").status, 404);
    let mut anybody = Client::connect(provider.door.admin).await.expect("connected");
    assert_eq!(anybody.get("/state").await.expect("answered").status, 404);
    assert_eq!(provider.simulator.counts().requests, 0, "the operator calls no provider");

    let files = ours.server_files("engine", &engine("bert")).expect("files");
    let served = Engine::golden("bert", Some(files)).await.expect("an engine");
    let config = ours.client("operator", &Identity::Operator).expect("a certificate").current();
    let heard = async {
        let mut client = Client::connect_tls(served.address, config, &engine("bert").to_string()).await?;
        client.get("/v1/models").await
    };
    assert!(heard.await.is_err(), "an engine lets gateways in alone");
}

#[tokio::test]
async fn a_gateway_talks_to_nobody_but_whom_it_means() {
    let (ours, others) = (Installation::new().expect("ours"), Installation::new().expect("others"));
    let provider = provider(ours.server("proxy", &proxy("acme")).expect("a certificate")).await;
    let address = provider.door.address;
    let (mine, theirs) = (&ours.issuer.trust().bundle, &others.issuer.trust().bundle);
    let unreachable = (503, Some("endpoint_unreachable"));
    for (what, installation, trusted, meant, (status, code)) in [
        ("the right one", &ours, mine, Some(proxy("acme")), (200, None)),
        ("another provider", &ours, mine, Some(proxy("other")), unreachable),
        ("an engine", &ours, mine, Some(engine("acme")), unreachable),
        ("a pod of others", &ours, theirs, Some(proxy("acme")), unreachable),
        // The pod's word comes after the request was sent.
        ("one that lets us not in", &others, mine, Some(proxy("acme")), (502, Some("upstream_broken"))),
        ("one whom nobody vouches for", &ours, mine, None, (500, Some("internal_error"))),
    ] {
        let upstream = installation.client_trusting(what, &Identity::Gateway, trusted);
        let upstream = upstream.expect("a certificate");
        let mut entry = entry("normal", World::Closed, &[address]);
        entry.endpoints[0].identity = meant;
        let before = provider.simulator.counts().requests;
        let door = gateway(upstream, vec![entry]).await;
        let mut client = Client::connect(door.address).await.expect("connected");
        let answer = client.post(CHAT, ask("normal", "")).await.expect("answered");
        let said = answer.json().expect("JSON");
        assert_eq!(answer.status.as_u16(), status, "{what}: {said}");
        assert_eq!(said["error"]["code"].as_str(), code, "{what}: {said}");
        let asked = provider.simulator.counts().requests - before;
        assert_eq!(asked, u64::from(status == 200), "{what}");
    }
}

/// Hands connections on to `to`, and counts them.
async fn counting(to: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let (address, count) = (listener.local_addr().expect("its address"), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    let task = tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let mut far = TcpStream::connect(to).await.expect("connected");
                // How it ends is the affair of the two.
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    (address, count, AbortOnDropHandle::new(task))
}

/// A handshake costs more than a request.
#[tokio::test]
async fn a_connection_to_a_pod_is_kept_for_the_next_request() {
    let ours = Installation::new().expect("an installation");
    let provider = provider(ours.server("proxy", &proxy("acme")).expect("a certificate")).await;
    let upstream = ours.client("gateway", &Identity::Gateway).expect("a certificate");
    let (address, connections, _task) = counting(provider.door.address).await;
    let door = gateway(upstream, vec![at("normal", World::Closed, address, proxy("acme"))]).await;
    let mut client = Client::connect(door.address).await.expect("connected");
    for more in ["", r#","stream":true"#, ""] {
        let answer = client.post(CHAT, ask("normal", more)).await.expect("answered");
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

/// A caller's streams, all open.
struct Callers {
    address: SocketAddr,
    streams: Vec<(Client, weighbridge_tests::door::Streamed)>,
}

impl Callers {
    /// `count` more streams, each on new connections all the way: those that are there are in use.
    async fn open(&mut self, count: usize, trusted: &str, folder: &Path) {
        let config = anonymous(folder, trusted, &[b"http/1.1"]).expect("a client");
        let address = self.address;
        let opening = (0..count).map(|_| {
            let config = Arc::clone(&config);
            async move {
                let client = Client::connect_tls(address, config, "door.test").await;
                let mut client = client.expect("let in");
                let body = ask("stall", r#","stream":true"#);
                let stream = client.open(Method::POST, CHAT, &[], body).await.expect("begun");
                assert_eq!(stream.status, 200);
                (client, stream)
            }
        });
        let streams = join_all(opening).await;
        self.streams.extend(streams);
    }
}

/// Every certificate and every authority is replaced, at the front door and between gateway and pod, while streams are open
/// and new ones begin: none fails.
#[tokio::test]
async fn a_rotation_under_load_cuts_nothing() {
    let ours = Installation::new().expect("an installation");
    let provider = provider(ours.server("proxy", &proxy("acme")).expect("a certificate")).await;
    let upstream = ours.client("gateway", &Identity::Gateway).expect("a certificate");
    let doors = ours.folder().join("door");
    let (files, mut trusted) = front_door(&doors, "door.test").expect("a certificate");
    let front = Arc::new(ServerTls::load(files, Handshakes::default()).expect("loaded"));
    let config = GatewayConfig { upstream: Some(upstream), ..GatewayConfig::default() };
    let entry = at("stall", World::Closed, provider.door.address, proxy("acme"));
    let directory = Directory::from_entries(vec![entry]);
    let door = Door::secure(config, directory, Access::open("team"), Some(front)).await.expect("a gateway");

    let mut callers = Callers { address: door.address, streams: Vec::new() };
    callers.open(32, &trusted, ours.folder()).await;

    let now = Timestamp::now();
    let new = Authority::create(&lifetimes().expect("lifetimes"), now).expect("made");
    let bundle = format!("{}{}", new.certificate, ours.issuer.trust().bundle);
    let new = Issuer::new(vec![new], lifetimes().expect("lifetimes"));
    let of = |issuer: &Issuer, trusted: &str| {
        let issued = |who: &Identity| issuer.issue(who, now).expect("issued");
        (issued(&proxy("acme")), issued(&Identity::Gateway), trusted.to_owned())
    };
    // The old authority's successor is trusted, then signs, then is alone.
    let steps = [of(&ours.issuer, &bundle), of(&new, &bundle), of(&new, &new.trust().bundle)];
    for (pod, gateway, bundle) in steps {
        // Each hears of it at another time.
        ours.mount("proxy", &pod, &bundle).expect("mounted");
        callers.open(4, &trusted, ours.folder()).await;
        ours.mount("gateway", &gateway, &bundle).expect("mounted");
        (_, trusted) = front_door(&doors, "door.test").expect("a certificate");
        callers.open(4, &trusted, ours.folder()).await;
    }
    let open = callers.streams.len();
    assert_eq!(open, 32 + 3 * 8);
    provider.simulator.wait_for(|counts| counts.waiting == open as u64).await;
    provider.simulator.release(open);
    for (_client, mut stream) in callers.streams {
        let mut last = None;
        while let Some(event) = stream.event().await.expect("not cut") {
            last = Some(event);
        }
        assert_eq!(last.as_deref(), Some("data: [DONE]\n\n"));
    }
    for admin in [door.admin, provider.door.admin] {
        let seen = metrics(admin).await;
        let failed = |line: &&str| line.contains("_failures_total{") && !line.ends_with(" 0");
        assert_eq!(seen.lines().find(failed), None, "{seen}");
    }
}
