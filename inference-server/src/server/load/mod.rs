//! From a source to a model that has produced a token.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use sha2::{Digest as _, Sha256};

use super::config::{ModelFile, ServerConfig};
use super::error::ServeError;
use crate::artifact;
use crate::backend::Backend as _;
use crate::backend::cpu::{CpuBackend, CpuOptions, KvKind, KvMemory};
use crate::chat_template::ChatTemplate;
use crate::engine::{EngineConfig, EngineHandle, Event, GenerateRequest};
use crate::gguf::{GgufFile, Metadata};
use crate::http::{AppState, Phase, ServedModel, unix_seconds};
use crate::kv::blocks_for;
use crate::metrics::EngineMetrics;
use crate::model::context_length;
use crate::sampling::SamplingParams;
use crate::tokenizer::{Tokenizer, TokenizerMetadata};

/// What comes out of a file.
struct Loaded {
    backend: CpuBackend,
    tokenizer: Tokenizer,
    template: Result<ChatTemplate, String>,
    context: usize,
}

/// Resolves, loads, starts the engine and waits for its first token.
pub(super) async fn model(
    config: &ServerConfig,
    state: &Arc<AppState>,
    metrics: Arc<EngineMetrics>,
) -> Result<ServedModel, ServeError> {
    let (path, digest) = resolve(config, state).await?;
    let blocking = {
        let (config, state) = (config.clone(), Arc::clone(state));
        tokio::task::spawn_blocking(move || load(&config, &path, &state))
    };
    let loaded = blocking.await.map_err(|_| ServeError::Panicked)??;
    let description = loaded.backend.description();
    tracing::info!(?description, context = loaded.context, "the model is loaded");

    state.enter(Phase::Warming);
    let began = Instant::now();
    let fingerprint = fingerprint(&description.kernels, digest.as_deref(), description.weight_bytes);
    let tokenizer = Arc::new(loaded.tokenizer);
    let engine_config = EngineConfig {
        max_sequences: config.max_sequences,
        tokens_per_step: config.tokens_per_step,
        max_waiting: config.max_waiting,
        context_length: Some(loaded.context),
    };
    let engine =
        EngineHandle::start(Box::new(loaded.backend), Arc::clone(&tokenizer), engine_config, metrics);
    let engine = engine.map_err(ServeError::Thread)?;
    warm_up(&engine).await?;
    state.metrics.cold_start("warm", began.elapsed());
    Ok(ServedModel {
        names: config.model_names.clone(),
        engine,
        tokenizer,
        template: loaded.template,
        created: unix_seconds(),
        fingerprint,
    })
}

/// The file on this machine, and its digest where one was taken.
async fn resolve(
    config: &ServerConfig,
    state: &Arc<AppState>,
) -> Result<(PathBuf, Option<String>), ServeError> {
    let request = match &config.model {
        ModelFile::Path(path) => return Ok((path.clone(), None)),
        ModelFile::Source(request) => (**request).clone(),
    };
    let began = Instant::now();
    let sink: artifact::ProgressSink = {
        let state = Arc::clone(state);
        Arc::new(move |progress: artifact::Progress| {
            let artifact::Progress { phase, bytes, total } = progress;
            state.enter(Phase::Fetching { step: phase.as_str(), bytes, total });
        })
    };
    let found = artifact::resolve(request, sink).await?;
    state.metrics.cold_start("fetch", began.elapsed());
    tracing::info!(
        bytes = found.bytes,
        fetched = found.fetched_bytes,
        checked_against = found.checked_against.in_words(),
        "the model file is there"
    );
    Ok((found.path, found.digest.map(|digest| digest.to_string())))
}

/// Opens the file, then builds the tokenizer beside the weights: the two do not need each other.
fn load(config: &ServerConfig, path: &Path, state: &AppState) -> Result<Loaded, ServeError> {
    state.enter(Phase::Opening);
    let began = Instant::now();
    let file = GgufFile::open(path)?;
    let context = config.context_for(context_length(&file).map_err(unserved)?)?;
    state.metrics.cold_start("open", began.elapsed());
    let options = CpuOptions {
        threads: config.threads,
        kv: match config.kv_memory {
            Some(bytes) => KvMemory::Bytes(bytes),
            None => KvMemory::Blocks(blocks_for(config.kv_tokens(context))),
        },
        kv_kind: KvKind::F16,
        step_tokens: config.tokens_per_step,
        isa: None,
        context_length: Some(context),
    };
    std::thread::scope(|scope| {
        let text = scope.spawn(|| text_side(file.metadata(), state));
        let began = Instant::now();
        let backend = CpuBackend::load(&file, &options, &mut |progress| {
            state.enter(Phase::Loading { bytes: progress.bytes, total: progress.total_bytes });
        });
        state.metrics.cold_start("load", began.elapsed());
        let (tokenizer, template) = text.join().map_err(|_| ServeError::Panicked)??;
        let backend = backend?;
        if tokenizer.vocabulary_size() > backend.vocabulary_size() {
            let (tokens, rows) = (tokenizer.vocabulary_size(), backend.vocabulary_size());
            let problem = format!("{tokens} tokens, but the model has embeddings for {rows}");
            return Err(
                crate::tokenizer::TokenizerError::Metadata { key: "tokenizer.ggml.tokens", problem }.into()
            );
        }
        Ok(Loaded { backend, tokenizer, template, context })
    })
}

fn unserved(error: crate::model::ModelError) -> ServeError {
    ServeError::Load(error.into())
}

/// Tokenizer and template. A template that cannot be used leaves the model to `/v1/completions`.
fn text_side(
    metadata: &Metadata,
    state: &AppState,
) -> Result<(Tokenizer, Result<ChatTemplate, String>), ServeError> {
    let began = Instant::now();
    let metadata = TokenizerMetadata::from_gguf(metadata)?;
    let source = metadata.chat_template.clone();
    let tokenizer = Tokenizer::new(metadata)?;
    let template = source.ok_or_else(|| "its file has no chat template".to_owned()).and_then(|source| {
        ChatTemplate::new(source, tokenizer.bos_text(), tokenizer.eos_text())
            .map_err(|error| error.to_string())
    });
    if let Err(problem) = &template {
        tracing::warn!(problem, "no chat completions for this model");
    }
    state.metrics.cold_start("tokenizer", began.elapsed());
    Ok((tokenizer, template))
}

/// One token through the whole engine: what `/readyz` promises.
async fn warm_up(engine: &EngineHandle) -> Result<(), ServeError> {
    let failed = |problem: String| ServeError::Warmup(problem);
    let request = GenerateRequest {
        prompt: vec![0],
        max_tokens: 1,
        sampling: SamplingParams { temperature: 0.0, ..SamplingParams::default() },
        stop: Vec::new(),
        ignore_end: true,
        prompt_logprobs: None,
    };
    let streams = engine.submit(vec![request]).await.map_err(|error| failed(error.to_string()))?;
    for mut stream in streams {
        match stream.next().await {
            Some(Event::Token(_)) => {}
            Some(Event::Failed(error)) => return Err(failed(error.to_string())),
            _ => return Err(failed("the engine has stopped".to_owned())),
        }
    }
    Ok(())
}

/// Names build, kernels and weights: equal seeds give equal answers while it stays the same.
fn fingerprint(kernels: &str, digest: Option<&str>, weight_bytes: u64) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let named = format!("{version}/{kernels}/{}/{weight_bytes}", digest.unwrap_or(""));
    let hash = Sha256::digest(named.as_bytes());
    let hex: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("fp_{hex}")
}
