//! A model that generates text: weights beside tokenizer, the engine, and its first token.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::task::AbortOnDropHandle;
use weighbridge_crds::Sleep;

use super::clock::PhaseClock;
use super::device::Devices;
use super::source::Opened;
use crate::backend::Backend;
use crate::backend::cpu::{AdditionOrder, CpuBackend, CpuOptions, KvMemory, LoadError, LoadProgress};
use crate::backend::cuda::CUDA;
use crate::chat_template::ChatTemplate;
use crate::engine::{EngineConfig, EngineHandle, Event, GenerateRequest, put_to_sleep_when_idle};
use crate::http::{AppState, Generation, Phase, Serves};
use crate::kv::blocks_for;
use crate::metrics::EngineMetrics;
use crate::model::adapter::AdapterFile;
use crate::model::{ModelError, context_length};
use crate::safetensors::TextFiles;
use crate::sampling::SamplingParams;
use crate::server::config::DECODER_STEP;
use crate::server::{ServeError, ServerConfig};
use crate::tokenizer::{HuggingFaceTokenizer, SpecialTexts, Tokenizer, TokenizerMetadata};

/// Tokenizer, and the chat template or why there is none.
type TextSide = (Tokenizer, Result<ChatTemplate, String>);

/// What comes out of a file or a folder.
pub(super) struct Loaded {
    pub(super) backend: Box<dyn Backend>,
    /// Tokens of a step.
    tokens_per_step: usize,
    tokenizer: Tokenizer,
    template: Result<ChatTemplate, String>,
    pub(super) context: usize,
}

/// Builds the tokenizer beside the weights: the two do not need each other.
pub(super) fn load(
    config: &ServerConfig,
    opened: &Opened,
    adapters: &[(String, PathBuf)],
    state: &AppState,
) -> Result<Loaded, ServeError> {
    let adapters = adapters.iter().map(|(name, path)| match AdapterFile::open(path) {
        Ok(file) => Ok((name.clone(), file)),
        Err(source) => Err(LoadError::Adapter { name: name.clone(), source }),
    });
    let adapters = adapters.collect::<Result<Vec<_>, _>>()?;
    let unserved = |error: ModelError| ServeError::Load(error.into());
    let context = config.context_for(context_length(opened.tensors()).map_err(unserved)?)?;
    std::thread::scope(|scope| {
        let text = scope.spawn(|| text_side(opened, state));
        let (began, clock) = (Instant::now(), PhaseClock::default());
        let mut progress = |progress: LoadProgress| {
            clock.enter(state, progress.phase.as_str());
            state.enter(Phase::Loading { bytes: progress.bytes, total: progress.total_bytes });
        };
        let on_card = Devices { config, state }.load(opened, &adapters, context, &mut progress);
        let loaded: Result<(Box<dyn Backend>, usize), ServeError> =
            on_card.map_err(ServeError::Load).and_then(|on_card| match on_card {
                Some((backend, step)) => Ok((Box::new(backend) as Box<dyn Backend>, step)),
                None => {
                    let options = on_cpu(config, context)?;
                    let cpu = CpuBackend::load_with(opened.tensors(), &adapters, &options, &mut progress)?;
                    Ok((Box::new(cpu) as Box<dyn Backend>, options.step_tokens))
                }
            });
        clock.finish(state);
        state.phase_took("load", began.elapsed());
        let (tokenizer, template) = text.join().map_err(|_| ServeError::Panicked)??;
        let (backend, tokens_per_step) = loaded?;
        let tokenizer = tokenizer.for_rows(backend.vocabulary_size())?;
        Ok(Loaded { backend, tokens_per_step, tokenizer, template, context })
    })
}

