//! An encoder: its folder, its thread, and its first vector.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use weighbridge_crds::KvCacheType;

use super::clock::PhaseClock;
use crate::backend::cpu::{CpuEncoder, CpuOptions, Pooling};
use crate::encoder::{EncoderConfig, EncoderHandle};
use crate::http::{AppState, Encoding, Phase, Serves};
use crate::metrics::EngineMetrics;
use crate::model::EncoderOutput;
use crate::safetensors::{PoolingMode, SafetensorsFolder, SentenceFiles, TextFiles};
use crate::server::config::{DeviceSetting, ENCODER_STEP};
use crate::server::{ServeError, ServerConfig};
use crate::tokenizer::HuggingFaceTokenizer;

/// What comes out of a folder.
pub(super) struct Loaded {
    pub(super) encoder: CpuEncoder,
    tokenizer: HuggingFaceTokenizer,
    pub(super) context: usize,
}

/// Loads the encoder of `folder`, which lies at `path`.
pub(super) fn load(
    config: &ServerConfig,
    path: &Path,
    folder: &SafetensorsFolder,
    state: &AppState,
) -> Result<Loaded, ServeError> {
    if config.kv_cache_type != KvCacheType::Auto {
        let problem = format!(
            "{} is asked for, and an encoder keeps no keys and values; leave it out",
            config.kv_cache_type
        );
        return Err(ServeError::Config { field: ServerConfig::KV_CACHE_TYPE, problem });
    }
    if let DeviceSetting::Cuda(_) = config.device {
        let reason = "no CUDA backend: embedders and rerankers compute on the CPU";
        tracing::warn!(reason, "the CPU computes");
        state.computes_without_gpu(reason.to_owned());
    }
    let began = Instant::now();
    let files = TextFiles::read(path, folder.config())?;
    let tokenizer = HuggingFaceTokenizer::new(&files.tokenizer)?;
    let SentenceFiles { pooling, normalize, max_tokens } = SentenceFiles::read(path)?;
    state.phase_took("tokenizer", began.elapsed());
    let (began, clock) = (Instant::now(), PhaseClock::default());
    let options = CpuOptions {
        threads: config.threads,
        step_tokens: config.tokens_per_step.unwrap_or(ENCODER_STEP),
        ..CpuOptions::default()
    };
    let pooling = match pooling {
        PoolingMode::Mean => Pooling::Mean,
        PoolingMode::Cls => Pooling::First,
    };
    let encoder = CpuEncoder::load(folder, &options, pooling, &mut |progress| {
        clock.enter(state, progress.phase.as_str());
        state.enter(Phase::Loading { bytes: progress.bytes, total: progress.total_bytes });
    })?;
    clock.finish(state);
    state.phase_took("load", began.elapsed());
    let encoder = encoder.normalized(normalize);
    if let EncoderOutput::Scores(labels) = encoder.output()
        && labels != 1
    {
        let problem = format!("it has {labels} labels: classifiers are not served, rerankers have 1");
        return Err(ServeError::Config { field: "model", problem });
    }
    let context = match config.context_length {
        Some(_) => config.context_for(encoder.context_length())?,
        None => config.context_for(encoder.context_length())?.min(max_tokens.unwrap_or(usize::MAX)),
    };
    let tokenizer = tokenizer.for_rows(encoder.vocabulary_size())?;
    Ok(Loaded { encoder, tokenizer, context })
}

/// Starts the thread and has it encode a text: what `/readyz` promises.
pub(super) async fn start(
    config: &ServerConfig,
    loaded: Loaded,
    metrics: Arc<EngineMetrics>,
) -> Result<Serves, ServeError> {
    let Loaded { encoder, tokenizer, context } = loaded;
    let output = encoder.output();
    let encoder_config = EncoderConfig {
        tokens_per_step: config.tokens_per_step.unwrap_or(ENCODER_STEP),
        max_waiting: config.max_waiting,
        context_length: context,
    };
    let encoder = EncoderHandle::start(Box::new(encoder), encoder_config, metrics);
    let encoding = Encoding { encoder: encoder.map_err(ServeError::Thread)?, tokenizer };
    warm_up(&encoding).await.map_err(ServeError::Warmup)?;
    Ok(match output {
        EncoderOutput::HiddenStates => Serves::Embedding(encoding),
        EncoderOutput::Scores(_) => Serves::Reranking(encoding),
    })
}

async fn warm_up(encoding: &Encoding) -> Result<(), String> {
    let Encoding { encoder, tokenizer } = encoding;
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let plain = || tokenizer.plain("a").map_err(|error| words(&error));
    let most = Some(encoder.context_length());
    let sequence = tokenizer.sequence(plain()?, Some(plain()?), most).map_err(|error| words(&error))?;
    let vectors = encoder.submit(vec![sequence]).map_err(|error| words(&error))?;
    vectors.all().await.map(drop).map_err(|error| words(&error))
}
