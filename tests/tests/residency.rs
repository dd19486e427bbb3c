//! What a provider's owner demands of where it answers and what it keeps, from the gateway through the proxy to a simulated
//! provider that says where it answered.
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod provider_script;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use provider_script::{Provider, config, json as answer, write_keys};
use serde_json::{Value, json};
use tempfile::TempDir;
use weighbridge_crds::{DataPolicy, OnMismatch, ProviderKind, ProviderState, Retention};
use weighbridge_gateway::directory::{Directory, Entry, World, data_policy, kind};
use weighbridge_gateway::{GatewayConfig, ProxyConfig};
use weighbridge_tests::door::{Answer, Client, Door, entry};
use weighbridge_tests::simulator::Simulator;

/// For what comes at once; nothing waits for its end.
const DEADLINE: Duration = Duration::from_secs(60);
const MODELS: [&str; 4] = ["faithful", "elsewhere", "elsewhere-late", "nowhere"];

struct Bed {
    simulator: Simulator,
    proxy: Door,
    door: Door,
    client: Client,
    _folder: TempDir,
}

fn policy(region: Option<&str>, retention: Option<Retention>, on_mismatch: Option<OnMismatch>) -> DataPolicy {
    DataPolicy { region: region.map(str::to_owned), retention, on_mismatch }
}

fn entries(of: ProviderKind, policy: &DataPolicy, proxy: &Door) -> Vec<Entry> {
    let model = |model: &&str| Entry {
        speaks: kind(of).speaks(model),
        data_policy: Some(data_policy(of, policy)),
        ..entry(model, World::Closed, &[proxy.address])
    };
    MODELS.iter().map(model).collect()
}

async fn bed(of: ProviderKind, policy: DataPolicy) -> Bed {
    let simulator = Simulator::start().await.expect("a simulator");
    let folder = tempfile::tempdir().expect("a folder");
    let keys = write_keys(folder.path(), &[("sk-one", 1)]);
    let base_url = format!("http://{}", simulator.address()).parse().expect("a URL");
    let config = ProxyConfig { base_url: Some(base_url), ..config(kind(of), simulator.address(), keys) };
    let proxy = Door::proxy(config).await.expect("a proxy");
    let directory = Directory::from_entries(entries(of, &policy, &proxy));
    let door = Door::gateway(GatewayConfig::default(), directory).await.expect("a gateway");
    let client = Client::connect(door.address).await.expect("connected");
    Bed { simulator, proxy, door, client, _folder: folder }
}

/// Two doors at Anthropic's: its own, where the answer passes as it came, and OpenAI's, where it is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Messages,
    Chat,
}

impl Asked {
    fn path(self) -> &'static str {
        match self {
            Self::Messages => "/v1/messages",
            Self::Chat => "/v1/chat/completions",
        }
    }

    fn body(self, model: &str, stream: bool) -> String {
        let limit = match self {
            Self::Messages => "max_tokens",
            Self::Chat => "max_completion_tokens",
        };
        json!({"model": model, limit: 64, "stream": stream, "messages": [{"role": "user", "content": "hi"}]})
            .to_string()
    }

    fn error(self, answer: &Value) -> Option<&str> {
        match self {
            Self::Messages => answer["error"]["type"].as_str(),
            Self::Chat => answer["error"]["code"].as_str(),
        }
    }
}

impl Bed {
    async fn ask(&mut self, asked: Asked, model: &str, stream: bool) -> Answer {
        self.client.post(asked.path(), asked.body(model, stream)).await.expect("answered")
    }

    async fn mismatches(&self, model: &str, action: &str) -> Option<String> {
        let mut client = Client::connect(self.door.admin).await.expect("connected");
        let metrics = client.get("/metrics").await.expect("metrics");
        let labels = format!(
            r#"weighbridge_residency_mismatches_total{{namespace="team",model="{model}",world="closed",provider="acme",action="{action}"}} "#
        );
        metrics.text().expect("text").lines().find_map(|line| line.strip_prefix(&labels)).map(str::to_owned)
    }

    /// What the proxy tells, once it knows of a mismatch.
    async fn told(&self) -> (String, Option<String>) {
        let mut client = Client::connect(self.proxy.admin).await.expect("connected");
        let mut path = "/state".to_owned();
        let told = async {
            loop {
                let answer = client.get(&path).await.expect("answered");
                let state: ProviderState = serde_json::from_slice(&answer.body).expect("a state");
                if let Some(mismatch) = state.residency_mismatch {
                    return (mismatch.required, mismatch.stated);
                }
                path = format!("/state?after={}", state.version);
            }
        };
        tokio::time::timeout(DEADLINE, told).await.expect("told of a mismatch")
    }
}

