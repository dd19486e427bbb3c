//! A cloud's simulator behind a proxy behind a gateway.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use weighbridge_crds::{KeyCondition, ProviderState};
use weighbridge_gateway::directory::{Directory, Entry, World};
use weighbridge_gateway::{GatewayConfig, ProxyConfig, Timeouts};
pub use weighbridge_tests::door::cloud::{key, place};
use weighbridge_tests::door::{Answer, Client, Door, entry, proxy_config, write_keys};
use weighbridge_tests::simulator::Simulator;
use weighbridge_wire::provider::Kind;

/// What the models do that each bed serves, one of them as Claude and one as another maker's.
const BEHAVIOURS: [&str; 28] = [
    "faithful",
    "burst",
    "drip",
    "stall",
    "cut",
    "truncated",
    "half-frame",
    "damaged",
    "endless",
    "invalid-json",
    "error-first",
    "error-in-stream",
    "error-in-200",
    "html",
    "redirect",
    "hang-up",
    "wrong-type",
    "blocked",
    "bad-key",
    "quota",
    "echo-key",
    "limited-no-hint",
    "limited-retry-after",
    "status-400",
    "status-403",
    "status-404",
    "status-424",
    "status-503",
];

/// A cloud, and whose model of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// Claude.
    Anthropic,
    /// The cloud's own.
    Own,
}

/// The cloud's name of the model that behaves so.
pub fn upstream(kind: Kind, maker: Maker, behaviour: &str) -> String {
    match (kind, maker) {
        (Kind::Vertex, Maker::Anthropic) => format!("claude-{behaviour}@20250929"),
        (Kind::Vertex, Maker::Own) => format!("gemini-{behaviour}"),
        (_, Maker::Anthropic) => format!("us.anthropic.claude-{behaviour}-v1:0"),
        (_, Maker::Own) => format!("us.amazon.nova-{behaviour}-v1:0"),
    }
}

/// Our name of the model that behaves so.
pub fn named(maker: Maker, behaviour: &str) -> String {
    let maker = match maker {
        Maker::Anthropic => "claude",
        Maker::Own => "own",
    };
    format!("{maker}-{behaviour}")
}

/// For what comes at once; nothing waits for its end.
const DEADLINE: Duration = Duration::from_secs(60);
/// Longer than any test: nothing is asked again by itself.
const NEVER: Duration = Duration::from_secs(86_400);

/// What the provider is asked again after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Nothing: one look at the start, and each later word is that of a call.
    Never,
    /// Whatever went wrong, without a wait that a test would feel.
    Soon,
}

/// A proxy of the simulator with these keys, in files in `folder`.
pub async fn proxy(
    kind: Kind,
    simulator: &Simulator,
    folder: &TempDir,
    keys: &[String],
    again: Again,
) -> Door {
    let keys: Vec<_> = keys.iter().map(|key| (key.as_str(), 1)).collect();
    let keys = write_keys(folder.path(), &keys).expect("written");
    let timeouts = match again {
        Again::Never => Timeouts { probe: NEVER, probe_again: NEVER, ..Timeouts::default() },
        Again::Soon => Timeouts { probe_again: Duration::from_millis(20), ..Timeouts::default() },
    };
    let config = proxy_config(kind, &format!("http://{}", simulator.address()), keys);
    Door::proxy(ProxyConfig { place: Some(place(kind)), timeouts, ..config }).await.expect("a proxy")
}

/// Every model of the cloud, as the gateway has them.
pub fn entries(kind: Kind, proxy: &Door) -> Vec<Entry> {
    let model = |name: &str, upstream_model: String| {
        let speaks = kind.speaks(&upstream_model);
        Entry { upstream_model, speaks, ..entry(name, World::Closed, &[proxy.address]) }
    };
    let of = |maker: Maker| BEHAVIOURS.map(|does| model(&named(maker, does), upstream(kind, maker, does)));
    let makers = [Maker::Anthropic, Maker::Own].into_iter().flat_map(of);
    makers.chain([model("embedder", "text-embedding-faithful".to_owned())]).collect()
}

/// All three, and a connection to the gateway.
pub struct Bed {
    pub simulator: Simulator,
    pub proxy: Door,
    pub door: Door,
    pub folder: TempDir,
    client: Client,
}

impl Bed {
    /// With one key that the simulator takes.
    pub async fn new(kind: Kind) -> Self {
        let simulator = Simulator::start().await.expect("a simulator");
        let keys = [key(kind, &simulator)];
        Self::with(kind, simulator, &keys, Again::Never).await
    }

    /// Once every key was asked with.
    pub async fn with(kind: Kind, simulator: Simulator, keys: &[String], again: Again) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let proxy = proxy(kind, &simulator, &folder, keys, again).await;
        let entries = entries(kind, &proxy);
        let door = Door::gateway(GatewayConfig::default(), Directory::from_entries(entries));
        let door = door.await.expect("a gateway");
        let client = Client::connect(door.address).await.expect("connected");
        let bed = Self { simulator, proxy, door, folder, client };
        bed.until(|state| state.probed).await;
        bed
    }

    /// The first state that is as asked. Waits for each next one, as an operator does.
    pub async fn until(&self, fits: impl Fn(&ProviderState) -> bool) -> ProviderState {
        let mut client = Client::connect(self.proxy.address).await.expect("connected");
        let mut path = "/state".to_owned();
        let found = async {
            loop {
                let answer = client.get(&path).await.expect("answered");
                let state: ProviderState = serde_json::from_slice(&answer.body).expect("a state");
                if fits(&state) {
                    return state;
                }
                path = format!("/state?after={}", state.version);
            }
        };
        tokio::time::timeout(DEADLINE, found).await.expect("a state that fits")
    }

    /// Waits until the keys stand so.
    pub async fn until_keys(&self, stand: &[KeyCondition]) -> ProviderState {
        self.until(|state| state.keys.iter().map(|key| key.state).eq(stand.iter().copied())).await
    }

    pub async fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.client.post(path, body.to_string()).await.expect("answered")
    }

    /// What the proxy answers to a message for Claude that it is sent as the gateway sends it.
    pub async fn at_proxy(&self, path: &str, body: &Value) -> Answer {
        let mut client = Client::connect(self.proxy.address).await.expect("connected");
        let answer =
            client.open(Method::POST, path, &[("content-type", "application/json")], body.to_string());
        answer.await.expect("answered").whole().await.expect("whole")
    }

    /// How often the simulator was asked for a token.
    pub fn tokens_asked(&self) -> usize {
        self.simulator.seen().iter().filter(|seen| seen.path == "/token").count()
    }

    pub async fn admin(&self, path: &str) -> Answer {
        Client::connect(self.proxy.admin).await.expect("connected").get(path).await.expect("answered")
    }
}

/// A path and a body that Claude is asked with in mid-air, between gateway and proxy.
pub fn raw(kind: Kind, behaviour: &str) -> (String, Value) {
    let message = json!([{"role": "user", "content": "hi"}]);
    let model = upstream(kind, Maker::Anthropic, behaviour);
    if kind == Kind::Bedrock {
        let model = model.replace(':', "%3A");
        let body = json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": message});
        return (format!("/model/{model}/invoke"), body);
    }
    let body = json!({"anthropic_version": "vertex-2023-10-16", "max_tokens": 9, "messages": message});
    (format!("/publishers/anthropic/models/{model}:rawPredict"), body)
}
