//! What the benchmarks of a whole model on a GPU share. Each takes a device, so that a test can run them on an emulated
//! one; where there is no card they are printed as NOT RUN.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;
use weighbridge_cuda::device::{Cards, CudaDevice, Device, DeviceChoice};
use weighbridge_cuda::pack::{Places, find};
use weighbridge_inference_server::backend::cpu::KvMemory;
use weighbridge_inference_server::backend::cuda::{CacheKind, CudaBackend, CudaOptions};
use weighbridge_inference_server::backend::{Backend as _, Drawing as _, LogitsWanted, SequenceChunk};
use weighbridge_inference_server::engine::{EngineConfig, EngineHandle, Event, GenerateRequest};
use weighbridge_inference_server::gguf::GgufFile;
use weighbridge_inference_server::kv::{BLOCK_SIZE, BlockId, blocks_for};
use weighbridge_inference_server::metrics::EngineMetrics;
use weighbridge_inference_server::model::{Naming, TensorSource};
use weighbridge_inference_server::safetensors::SafetensorsFolder;
use weighbridge_inference_server::sampling::{Draw, SamplingParams};
use weighbridge_inference_server::tokenizer::{Tokenizer, TokenizerMetadata};

use crate::figures::median;

/// Greedy, with nothing told.
const GREEDY: Draw = Draw {
    temperature: 0.0,
    min_p: 0.0,
    top_k: 0,
    top_p: 1.0,
    at: 0.0,
    edits: Vec::new(),
    top_logprobs: None,
};

/// The first card with the kernels of `pack`.
///
/// # Errors
/// In words, why there is none to measure.
pub fn open(pack: &Path) -> Result<Box<dyn Device>> {
    let card = Cards::probe()?.open(&DeviceChoice::First)?;
    let places = Places { pack: pack.to_owned(), cache: std::env::temp_dir().join("weighbridge-kernels") };
    let (code, _) = find(&places, card.description().capability)?;
    Ok(Box::new(CudaDevice::open(card, &code)?))
}

/// Where the pack is: `WEIGHBRIDGE_KERNELS`, or what `make kernels` writes.
pub fn pack() -> PathBuf {
    let named = std::env::var_os("WEIGHBRIDGE_KERNELS").map(PathBuf::from);
    named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/kernels"))
}

/// A model on a card, to be decoded with.
pub struct Subject {
    backend: CudaBackend,
    vocabulary: u32,
    kv_block_bytes: u64,
    /// Bytes of weights that a step reads.
    step_bytes: u64,
    step_tokens: usize,
}

impl Subject {
    /// Loads the file or folder at `path` for `sequences` of `context` positions each.
    ///
    /// # Errors
    /// Where it can't be loaded.
    pub fn load(
        device: Box<dyn Device>,
        path: &Path,
        sequences: usize,
        context: usize,
        step_tokens: usize,
    ) -> Result<Self> {
        let source: Box<dyn TensorSource> = if path.is_dir() {
            Box::new(SafetensorsFolder::open(path)?)
        } else {
            Box::new(GgufFile::open(path).with_context(|| path.display().to_string())?)
        };
        let options = CudaOptions {
            kv: Some(KvMemory::Blocks(sequences * blocks_for(context))),
            cache: CacheKind::F16,
            step_tokens,
            sequences,
            context_length: Some(context),
            sleeps: false,
        };
        let mut backend = CudaBackend::load(device, &*source, &[], &options, &mut |_| ())?;
        let description = backend.description();
        let vocabulary = u32::try_from(backend.vocabulary_size())?;
        // A step reads one row of the embedding table a token, and all of everything else.
        let (table, output) = match source.naming() {
            Naming::Ggml => ("token_embd.weight", "output.weight"),
            Naming::HuggingFace => ("model.embed_tokens.weight", "lm_head.weight"),
        };
        let is_tied = source.tensor(output).is_none();
        let table = source.tensor(table).filter(|_| !is_tied).map_or(0, |tensor| tensor.bytes() as u64);
        ensure!(backend.drawing().is_some(), "the backend draws");
        Ok(Self {
            backend,
            vocabulary,
            kv_block_bytes: description.kv_bytes / (description.kv_blocks as u64 + 1),
            step_bytes: description.weight_bytes.saturating_sub(table),
            step_tokens,
        })
    }

