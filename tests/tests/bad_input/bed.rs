//! One gateway in front of our engines and of a faithful provider of every dialect.

use bytes::Bytes;
use tempfile::TempDir;
use weighbridge_gateway::directory::{Directory, Entry, World};
use weighbridge_gateway::{GatewayConfig, ProxyConfig};
use weighbridge_inference_server::server::ModelFile;
use weighbridge_tests::door::{Door, cloud, entry, proxy_config, write_keys};
use weighbridge_tests::engine::{Engine, random_model};
use weighbridge_tests::simulator::Simulator;
use weighbridge_wire::provider::Kind;

use super::call::Call;

const TALKER: &str = "tiny";
const EMBEDDER: &str = "bert";
const RERANKER: &str = "bert-reranker";

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// Open weights: our engine, real.
    Engine,
    /// A provider of this kind behind its proxy, simulated, with the checks of the provider itself.
    Provider(Kind),
    /// Claude at a cloud, the same.
    Claude(Kind),
    /// The cloud's own model.
    Own(Kind),
}

impl Upstream {
    pub const ALL: [Self; 9] = [
        Self::Engine,
        Self::Provider(Kind::OpenAi),
        Self::Provider(Kind::OpenAiCompatible),
        Self::Provider(Kind::Anthropic),
        Self::Provider(Kind::Gemini),
        Self::Claude(Kind::Vertex),
        Self::Own(Kind::Vertex),
        Self::Claude(Kind::Bedrock),
        Self::Own(Kind::Bedrock),
    ];

    /// Our name of the model of a provider, and the provider's own; none of an engine's.
    fn named(self) -> Option<(Kind, &'static str, &'static str)> {
        match self {
            Self::Engine => None,
            Self::Provider(kind @ Kind::OpenAi) => Some((kind, "openai", "faithful")),
            Self::Provider(kind @ Kind::OpenAiCompatible) => Some((kind, "openaicompatible", "faithful")),
            Self::Provider(kind @ Kind::Anthropic) => Some((kind, "anthropic", "faithful")),
            Self::Provider(kind @ Kind::Gemini) => Some((kind, "gemini", "faithful")),
            Self::Claude(kind @ Kind::Vertex) => Some((kind, "vertex-claude", "claude-faithful@20250929")),
            Self::Own(kind @ Kind::Vertex) => Some((kind, "vertex-gemini", "gemini-faithful")),
            Self::Claude(kind) => Some((kind, "bedrock-claude", "us.anthropic.claude-faithful-v1:0")),
            Self::Own(kind) => Some((kind, "bedrock-nova", "us.amazon.nova-faithful-v1:0")),
            Self::Provider(other) => panic!("no {other} here"),
        }
    }
}

pub struct Bed {
    pub door: Door,
    providers: Vec<(Upstream, Simulator)>,
    _proxies: Vec<Door>,
    _engines: [Engine; 3],
    _folder: TempDir,
}

impl Bed {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let model = random_model(folder.path()).expect("a model");
        let engines = [
            Engine::start(ModelFile::Path(model), TALKER, None).await.expect("an engine"),
            Engine::golden(EMBEDDER, None).await.expect("an engine"),
            Engine::golden(RERANKER, None).await.expect("an engine"),
        ];
        let names = [TALKER, EMBEDDER, RERANKER].into_iter();
        let open = names.zip(&engines).map(|(name, engine)| entry(name, World::Open, &[engine.address]));
        let mut entries: Vec<Entry> = open.collect();
        let (mut providers, mut proxies) = (Vec::new(), Vec::new());
        for upstream in Upstream::ALL {
            let Some((kind, name, upstream_model)) = upstream.named() else { continue };
            let simulator = Simulator::start().await.expect("a simulator");
            let is_cloud = matches!(upstream, Upstream::Claude(_) | Upstream::Own(_));
            let (place, key, base) = match is_cloud {
                true => (Some(cloud::place(kind)), cloud::key(kind, &simulator), ""),
                // A version before every path: the simulator tells dialects apart by how a path ends.
                false => (None, "sk-of-the-provider".to_owned(), "/v1"),
            };
            let folder = folder.path().join(name);
            std::fs::create_dir(&folder).expect("a folder");
            let keys = write_keys(&folder, &[(&key, 1)]).expect("written");
            let config = proxy_config(kind, &format!("http://{}{base}", simulator.address()), keys);
            let proxy = Door::proxy(ProxyConfig { place, ..config }).await.expect("a proxy");
            entries.push(Entry {
                upstream_model: upstream_model.to_owned(),
                speaks: kind.speaks(upstream_model),
                ..entry(name, World::Closed, &[proxy.address])
            });
            proxies.push(proxy);
            providers.push((upstream, simulator));
        }
        let door = Door::gateway(GatewayConfig::default(), Directory::from_entries(entries)).await;
        let door = door.expect("a gateway");
        Self { door, providers, _proxies: proxies, _engines: engines, _folder: folder }
    }

    /// The model that is asked; of engines, the one that does such a thing.
    pub fn model(&self, upstream: Upstream, call: Call) -> &'static str {
        if let Some((_, name, _)) = upstream.named() {
            return name;
        }
        match call {
            Call::Embeddings | Call::EmbedContent | Call::BatchEmbedContents => EMBEDDER,
            Call::Rerank => RERANKER,
            Call::Talk(_)
            | Call::Completions
            | Call::CountMessages
            | Call::CountContents
            | Call::Converse
            | Call::CountConverse => TALKER,
        }
    }

    fn provider(&self, upstream: Upstream) -> Option<&Simulator> {
        self.providers.iter().find(|(of, _)| *of == upstream).map(|(_, simulator)| simulator)
    }

    /// How often a provider was asked; an engine keeps no book of it.
    pub fn asked(&self, upstream: Upstream) -> u64 {
        self.provider(upstream).map_or(0, |simulator| simulator.counts().requests)
    }

    /// The body that a provider was asked with since it had been asked `before` times.
    pub fn sent(&self, upstream: Upstream, before: u64) -> Option<Bytes> {
        let simulator = self.provider(upstream)?;
        let asked = simulator.counts().requests > before;
        asked.then(|| simulator.seen().pop().expect("it was asked").body)
    }
}
