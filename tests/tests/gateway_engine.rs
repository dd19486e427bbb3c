//! The gateway in front of our engine on the sample model: what one says, the other understands.
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use weighbridge_gateway::GatewayConfig;
use weighbridge_gateway::directory::{Directory, World};
use weighbridge_inference_server::http::Phase;
use weighbridge_inference_server::server::{ModelFile, Server, ServerConfig};
use weighbridge_tests::door::{Client, Door, entry};
use weighbridge_tests::measured::sample;

const CHAT: &str = "/v1/chat/completions";
const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

struct Engine {
    address: SocketAddr,
    admin: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

/// An engine on the sample that has become ready.
async fn engine() -> Engine {
    let model = ModelFile::Path(sample().expect("a model"));
    let mut config = ServerConfig::new(ANYWHERE, model, "smollm2");
    config.admin_listen = Some(ANYWHERE);
    let server = Server::bind(config).await.expect("a port");
    let (address, admin) = (server.address(), server.admin_address().expect("a second port"));
    let (phases, mut phase) = watch::channel(Phase::Opening);
    let sink = Arc::new(move |phase: &Phase| {
        phases.send_replace(phase.clone());
    });
    let task =
        tokio::spawn(async move { server.run(std::future::pending(), sink).await.expect("no failure") });
    phase.wait_for(|phase| *phase == Phase::Ready).await.expect("it becomes ready");
    Engine { address, admin, _task: AbortOnDropHandle::new(task) }
}

/// The value of the series of `/metrics` at `admin` that begins with `series`; 0 where there is none.
async fn metric(admin: SocketAddr, series: &str) -> f64 {
    let mut client = Client::connect(admin).await.expect("connected");
    let answer = client.get("/metrics").await.expect("answered");
    let line = answer.text().expect("text").lines().find(|line| line.starts_with(series));
    line.map_or(0.0, |line| line.rsplit(' ').next().expect("a value").parse().expect("a number"))
}

#[tokio::test]
async fn a_stream_that_is_left_is_metered_as_the_engine_meters_it() {
    let engine = engine().await;
    let directory = Directory::from_entries(vec![entry("smollm2", World::Open, &[engine.address])]);
    let door = Door::gateway(GatewayConfig::new("team"), directory).await.expect("a gateway");
    let mut client = Client::connect(door.address).await.expect("connected");
    let body = json!({"model": "smollm2", "stream": true, "max_tokens": 4000, "ignore_eos": true,
                      "messages": [{"role": "user", "content": "Tell me everything about bridges."}]});
    let mut stream = client.open(Method::POST, CHAT, &[], body.to_string()).await.expect("begun");
    for _ in 0..4 {
        stream.event().await.expect("an event").expect("no end yet");
    }
    drop((stream, client));
    let labels = "namespace=\"team\",model=\"smollm2\",world=\"open\",provider=\"\"";
    // A request is counted last, when everything else of it is.
    let left = format!("weighbridge_requests_total{{{labels},code=\"499\"}}");
    let settled = async {
        while metric(door.admin, &left).await == 0.0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), settled).await.expect("the request is settled");
    let metered = |direction: &str| format!("weighbridge_tokens_total{{{labels},direction=\"{direction}\"}}");
    let input = metric(door.admin, &metered("input")).await;
    // The engine counts a prompt when it takes the request.
    let engines = "weighbridge_engine_tokens_total{model=\"smollm2\",world=\"open\",direction=\"input\"}";
    assert!(input > 20.0, "{input}");
    assert_eq!(input, metric(engine.admin, engines).await);
    assert!(metric(door.admin, &metered("output")).await >= 3.0);
}
