//! One gateway, one engine, and for each client its own providers behind their proxies: what a provider makes a proxy
//! think of its keys outlasts the request.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use weighbridge_gateway::GatewayConfig;
use weighbridge_gateway::access::Access;
use weighbridge_gateway::directory::{Directory, Entry, World};
use weighbridge_inference_server::http::Phase;
use weighbridge_inference_server::server::{ModelFile, Server as Engine, ServerConfig};
use weighbridge_tests::door::{Client as HttpClient, Door, entry, model_access, proxy_config, write_keys};
use weighbridge_tests::matrix::{Client, Server, Upstream};
use weighbridge_tests::measured::sample;
use weighbridge_tests::simulator::{Counts, Simulator};

use super::column::{Column, OPEN};
use super::expected::{self, Fault, Keys};

const KEY: &str = "wb-matrix-0815";
/// Long past when what was read has been counted.
const SETTLED: Duration = Duration::from_secs(30);

/// What all clients share.
pub struct Bed {
    door: Door,
    directory: Directory,
    entries: Mutex<Vec<Entry>>,
    answer: Answer,
    /// Misbehaves in the open world, which the engine does not.
    _unlucky: Simulator,
    _engine: AbortOnDropHandle<()>,
}

/// The engine's own word on the programs' question.
struct Answer {
    text: String,
    tokens: [u64; 2],
}

/// One client's providers.
pub struct Providers {
    faithful: Vec<(Column, Simulator)>,
    _unlucky: Vec<Simulator>,
    _proxies: Vec<Door>,
    _folders: Vec<TempDir>,
}

impl Bed {
    pub async fn new() -> Self {
        let (engine, address) = engine().await;
        let answer = answer(address).await;
        let unlucky = Simulator::start().await.expect("a simulator");
        let faults = expected::open_faults().into_iter().map(|fault| {
            let renamed = entry(fault, World::Open, &[unlucky.address()]);
            Entry { name: format!("{OPEN}-{fault}"), ..renamed }
        });
        let mut entries = vec![entry(OPEN, World::Open, &[address])];
        entries.extend(faults);
        let directory = Directory::from_entries(entries.clone());
        let access = Access::from_resources(&[model_access("team", "matrix", &[("ci", KEY)], &["*"])]);
        let door = Door::guarded(GatewayConfig::default(), directory.clone(), access).await;
        Self {
            door: door.expect("a gateway"),
            directory,
            entries: Mutex::new(entries),
            answer,
            _unlucky: unlucky,
            _engine: engine,
        }
    }

    pub fn server(&self) -> Server {
        Server { base_url: format!("http://{}", self.door.address), key: KEY.to_owned() }
    }

    /// Starts `client`'s providers and tells the gateway of their models.
    pub async fn providers(&self, client: &Client) -> Providers {
        let mut providers = Providers {
            faithful: Vec::new(),
            _unlucky: Vec::new(),
            _proxies: Vec::new(),
            _folders: Vec::new(),
        };
        let mut entries = Vec::new();
        for column in Column::ALL {
            let Some(kind) = column.kind() else { continue };
            let (faithful, unlucky) = (
                Simulator::start().await.expect("a simulator"),
                Simulator::start().await.expect("a simulator"),
            );
            let name = |behaviour: &str| model(client, column, Some(behaviour));
            let mut put = async |simulator: &Simulator, keys: u16, models: &[(String, &str)]| {
                let folder = tempfile::tempdir().expect("a folder");
                let held: Vec<String> = (0..keys).map(|key| format!("sk-{key}-canary-4711")).collect();
                let held: Vec<(&str, u16)> = held.iter().map(|key| (key.as_str(), 1)).collect();
                let keys = write_keys(folder.path(), &held).expect("written");
                let config = proxy_config(
                    kind,
                    &format!("http://{}{}", simulator.address(), column.base_path()),
                    keys,
                );
                let proxy = Door::proxy(config).await.expect("a proxy");
                entries.extend(models.iter().map(|(name, behaviour)| Entry {
                    name: name.clone(),
                    provider: Some(column.prefix().to_owned()),
                    speaks: kind.speaks(behaviour),
                    ..entry(behaviour, World::Closed, &[proxy.address])
                }));
                providers._proxies.push(proxy);
                providers._folders.push(folder);
            };
            let well = [(model(client, column, None), column.faithful()), (name("cached"), "cached")];
            put(&faithful, 1, &well).await;
            let faults = expected::provider_faults(column);
            let harmless = faults.iter().filter(|fault| fault.keys == Keys::Untouched);
            let harmless: Vec<_> = harmless.map(|fault| (name(fault.name), fault.name)).collect();
            put(&unlucky, 1, &harmless).await;
            for Fault { name: fault, keys } in faults {
                match keys {
                    Keys::Untouched => {}
                    Keys::Used(keys) => put(&unlucky, keys, &[(name(fault), fault)]).await,
                }
            }
            providers.faithful.push((column, faithful));
            providers._unlucky.push(unlucky);
        }
        let mut all = self.entries.lock().expect("unpoisoned");
        all.extend(entries);
        self.directory.replace(all.clone());
        providers
    }