/// How the CPU loads and runs a model for `context` tokens.
fn on_cpu(config: &ServerConfig, context: usize) -> Result<CpuOptions, ServeError> {
    let problem = "fp8 is a GPU's, and the CPU computes: use q8_0, f16 or f32";
    let field = ServerConfig::KV_CACHE_TYPE;
    let kv_kind =
        config.kv_kind().ok_or_else(|| ServeError::Config { field, problem: problem.to_owned() })?;
    Ok(CpuOptions {
        threads: config.threads,
        kv: match config.kv_memory {
            Some(bytes) => KvMemory::Bytes(bytes),
            None => KvMemory::Blocks(blocks_for(config.kv_tokens(context))),
        },
        kv_kind,
        step_tokens: config.tokens_per_step.unwrap_or(DECODER_STEP),
        isa: None,
        order: AdditionOrder::Fixed,
        context_length: Some(context),
    })
}

/// Tokenizer and template. A template that cannot be used leaves the model to `/v1/completions`.
fn text_side(opened: &Opened, state: &AppState) -> Result<TextSide, ServeError> {
    let began = Instant::now();
    let (tokenizer, source) = match opened {
        Opened::Gguf(file) => {
            let metadata = TokenizerMetadata::from_gguf(file.metadata())?;
            let source = metadata.chat_template.clone();
            (Tokenizer::new(metadata)?, source.ok_or("its file has no chat template"))
        }
        Opened::Folder { path, folder } => {
            let TextFiles { tokenizer, bos, eos, bos_id, ends, chat_template } =
                TextFiles::read(path, folder.config())?;
            let model = HuggingFaceTokenizer::new(&tokenizer)?;
            let bos = bos.or_else(|| model.text(bos_id?));
            let tokenizer = Tokenizer::of_hugging_face(model, SpecialTexts { bos, eos, ends })?;
            let missing =
                "its folder has no chat_template.jinja, and no chat_template in tokenizer_config.json";
            (tokenizer, chat_template.ok_or(missing))
        }
    };
    let template = source.map_err(str::to_owned).and_then(|source| {
        ChatTemplate::new(source, tokenizer.bos_text(), tokenizer.eos_text())
            .map_err(|error| error.to_string())
    });
    if let Err(problem) = &template {
        tracing::warn!(problem, "no chat completions for this model");
    }
    state.phase_took("tokenizer", began.elapsed());
    Ok((tokenizer, template))
}

/// Starts the engine and has it draw a token: what `/readyz` promises.
pub(super) async fn start(
    config: &ServerConfig,
    loaded: Loaded,
    metrics: Arc<EngineMetrics>,
) -> Result<Serves, ServeError> {
    let Loaded { backend, tokens_per_step, tokenizer, template, context } = loaded;
    let tokenizer = Arc::new(tokenizer);
    let engine_config = EngineConfig {
        max_sequences: config.max_sequences,
        tokens_per_step,
        max_waiting: config.max_waiting,
        context_length: Some(context),
        ..EngineConfig::default()
    };
    let engine = EngineHandle::start(backend, Arc::clone(&tokenizer), engine_config, metrics);
    let engine = engine.map_err(ServeError::Thread)?;
    warm_up(&engine).await?;
    let sleeper = sleeper(config, &engine);
    Ok(Serves::Generation(Generation { engine, tokenizer, template, sleeper }))
}

/// What puts the engine to sleep, where that was asked for and there is a GPU to give back.
fn sleeper(config: &ServerConfig, engine: &EngineHandle) -> Option<AbortOnDropHandle<()>> {
    let Sleep { after_seconds, weights: _ } = config.sleep?;
    if engine.description().device != CUDA {
        tracing::warn!("sleep is asked for, and the CPU computes: its memory is not given back");
        return None;
    }
    let after = Duration::from_secs(u64::from(after_seconds.unsigned_abs()));
    Some(AbortOnDropHandle::new(tokio::spawn(put_to_sleep_when_idle(engine.clone(), after))))
}

async fn warm_up(engine: &EngineHandle) -> Result<(), ServeError> {
    let failed = |problem: String| ServeError::Warmup(problem);
    let request = GenerateRequest {
        prompt: vec![0],
        max_tokens: 1,
        sampling: SamplingParams { temperature: 0.0, ..SamplingParams::default() },
        stop: Vec::new(),
        ignore_end: true,
        prompt_logprobs: None,
        adapter: None,
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
