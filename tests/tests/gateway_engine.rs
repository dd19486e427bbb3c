//! The gateway in front of our engine on the sample model: what one says, the other understands.
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

use std::net::SocketAddr;
use std::time::Duration;

use http::Method;
use serde_json::json;
use weighbridge_gateway::GatewayConfig;
use weighbridge_gateway::directory::{Directory, World};
use weighbridge_inference_server::server::ModelFile;
use weighbridge_tests::door::{Client, Door, entry};
use weighbridge_tests::engine::Engine;
use weighbridge_tests::measured::sample;

const CHAT: &str = "/v1/chat/completions";

/// An engine on the sample.
async fn engine() -> Engine {
    Engine::start(ModelFile::Path(sample().expect("a model")), "smollm2").await.expect("an engine")
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
    let door = Door::gateway(GatewayConfig::default(), directory).await.expect("a gateway");
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

async fn golden(family: &str) -> Engine {
    Engine::golden(family).await.expect("an engine")
}

#[tokio::test]
async fn embeddings_and_reranking_go_through_the_door_and_are_metered() {
    let (embedder, reranker) = (golden("bert").await, golden("bert-reranker").await);
    let directory = Directory::from_entries(vec![
        entry("bert", World::Open, &[embedder.address]),
        entry("bert-reranker", World::Open, &[reranker.address]),
    ]);
    let door = Door::gateway(GatewayConfig::default(), directory).await.expect("a gateway");
    let mut client = Client::connect(door.address).await.expect("connected");
    for (path, model, fields) in [
        ("/v1/embeddings", "bert", json!({"input": ["what is it", "the rain"], "encoding_format": "base64"})),
        ("/v1/rerank", "bert-reranker", json!({"query": "what is it", "documents": ["the rain", "it"]})),
    ] {
        let mut body = json!({"model": format!("team/{model}")});
        body.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        let answer = client.post(path, body.to_string()).await.expect("answered");
        let json = answer.json().expect("JSON");
        assert_eq!((answer.status.as_u16(), &json["model"]), (200, &body["model"]), "{json}");
        let used = json["usage"]["prompt_tokens"].as_f64().expect("a count");
        assert!(used > 4.0, "{json}");
        let labels = format!("namespace=\"team\",model=\"{model}\",world=\"open\",provider=\"\"");
        let counted = format!("weighbridge_requests_total{{{labels},code=\"200\"}}");
        let settled = async {
            while metric(door.admin, &counted).await == 0.0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), settled).await.expect("the request is settled");
        let tokens =
            |direction: &str| format!("weighbridge_tokens_total{{{labels},direction=\"{direction}\"}}");
        assert_eq!(metric(door.admin, &tokens("input")).await, used);
        assert_eq!(metric(door.admin, &tokens("output")).await, 0.0);
        assert_eq!(metric(door.admin, &format!("weighbridge_usage_missing_total{{{labels}}}")).await, 0.0);
    }
    let wrong = json!({"model": "bert", "messages": [{"role": "user", "content": "a"}]});
    let answer = client.post(CHAT, wrong.to_string()).await.expect("answered");
    let error = answer.json().expect("JSON")["error"].clone();
    assert_eq!((answer.status.as_u16(), &error["code"]), (400, &json!("wrong_task")), "{error}");
}
