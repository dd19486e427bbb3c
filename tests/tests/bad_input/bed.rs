//! One gateway in front of our engines and of a faithful provider of every dialect.

use bytes::Bytes;
use tempfile::TempDir;
use weighbridge_gateway::GatewayConfig;
use weighbridge_gateway::directory::{Directory, Entry, World};
use weighbridge_inference_server::server::ModelFile;
use weighbridge_tests::door::{Door, entry};
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
    /// A provider of this kind, simulated, with the checks of the provider itself.
    Provider(Kind),
}

impl Upstream {
    pub const ALL: [Self; 5] = [
        Self::Engine,
        Self::Provider(Kind::OpenAi),
        Self::Provider(Kind::OpenAiCompatible),
        Self::Provider(Kind::Anthropic),
        Self::Provider(Kind::Gemini),
    ];
}

pub struct Bed {
    pub door: Door,
    providers: Vec<(Kind, Simulator)>,
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
        let mut providers = Vec::new();
        for upstream in Upstream::ALL {
            let Upstream::Provider(kind) = upstream else { continue };
            let simulator = Simulator::start().await.expect("a simulator");
            entries.push(Entry {
                name: kind.as_str().to_lowercase(),
                speaks: kind.speaks("faithful"),
                ..entry("faithful", World::Closed, &[simulator.address()])
            });
            providers.push((kind, simulator));
        }
        let door = Door::gateway(GatewayConfig::default(), Directory::from_entries(entries)).await;
        Self { door: door.expect("a gateway"), providers, _engines: engines, _folder: folder }
    }

    /// The model that is asked; of engines, the one that does such a thing.
    pub fn model(&self, upstream: Upstream, call: Call) -> &'static str {
        match upstream {
            Upstream::Engine => match call {
                Call::Embeddings | Call::EmbedContent | Call::BatchEmbedContents => EMBEDDER,
                Call::Rerank => RERANKER,
                Call::Talk(_)
                | Call::Completions
                | Call::CountMessages
                | Call::CountContents
                | Call::Converse => TALKER,
            },
            Upstream::Provider(Kind::OpenAi) => "openai",
            Upstream::Provider(Kind::OpenAiCompatible) => "openaicompatible",
            Upstream::Provider(Kind::Anthropic) => "anthropic",
            Upstream::Provider(Kind::Gemini) => "gemini",
            Upstream::Provider(other) => panic!("no {other} here"),
        }
    }

    fn provider(&self, upstream: Upstream) -> Option<&Simulator> {
        let Upstream::Provider(kind) = upstream else { return None };
        self.providers.iter().find(|(of, _)| *of == kind).map(|(_, simulator)| simulator)
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