#[tokio::test]
async fn every_request_asks_for_the_region_and_an_answer_from_there_is_delivered() {
    let mut bed = bed(ProviderKind::Anthropic, policy(Some("us"), None, None)).await;
    for asked in [Asked::Messages, Asked::Chat] {
        for stream in [false, true] {
            let answer = bed.ask(asked, "faithful", stream).await;
            let text = answer.text().expect("text");
            assert_eq!(answer.status, StatusCode::OK, "{text}");
            assert!(!text.contains("\"error\""), "{text}");
            let sent = bed.simulator.seen().pop().expect("sent");
            let body: Value = serde_json::from_slice(&sent.body).expect("JSON");
            assert_eq!(body["inference_geo"], "us", "{asked:?}");
        }
    }
    // The caller's own wish does not go before the owner's.
    let body = r#"{"inference_geo":"global","model":"faithful","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
    let answer = bed.client.post("/v1/messages", body).await.expect("answered");
    assert_eq!(answer.json().expect("JSON")["usage"]["inference_geo"], "us");
    assert_eq!(bed.mismatches("faithful", "withheld").await, None);
}

/// Whole or streamed, passed as it came or translated: nothing of it reaches the caller, and the caller gets an error in
/// its own dialect.
#[tokio::test]
async fn an_answer_from_elsewhere_is_withheld_counted_metered_and_told() {
    let mut bed = bed(ProviderKind::Anthropic, policy(Some("us"), None, None)).await;
    for (model, stated) in [("elsewhere", Some("global")), ("nowhere", None)] {
        let mut count = 0;
        for asked in [Asked::Messages, Asked::Chat] {
            for stream in [false, true] {
                let answer = bed.ask(asked, model, stream).await;
                assert_eq!(answer.status, StatusCode::FORBIDDEN, "{model} {asked:?} {stream}");
                let body = answer.json().expect("one error and nothing else");
                let code = match asked {
                    Asked::Messages => "permission_error",
                    Asked::Chat => "data_residency_mismatch",
                };
                assert_eq!(asked.error(&body), Some(code), "{body}");
                let message = body["error"]["message"].as_str().expect("a message");
                assert!(message.contains("withheld") && message.contains("`us`"), "{message}");
                count += 1;
                assert_eq!(bed.mismatches(model, "withheld").await, Some(count.to_string()));
            }
        }
        if model == "elsewhere" {
            assert_eq!(bed.told().await, ("us".to_owned(), stated.map(str::to_owned)));
        }
    }
    // One attempt each: another would come from elsewhere, too.
    assert_eq!(bed.simulator.counts().requests, 8);
    let mut client = Client::connect(bed.door.admin).await.expect("connected");
    let metrics = client.get("/metrics").await.expect("metrics");
    let input = metrics.text().expect("text").lines().find(|line| {
        line.starts_with("weighbridge_tokens_total")
            && line.contains("\"elsewhere\"")
            && line.contains("\"input\"")
    });
    let input: u64 = input.expect("metered").rsplit_once(' ').expect("a value").1.parse().expect("a number");
    assert!(input > 0, "what was used is metered, delivered or not");
}

/// The stream began well: what was sent is sent, and it ends with an error in the dialect's own shape.
#[tokio::test]
async fn a_stream_that_turns_out_to_come_from_elsewhere_ends_with_an_error() {
    let mut bed = bed(ProviderKind::Anthropic, policy(Some("us"), None, None)).await;
    let answer = bed.ask(Asked::Messages, "elsewhere-late", true).await;
    assert_eq!(answer.status, StatusCode::OK);
    let text = answer.text().expect("text");
    let events: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!((events.first(), events.last()), (Some(&"message_start"), Some(&"error")), "{text}");
    assert!(!events.contains(&"message_delta") && !events.contains(&"message_stop"), "{text}");
    assert!(text.contains("permission_error") && text.contains("withheld"), "{text}");
    assert_eq!(bed.mismatches("elsewhere-late", "withheld").await.as_deref(), Some("1"));
    let mut client = Client::connect(bed.door.admin).await.expect("connected");
    let metrics = client.get("/metrics").await.expect("metrics");
    assert!(metrics.text().expect("text").contains(r#"cause="residency"} 1"#));
}

#[tokio::test]
async fn an_answer_from_elsewhere_is_delivered_and_counted_where_it_is_only_reported() {
    let policy = policy(Some("us"), None, Some(OnMismatch::Report));
    let mut bed = bed(ProviderKind::Anthropic, policy).await;
    for (asked, stream) in [(Asked::Messages, false), (Asked::Messages, true), (Asked::Chat, true)] {
        let answer = bed.ask(asked, "elsewhere", stream).await;
        let text = answer.text().expect("text");
        assert!(answer.status == StatusCode::OK && !text.contains("\"error\""), "{text}");
    }
    assert_eq!(bed.mismatches("elsewhere", "delivered").await.as_deref(), Some("3"));
    assert_eq!(bed.told().await, ("us".to_owned(), Some("global".to_owned())));
    let late = bed.ask(Asked::Messages, "elsewhere-late", true).await;
    assert!(late.text().expect("text").contains("message_stop"));
    assert_eq!(bed.mismatches("elsewhere-late", "delivered").await.as_deref(), Some("1"), "once an answer");
}

#[tokio::test]
async fn what_can_not_be_held_to_the_region_is_not_sent() {
    let mut bed = bed(ProviderKind::Anthropic, policy(Some("us"), None, None)).await;
    let body = r#"{"model":"faithful","messages":[{"role":"user","content":"hi"}]}"#;
    let answer = bed.client.post("/v1/messages/count_tokens", body).await.expect("answered");
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.text().expect("text").contains("dataPolicy"), "{answer:?}");
    assert_eq!(bed.simulator.counts().requests, 0);
}

#[tokio::test]
async fn openai_is_told_to_keep_nothing() {
    let mut bed = bed(ProviderKind::OpenAI, policy(None, Some(Retention::NotStored), None)).await;
    let chat = r#"{"store":true,"model":"faithful","messages":[{"role":"user","content":"hi"}]}"#;
    let messages = r#"{"model":"faithful","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
    for (path, body) in [("/v1/chat/completions", chat), ("/v1/messages", messages)] {
        let answer = bed.client.post(path, body).await.expect("answered");
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.text());
        let sent = bed.simulator.seen().pop().expect("sent");
        let sent: Value = serde_json::from_slice(&sent.body).expect("JSON");
        assert_eq!(sent["store"], false, "{path}");
    }
    let embed = r#"{"model":"faithful","input":"hi"}"#;
    bed.client.post("/v1/embeddings", embed).await.expect("answered");
    let sent = bed.simulator.seen().pop().expect("sent");
    assert!(!String::from_utf8_lossy(&sent.body).contains("store"), "it knows no such field");
}