    /// Bytes that a decode step of `sequences` reads at position `depth`.
    pub fn step_bytes(&self, sequences: usize, depth: usize) -> f64 {
        let kv = self.kv_block_bytes as f64 / BLOCK_SIZE as f64 * depth as f64;
        self.step_bytes as f64 + sequences as f64 * kv
    }

    /// Seconds of a prefill of `tokens` tokens of sequence `sequence`, in steps.
    ///
    /// # Errors
    /// The card's.
    pub fn prefill(&mut self, sequence: usize, tokens: usize) -> Result<f64> {
        let ids: Vec<u32> = (0..tokens as u32).map(|at| (at * 37 + 11) % self.vocabulary).collect();
        let table = table(sequence, tokens);
        let began = Instant::now();
        for (index, part) in ids.chunks(self.step_tokens).enumerate() {
            let (start, last) = (index * self.step_tokens, index * self.step_tokens + part.len() == tokens);
            let logits = if last { LogitsWanted::Last } else { LogitsWanted::None };
            let chunk = SequenceChunk { tokens: part, start, blocks: &table, logits, adapter: None };
            let draws = if last { &[GREEDY][..] } else { &[] };
            self.backend.begin(&[chunk], draws)?;
            self.backend.fetch()?;
        }
        Ok(began.elapsed().as_secs_f64())
    }

    /// Seconds of a step, the median of `steps` after a few, in which each of `sequences` decodes a token from position
    /// `depth` on.
    ///
    /// # Errors
    /// The card's.
    pub fn decode(&mut self, sequences: usize, depth: usize, steps: usize) -> Result<f64> {
        let tables: Vec<Vec<BlockId>> = (0..sequences).map(|at| table(at, depth + steps + WARM)).collect();
        let mut tokens = vec![1u32; sequences];
        let draws = vec![GREEDY; sequences];
        let mut times = Vec::new();
        for step in 0..steps + WARM {
            let began = Instant::now();
            let batch: Vec<SequenceChunk<'_>> = tokens
                .chunks(1)
                .zip(&tables)
                .map(|(tokens, blocks)| {
                    let (start, logits) = (depth + step, LogitsWanted::Last);
                    SequenceChunk { tokens, start, blocks, logits, adapter: None }
                })
                .collect();
            self.backend.begin(&batch, &draws)?;
            let drawn = self.backend.fetch()?;
            tokens = drawn.into_iter().map(|drawn| drawn.map_or(0, |drawn| drawn.token)).collect();
            if step >= WARM {
                times.push(began.elapsed().as_secs_f64());
            }
        }
        Ok(median(&mut times))
    }

