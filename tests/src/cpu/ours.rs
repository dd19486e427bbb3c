//! Our engine's backend, called as the engine calls it.

use std::time::Instant;

use anyhow::Result;
use weighbridge_inference_server::backend::cpu::{AdditionOrder, CpuBackend, CpuOptions, KvMemory};
use weighbridge_inference_server::backend::{Backend, Logits, LogitsWanted, SequenceChunk};
use weighbridge_inference_server::gguf::GgufFile;
use weighbridge_inference_server::kernels::Isa;
use weighbridge_inference_server::kv::{BLOCK_SIZE, BlockId};
use weighbridge_inference_server::model::profile::{Operation, Span};
use weighbridge_inference_server::model::{Dimensions, TensorSource as _};
use weighbridge_inference_server::server::config::DECODER_STEP;

use super::{Common, Model};

/// A loaded model.
pub struct Ours {
    /// The backend.
    pub backend: CpuBackend,
    /// A block table a stream, one after another in memory.
    tables: Vec<Vec<BlockId>>,
    logits: Logits,
    layers: usize,
}

impl Ours {
    /// Loads `model` with room for `streams` sequences of `positions`, to be run on `isa`, the best when `None`.
    ///
    /// # Errors
    /// Where it can't be loaded.
    pub fn load(
        model: &Model,
        common: &Common,
        isa: Option<Isa>,
        streams: usize,
        positions: usize,
    ) -> Result<Self> {
        let options = CpuOptions { threads: Some(common.threads), isa, ..CpuOptions::default() };
        Self::load_as(model, options, streams, positions)
    }

    /// The same for one stream, whose attention adds up in `order`.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_ordered(
        model: &Model,
        common: &Common,
        order: AdditionOrder,
        positions: usize,
    ) -> Result<Self> {
        let options = CpuOptions { threads: Some(common.threads), order, ..CpuOptions::default() };
        Self::load_as(model, options, 1, positions)
    }

    fn load_as(model: &Model, options: CpuOptions, streams: usize, positions: usize) -> Result<Self> {
        let blocks = positions.div_ceil(BLOCK_SIZE);
        let options = CpuOptions { kv: KvMemory::Blocks(blocks * streams), ..options };
        let file = GgufFile::open(&model.path)?;
        let layers = Dimensions::read(&file.keys()?)?.layers;
        let backend = CpuBackend::load(&file, &options, &mut |_| ())?;
        let ids: Vec<BlockId> = (0..u32::try_from(blocks * streams)?).map(BlockId).collect();
        let tables = ids.chunks(blocks.max(1)).map(<[BlockId]>::to_vec).collect();
        let mut ours = Self { backend, tables, logits: Logits::default(), layers };
        // As the peer: the first run touches memory for the first time and is nobody's figure.
        ours.prefill(positions.min(64), DECODER_STEP)?;
        ours.decode(0, positions.min(4))?;
        Ok(ours)
    }

    /// Layers of the model.
    pub fn layers(&self) -> usize {
        self.layers
    }

    /// Fixed ids as the peer's: nothing special, spread over the embedding table.
    fn token(&self, index: usize) -> u32 {
        let spread = self.backend.vocabulary_size().saturating_sub(2000).max(1);
        let first = 1000.min(self.backend.vocabulary_size() - spread);
        u32::try_from(first + (index * 7919) % spread).unwrap_or_default()
    }

    /// One step of the first `streams` sequences, `count` tokens each.
    fn step(&mut self, streams: usize, start: usize, count: usize) -> Result<()> {
        let tokens: Vec<Vec<u32>> = (0..streams)
            .map(|stream| (start..start + count).map(|at| self.token(at + stream * 31)).collect())
            .collect();
        let chunks: Vec<SequenceChunk<'_>> = tokens
            .iter()
            .zip(&self.tables)
            .map(|(tokens, blocks)| SequenceChunk {
                tokens,
                start,
                blocks,
                logits: LogitsWanted::Last,
                adapter: None,
            })
            .collect();
        Ok(self.backend.forward(&chunks, &mut self.logits)?)
    }

    /// Reads a prompt of `depth` tokens into the first sequence.
    ///
    /// # Errors
    /// Those of the backend, as everywhere here.
    pub fn fill(&mut self, depth: usize) -> Result<()> {
        (0..depth)
            .step_by(DECODER_STEP)
            .try_for_each(|start| self.step(1, start, DECODER_STEP.min(depth - start)))
    }

    /// Gives the first `streams` sequences the first one's keys and values, each its own copy.
    pub fn spread(&mut self, streams: usize) {
        let Some((first, others)) = self.tables.split_first() else { return };
        for table in others.iter().take(streams.saturating_sub(1)) {
            first.iter().zip(table).for_each(|(&from, &to)| self.backend.copy_block(from, to));
        }
    }

    /// Tokens a second of `streams` sequences that each decode `tokens` from `depth` on, whatever lies before: filling
    /// is the caller's.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn decode_streams(&mut self, streams: usize, depth: usize, tokens: usize) -> Result<f64> {
        let start = Instant::now();
        for position in depth..depth + tokens {
            self.step(streams, position, 1)?;
        }
        Ok((streams * tokens) as f64 / start.elapsed().as_secs_f64())
    }

    /// Tokens a second of one sequence.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn decode(&mut self, depth: usize, tokens: usize) -> Result<f64> {
        self.decode_streams(1, depth, tokens)
    }

    /// Tokens a second of a prompt that is read in steps of `step` tokens.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn prefill(&mut self, tokens: usize, step: usize) -> Result<f64> {
        let start = Instant::now();
        (0..tokens).step_by(step).try_for_each(|at| self.step(1, at, step.min(tokens - at)))?;
        Ok(tokens as f64 / start.elapsed().as_secs_f64())
    }

    /// Spans of what `run` does.
    ///
    /// # Errors
    /// Those of `run`.
    pub fn profiled(&mut self, run: impl FnOnce(&mut Self) -> Result<f64>) -> Result<Vec<(Operation, Span)>> {
        self.backend.profile().start();
        let done = run(self);
        let spans = self.backend.profile().take();
        done.map(|_| spans)
    }
}