/// While a proxy is replaced because its provider is to be called elsewhere, the old one is still there.
#[tokio::test]
async fn a_proxy_that_calls_another_host_than_the_regions_sends_nothing() {
    let mut bed = bed(ProviderKind::OpenAI, policy(Some("eu"), None, None)).await;
    let answer = bed.ask(Asked::Chat, "faithful", false).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let body = answer.json().expect("JSON");
    assert_eq!(Asked::Chat.error(&body), Some("provider_elsewhere"), "{body}");
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(bed.simulator.counts().requests, 0);
}

/// OpenAI checks itself, and refuses.
#[tokio::test]
async fn what_the_provider_refuses_for_its_place_is_a_mismatch() {
    let refusal = r#"{"error":{"message":"wrong region","type":"invalid_request_error","code":"data_residency_mismatch"}}"#;
    let folder = tempfile::tempdir().expect("a folder");
    let provider = Provider::start(kind(ProviderKind::AzureOpenAI), |_| answer(400, &[], refusal)).await;
    let keys = write_keys(folder.path(), &[("sk-one", 1)]);
    let proxy =
        Door::proxy(config(kind(ProviderKind::AzureOpenAI), provider.address, keys)).await.expect("a proxy");
    let policy = policy(Some("swedencentral"), None, None);
    let directory = Directory::from_entries(entries(ProviderKind::AzureOpenAI, &policy, &proxy));
    let door = Door::gateway(GatewayConfig::default(), directory).await.expect("a gateway");
    let mut client = Client::connect(door.address).await.expect("connected");
    let answer =
        client.post(Asked::Chat.path(), Asked::Chat.body("faithful", false)).await.expect("answered");
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(Asked::Chat.error(&answer.json().expect("JSON")), Some("data_residency_mismatch"));
    let mut admin = Client::connect(door.admin).await.expect("connected");
    let metrics = admin.get("/metrics").await.expect("metrics");
    assert!(metrics.text().expect("text").contains("weighbridge_residency_mismatches_total{"));
}

/// Azure says in a header which region answered.
#[tokio::test]
async fn azures_region_is_held_against_its_header() {
    const ANSWER: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,
        "message":{"role":"assistant","content":"secret"},"finish_reason":"stop"}]}"#;
    let region = Arc::new(std::sync::Mutex::new(Some("Sweden Central")));
    let said = Arc::clone(&region);
    let script = move |_: &provider_script::Seen| match *said.lock().expect("unpoisoned") {
        Some(region) => answer(200, &[("x-ms-region", region)], ANSWER),
        None => answer(200, &[], ANSWER),
    };
    let folder = tempfile::tempdir().expect("a folder");
    let provider = Provider::start(kind(ProviderKind::AzureOpenAI), script).await;
    let keys = write_keys(folder.path(), &[("sk-one", 1)]);
    let proxy =
        Door::proxy(config(kind(ProviderKind::AzureOpenAI), provider.address, keys)).await.expect("a proxy");
    let policy = policy(Some("swedencentral"), None, None);
    let directory = Directory::from_entries(entries(ProviderKind::AzureOpenAI, &policy, &proxy));
    let door = Door::gateway(GatewayConfig::default(), directory).await.expect("a gateway");
    for (says, status) in [
        (Some("Sweden Central"), StatusCode::OK),
        (Some("East US"), StatusCode::FORBIDDEN),
        (None, StatusCode::FORBIDDEN),
    ] {
        *region.lock().expect("unpoisoned") = says;
        let mut client = Client::connect(door.address).await.expect("connected");
        let answer =
            client.post(Asked::Chat.path(), Asked::Chat.body("faithful", false)).await.expect("answered");
        assert_eq!(answer.status, status, "{says:?}");
        assert_eq!(answer.text().expect("text").contains("secret"), status == StatusCode::OK, "{says:?}");
    }
}
