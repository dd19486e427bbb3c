//! A model on a device, whose prefill and decode are timed.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use weighbridge_cuda::device::Device;
use weighbridge_inference_server::backend::cpu::KvMemory;
use weighbridge_inference_server::backend::cuda::{CacheKind, CudaBackend, CudaOptions};
use weighbridge_inference_server::backend::{Backend as _, Drawing as _, LogitsWanted, SequenceChunk};
use weighbridge_inference_server::gguf::GgufFile;
use weighbridge_inference_server::kv::{BLOCK_SIZE, BlockId, blocks_for};
use weighbridge_inference_server::model::{Naming, TensorSource};
use weighbridge_inference_server::safetensors::SafetensorsFolder;
use weighbridge_inference_server::sampling::Draw;

use super::timed::{Stopwatch, Timed};
use crate::figures::median;

/// Greedy, with nothing told.
pub(super) const GREEDY: Draw = Draw {
    temperature: 0.0,
    min_p: 0.0,
    top_k: 0,
    top_p: 1.0,
    at: 0.0,
    edits: Vec::new(),
    top_logprobs: None,
};

/// A model on a card, to be decoded with.
pub struct Subject {
    pub(super) backend: CudaBackend,
    pub(super) vocabulary: u32,
    kv_block_bytes: u64,
    /// Bytes of weights that a step reads.
    step_bytes: u64,
    pub(super) step_tokens: usize,
    /// Of the device's own time.
    pub(super) stopwatch: Stopwatch,
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
        let (device, stopwatch) = Timed::new(device);
        let mut backend = CudaBackend::load(Box::new(device), &*source, &[], &options, &mut |_| ())?;
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
            stopwatch,
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
}
