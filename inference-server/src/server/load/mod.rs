//! From a source to a model that has computed something.

mod clock;
mod device;
mod encoding;
mod generation;
mod inspect;
mod source;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use sha2::{Digest as _, Sha256};

use super::config::{AdapterConfig, HeldFile, ModelFile, ServerConfig};
use super::error::ServeError;
use crate::artifact;
use crate::backend::cpu::LoadError;
use crate::http::{AppState, Phase, ServedModel, unix_seconds};
use crate::metrics::EngineMetrics;
use crate::model::is_encoder;
use clock::PhaseClock;
pub use inspect::{Inspection, inspect};
use source::{Found, Opened};

/// Resolves, loads, starts the engine and waits for its first token.
pub(super) async fn model(
    config: &ServerConfig,
    state: &Arc<AppState>,
    metrics: Arc<EngineMetrics>,
) -> Result<ServedModel, ServeError> {
    let began = Instant::now();
    let (found, mut digest) = resolve(&config.model, state).await?;
    let mut adapters = Vec::with_capacity(config.adapters.len());
    for AdapterConfig { name, file } in &config.adapters {
        let (path, pinned) = resolve(file, state).await.map_err(|error| match error {
            ServeError::Artifact(source) => ServeError::AdapterArtifact { name: name.clone(), source },
            other => other,
        })?;
        // Answers of the model and of its adapters carry one fingerprint.
        digest = Some(format!("{}/{name}={}", digest.unwrap_or_default(), pinned.unwrap_or_default()));
        adapters.push((name.clone(), path.path));
    }
    state.phase_took("fetch", began.elapsed());
    let blocking = {
        let (config, state) = (config.clone(), Arc::clone(state));
        tokio::task::spawn_blocking(move || load(&config, &found, &adapters, &state))
    };
    let loaded = blocking.await.map_err(|_| ServeError::Panicked)??;
    state.enter(Phase::Warming);
    let began = Instant::now();
    let (serves, fingerprint) = match loaded {
        Loaded::Generation(loaded) => {
            let description = loaded.backend.description();
            tracing::info!(?description, context = loaded.context, "the model is loaded");
            let print = fingerprint(&description.kernels, digest.as_deref(), description.weight_bytes);
            (generation::start(config, *loaded, metrics).await?, print)
        }
        Loaded::Encoding(loaded) => {
            let weight_bytes = loaded.encoder.weight_bytes();
            tracing::info!(weight_bytes, context = loaded.context, "the encoder is loaded");
            let print = fingerprint("encoder", digest.as_deref(), weight_bytes);
            (encoding::start(config, *loaded, metrics).await?, print)
        }
    };
    state.phase_took("warm", began.elapsed());
    let adapters = config.adapters.iter().map(|adapter| adapter.name.clone()).collect();
    Ok(ServedModel {
        names: config.model_names.clone(),
        adapters,
        created: unix_seconds(),
        fingerprint,
        serves,
    })
}

/// The files on this machine, and their digest where one was taken.
async fn resolve(file: &ModelFile, state: &Arc<AppState>) -> Result<(Found, Option<String>), ServeError> {
    let clock = Arc::new(PhaseClock::default());
    let sink: artifact::ProgressSink = {
        let (state, clock) = (Arc::clone(state), Arc::clone(&clock));
        Arc::new(move |progress: artifact::Progress| {
            let artifact::Progress { phase, bytes, total } = progress;
            clock.enter(&state, phase.as_str());
            state.enter(Phase::Fetching { step: phase.as_str(), bytes, total });
        })
    };
    let found = match file {
        ModelFile::Path(path) => return Ok((Found { path: path.clone(), further: Vec::new() }, None)),
        ModelFile::Source(request) => artifact::resolve((**request).clone(), sink).await?,
        ModelFile::Held(held) => {
            let HeldFile { request, entry } = &**held;
            let (found, reader) = artifact::Resolver::default().held(request, entry, sink).await?;
            state.reads(reader);
            found
        }
    };
    clock.finish(state);
    tracing::info!(
        bytes = found.bytes,
        fetched = found.fetched_bytes,
        checked_against = found.checked_against.in_words(),
        "the model file is there"
    );
    let digest = found.digest.map(|digest| digest.to_string());
    Ok((Found { path: found.path, further: found.further }, digest))
}

/// What comes out of a source.
enum Loaded {
    Generation(Box<generation::Loaded>),
    Encoding(Box<encoding::Loaded>),
}

fn load(
    config: &ServerConfig,
    found: &Found,
    adapters: &[(String, PathBuf)],
    state: &AppState,
) -> Result<Loaded, ServeError> {
    state.enter(Phase::Opening);
    let began = Instant::now();
    let opened = Opened::at(found, config.quantize)?;
    state.phase_took("open", began.elapsed());
    let encodes = is_encoder(opened.tensors()).map_err(LoadError::from)?;
    if encodes && let Some((name, _)) = adapters.first() {
        let problem = format!("{name}: encoders take no adapters: leave it out, or merge it into the model");
        return Err(ServeError::Config { field: ServerConfig::ADAPTER, problem });
    }
    match &opened {
        Opened::Folder { path, folder } if encodes => {
            Ok(Loaded::Encoding(Box::new(encoding::load(config, path, folder, state)?)))
        }
        Opened::Gguf(_) if encodes => {
            let problem = "an encoder in GGUF, which is not served: use its folder with config.json, \
                           model.safetensors and tokenizer.json";
            Err(ServeError::Config { field: "model", problem: problem.to_owned() })
        }
        Opened::Folder { .. } | Opened::Gguf(_) => {
            Ok(Loaded::Generation(Box::new(generation::load(config, &opened, adapters, state)?)))
        }
    }
}

/// Names build, kernels and weights: equal seeds give equal answers while it stays the same.
fn fingerprint(kernels: &str, digest: Option<&str>, weight_bytes: u64) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let named = format!("{version}/{kernels}/{}/{weight_bytes}", digest.unwrap_or(""));
    let hash = Sha256::digest(named.as_bytes());
    let hex: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("fp_{hex}")
}