    /// What `client` is to find in `column`.
    pub fn upstream(&self, client: &Client, column: Column) -> Upstream {
        let named = |name: String| match client.name {
            // This SDK takes a name with a slash for a path.
            "ai-sdk google" => name,
            _ => format!("team/{name}"),
        };
        let (answer, tokens) = match column {
            Column::Open => (Some(self.answer.text.clone()), Some(self.answer.tokens)),
            _ => (None, None),
        };
        Upstream {
            name: column.name().to_owned(),
            model: named(model(client, column, None)),
            abilities: expected::abilities(client, column),
            faults: named(model(client, column, Some("{}"))),
            simulated: column != Column::Open,
            signed: expected::signs_thoughts(column),
            answer,
            tokens,
            refused: expected::refused(client, column),
            statuses: Some(expected::statuses(client, column)),
            broken: Some(expected::broken(column)),
        }
    }

    /// Where the gateway metered other tokens than a faithful provider of `client`'s counted, in words.
    pub async fn unequal_counts(&self, client: &Client, providers: &Providers) -> String {
        let mut unequal = String::new();
        for (column, simulator) in &providers.faithful {
            let models = [model(client, *column, None), model(client, *column, Some("cached"))];
            let counts = simulator.counts();
            let expected = expected_tokens(&counts);
            // The last stream of a client is settled after it was read.
            let settled = async {
                while self.metered(&models).await != expected {
                    tokio::task::yield_now().await;
                }
            };
            if tokio::time::timeout(SETTLED, settled).await.is_err() {
                let metered = self.metered(&models).await;
                let _ =
                    writeln!(unequal, "{} × {}: {metered:?}, and {expected:?}", client.name, column.name());
            }
        }
        unequal
    }

    /// Where a turn went on without the signed thought that led to it, or with one that nobody could know, in words.
    pub fn lost_thoughts(&self, client: &Client, providers: &Providers) -> String {
        let mut lost = String::new();
        for (column, simulator) in &providers.faithful {
            let bodies = simulator.seen().into_iter().map(|seen| String::from_utf8(seen.body.to_vec()));
            let came = bodies.flatten().any(|body| expected::is_signed_turn(*column, &body));
            if came != expected::repeats_thoughts(client, *column) {
                let _ =
                    writeln!(lost, "{} × {}: a signed thought came back: {came}", client.name, column.name());
            }
        }
        lost
    }

    /// Tokens by direction, of all `models` together.
    async fn metered(&self, models: &[String]) -> [u64; 5] {
        let mut client = HttpClient::connect(self.door.admin).await.expect("connected");
        let metrics = client.get("/metrics").await.expect("metrics");
        let text = metrics.text().expect("text");
        DIRECTIONS.map(|direction| {
            let is_of = |line: &&str| {
                models.iter().any(|model| line.contains(&format!("model=\"{model}\"")))
                    && line.contains(&format!("direction=\"{direction}\""))
            };
            let lines =
                text.lines().filter(|line| line.starts_with("weighbridge_tokens_total{")).filter(is_of);
            lines.map(|line| line.rsplit(' ').next().and_then(|value| value.parse().ok()).unwrap_or(0)).sum()
        })
    }
}

const DIRECTIONS: [&str; 5] = ["input", "output", "cache_read", "cache_write", "reasoning"];

fn expected_tokens(counts: &Counts) -> [u64; 5] {
    let cached = counts.cache_read_tokens + counts.cache_write_tokens;
    [
        counts.input_tokens - cached,
        counts.output_tokens - counts.reasoning_tokens,
        counts.cache_read_tokens,
        counts.cache_write_tokens,
        counts.reasoning_tokens,
    ]
}

/// The name, in its namespace, of the model that `client` asks for in `column`; of one that misbehaves.
fn model(client: &Client, column: Column, behaviour: Option<&str>) -> String {
    let name = match column {
        Column::Open => OPEN.to_owned(),
        provider => format!("{}-{}", provider.prefix(), client.name.replace(' ', "-")),
    };
    behaviour.map_or(name.clone(), |behaviour| format!("{name}-{behaviour}"))
}

async fn engine() -> (AbortOnDropHandle<()>, SocketAddr) {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let config = ServerConfig::new(anywhere, ModelFile::Path(sample().expect("a model")), OPEN);
    let server = Engine::bind(config).await.expect("a port");
    let address = server.address();
    let (phases, mut phase) = watch::channel(Phase::Opening);
    let sink = Arc::new(move |phase: &Phase| {
        phases.send_replace(phase.clone());
    });
    let run = async move { server.run(std::future::pending(), sink).await.expect("no failure") };
    let task = AbortOnDropHandle::new(tokio::spawn(run));
    phase.wait_for(|phase| *phase == Phase::Ready).await.expect("it becomes ready");
    (task, address)
}

/// Asks the engine itself what the programs ask.
async fn answer(engine: SocketAddr) -> Answer {
    let body = json!({"model": OPEN, "temperature": 0, "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Name three colours of the rainbow."}]});
    let mut client = HttpClient::connect(engine).await.expect("connected");
    let answer = client.post("/v1/chat/completions", body.to_string()).await.expect("answered");
    let answer = answer.json().expect("JSON");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop", "{answer}");
    let count = |name: &str| answer["usage"][name].as_u64().expect("a count");
    Answer {
        text: answer
            .pointer("/choices/0/message/content")
            .and_then(Value::as_str)
            .expect("a text")
            .to_owned(),
        tokens: [count("prompt_tokens"), count("completion_tokens")],
    }
}