    /// Seconds of such a step as the engine makes it, with its plan, texts and events: the mean of those in which all of
    /// `sequences` decode, at least `steps`. Takes [`Self::engine_context`] positions a sequence, and the tokenizer of the
    /// GGUF file at `path`.
    ///
    /// # Errors
    /// The engine's.
    pub fn decode_by_engine(self, path: &Path, sequences: usize, depth: usize, steps: usize) -> Result<f64> {
        let Self { backend, vocabulary, kv_block_bytes: _, step_bytes: _, step_tokens } = self;
        let tokenizer = Tokenizer::new(TokenizerMetadata::from_gguf(GgufFile::open(path)?.metadata())?)?;
        let tokenizer = tokenizer.for_rows(backend.vocabulary_size())?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let config = EngineConfig {
                max_sequences: sequences,
                tokens_per_step: step_tokens,
                ..EngineConfig::default()
            };
            let metrics = Arc::new(EngineMetrics::default());
            let engine = EngineHandle::start(Box::new(backend), Arc::new(tokenizer), config, metrics)?;
            let prompt = |sequence: usize| {
                (0..depth as u32).map(|at| (at * 37 + sequence as u32) % vocabulary).collect()
            };
            let requests = (0..sequences).map(|sequence| GenerateRequest {
                prompt: prompt(sequence),
                max_tokens: Self::engine_context(sequences, depth, steps) - depth,
                sampling: SamplingParams { temperature: 0.0, ..SamplingParams::default() },
                stop: Vec::new(),
                ignore_end: true,
                prompt_logprobs: None,
                adapter: None,
            });
            let streams = engine.submit(requests.collect()).await?;
            let mut readers = JoinSet::new();
            for mut stream in streams {
                readers.spawn(async move {
                    let mut times = Vec::new();
                    while let Some(event) = stream.next().await {
                        match event {
                            Event::Token(_) => times.push(Instant::now()),
                            Event::Failed(error) => return Err(error),
                            Event::Prompt(_) | Event::Finished(_) => {}
                        }
                    }
                    Ok(times)
                });
            }
            let times: Result<Vec<Vec<Instant>>, _> = readers.join_all().await.into_iter().collect();
            mean_step(&times?)
        })
    }

    /// Positions of a sequence of [`Self::decode_by_engine`]: those that begin first decode while others' prompts are read.
    pub fn engine_context(sequences: usize, depth: usize, steps: usize) -> usize {
        depth + sequences + steps + WARM
    }
}

/// Seconds from token to token while all sequences decode, by the times of each one's tokens.
fn mean_step(times: &[Vec<Instant>]) -> Result<f64> {
    let begun = times.iter().filter_map(|times| times.get(WARM)).max().context("no token came")?;
    let ended = times.iter().filter_map(|times| times.last()).min().context("no token came")?;
    let within = times.iter().flatten().filter(|time| *time > begun && *time <= ended).count();
    ensure!(within > 0, "the sequences never decoded together");
    Ok((*ended - *begun).as_secs_f64() * times.len() as f64 / within as f64)
}

/// Steps that record, and are not counted.
pub const WARM: usize = 4;

/// Blocks of sequence `sequence`, for `positions` of them.
fn table(sequence: usize, positions: usize) -> Vec<BlockId> {
    let count = blocks_for(positions);
    (0..count).map(|block| BlockId((sequence * count + block) as u32)).collect()
}

#[cfg(test)]
mod tests {
    use weighbridge_cuda_emulator::EmulatedDevice;
    use weighbridge_inference_server::gguf::TensorType;
    use weighbridge_inference_server::synth::E4m3;

    use super::Subject;
    use crate::cpu::{llama, llama_e4m3};

    #[test]
    fn a_model_is_measured_as_on_a_card() {
        let bytes = [llama("tiny", 1, TensorType::BF16), llama_e4m3("tiny", 1, E4m3::Blocks)].map(|path| {
            let device = Box::new(EmulatedDevice::new(1 << 30));
            let mut subject = Subject::load(device, &path.unwrap(), 2, 48, 16).unwrap();
            assert!(subject.prefill(0, 20).unwrap() > 0.0);
            assert!(subject.decode(2, 20, 2).unwrap() > 0.0);
            assert!(subject.step_bytes(2, 20) > subject.step_bytes(1, 20));
            subject.step_bytes(2, 20)
        });
        // Its layers take half, and its table none of a step's.
        assert!(bytes[1] < 0.7 * bytes[0], "{bytes:?}");
    }

    #[test]
    fn a_step_is_timed_through_the_engine_too() {
        let path = llama("tiny", 1, TensorType::Q4K).unwrap();
        let device = Box::new(EmulatedDevice::new(1 << 30));
        let subject = Subject::load(device, &path, 2, 48, 16).unwrap();
        assert!(subject.decode_by_engine(&path, 2, 20, 2).unwrap() > 0.0);
    }
}
