//! The CPU backend: a packed model, its KV memory and its threads behind [`Backend`].
//!
//! `load` builds one from a file; `memory` does the arithmetic first, against what `cgroup` leaves. No arithmetic on
//! tensors happens here: that is `model` and `kernels`.

mod cgroup;
mod encoder;
mod error;
mod load;
mod memory;

use std::num::NonZeroUsize;

pub use encoder::{CpuEncoder, EncoderInput, Pooling};
pub use error::LoadError;
pub use load::{LoadPhase, LoadProgress};

use super::{Backend, BackendDescription, BackendError, Logits, LogitsWanted, SequenceChunk};
use crate::kernels::Isa;
pub use crate::kernels::attention::{AdditionOrder, KvKind};
use crate::kernels::attention::{KvCache, SequenceQueries};
use crate::kernels::pool::Pool;
use crate::kv::{BLOCK_SIZE, BlockId};
use crate::model::DecoderModel;
use crate::model::adapter::{AdaptedRows, Adapter};
use crate::model::pass::{Buffers, Device, Step};
use crate::model::profile::Profile;

/// How much KV memory to reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvMemory {
    /// This many blocks.
    Blocks(usize),
    /// As many blocks as fit into this many bytes.
    Bytes(u64),
}

/// How to load and run.
#[derive(Clone, Debug)]
pub struct CpuOptions {
    /// Threads that compute, the engine's own included; all cores when `None`.
    pub threads: Option<NonZeroUsize>,
    /// KV memory to reserve.
    pub kv: KvMemory,
    /// What keys and values are kept as.
    pub kv_kind: KvKind,
    /// Most tokens that a step is expected to hold; for the memory arithmetic only.
    pub step_tokens: usize,
    /// Kernels to use instead of the best that the CPU has. It must be one that it has.
    pub isa: Option<Isa>,
    /// How attention adds up; servers have it fixed.
    pub order: AdditionOrder,
    /// The longest context that will be served; the model's own when `None`.
    pub context_length: Option<usize>,
}

impl Default for CpuOptions {
    fn default() -> Self {
        Self {
            threads: None,
            kv: KvMemory::Blocks(512),
            kv_kind: KvKind::F16,
            step_tokens: 512,
            isa: None,
            order: AdditionOrder::Fixed,
            context_length: None,
        }
    }
}

/// A model on the CPU.
#[derive(Debug)]
pub struct CpuBackend {
    model: Box<dyn DecoderModel>,
    adapters: Vec<Adapter>,
    cache: KvCache,
    device: Device,
    buffers: Buffers,
    weight_bytes: u64,
    context: usize,
}

impl Backend for CpuBackend {
    fn description(&self) -> BackendDescription {
        BackendDescription {
            device: "cpu".to_owned(),
            kernels: self.device.isa.name().to_owned(),
            weight_bytes: self.weight_bytes,
            kv_bytes: self.cache.bytes() as u64,
            kv_blocks: self.cache.shape().blocks,
        }
    }

    fn vocabulary_size(&self) -> usize {
        self.model.vocabulary()
    }

    fn context_length(&self) -> usize {
        self.context
    }

    fn forward(&mut self, batch: &[SequenceChunk<'_>], logits: &mut Logits) -> Result<(), BackendError> {
        for (index, chunk) in batch.iter().enumerate() {
            self.check(chunk).map_err(|problem| BackendError::InvalidChunk { chunk: index, problem })?;
        }
        let step = lay_out(batch, &self.adapters);
        let logits = logits.reset(step.wanted.len(), self.model.vocabulary());
        if step.tokens.is_empty() {
            return Ok(());
        }
        self.model
            .forward(&mut self.device, &mut self.cache, &step, &mut self.buffers, logits)
            .map_err(|error| BackendError::Device { device: "cpu".to_owned(), problem: error.to_string() })
    }
}

impl CpuBackend {
    /// Where steps' time goes, to be started and taken between them.
    pub fn profile(&mut self) -> &mut Profile {
        &mut self.device.profile
    }

    /// Threads and instruction set, to measure bounds with between steps.
    pub fn pool(&mut self) -> (&mut Pool, Isa) {
        (&mut self.device.pool, self.device.isa)
    }

    /// Gives block `to` the keys and values of block `from`. Blocks outside the memory are left alone.
    pub fn copy_block(&mut self, from: BlockId, to: BlockId) {
        self.cache.copy_block(from, to);
    }

    /// What is wrong with `chunk`, in words.
    fn check(&self, chunk: &SequenceChunk<'_>) -> Result<(), String> {
        let (vocabulary, context) = (self.vocabulary_size(), self.context_length());
        let blocks = self.cache.shape().blocks;
        if chunk.tokens.is_empty() {
            return Err("it holds no token".to_owned());
        }
        if let Some(token) = chunk.tokens.iter().find(|&&token| token as usize >= vocabulary) {
            return Err(format!("token {token} is outside the vocabulary of {vocabulary}"));
        }
        let end = chunk.start.checked_add(chunk.tokens.len()).filter(|&end| end <= context);
        let Some(end) = end else {
            return Err(format!("its end lies past the context of {context} positions"));
        };
        if let Some(adapter) = chunk.adapter.filter(|adapter| adapter.0 >= self.adapters.len()) {
            return Err(format!("adapter {} is not among the {} loaded", adapter.0, self.adapters.len()));
        }
        let covered = chunk.blocks.len().saturating_mul(BLOCK_SIZE);
        if covered < end {
            return Err(format!("its table covers {covered} positions of {end}"));
        }
        match chunk.blocks.iter().find(|block| block.0 as usize >= blocks) {
            Some(block) => Err(format!("block {} is outside the memory of {blocks}", block.0)),
            None => Ok(()),
        }
    }
}

/// Rows of all chunks, one after another.
fn lay_out<'a>(batch: &[SequenceChunk<'a>], adapters: &'a [Adapter]) -> Step<'a> {
    let mut step = Step::default();
    let mut rows: Vec<Vec<usize>> = vec![Vec::new(); adapters.len()];
    for chunk in batch {
        let first_row = step.tokens.len();
        let tokens = chunk.tokens.len();
        step.tokens.extend_from_slice(chunk.tokens);
        for position in chunk.start..chunk.start + tokens {
            step.positions.push(position);
            // `check` saw that the table covers every position.
            step.places.push((chunk.blocks[position / BLOCK_SIZE], position % BLOCK_SIZE));
        }
        match chunk.logits {
            LogitsWanted::None => {}
            LogitsWanted::Last => step.wanted.push(first_row + tokens - 1),
            LogitsWanted::All => step.wanted.extend(first_row..first_row + tokens),
        }
        if let Some(rows) = chunk.adapter.and_then(|adapter| rows.get_mut(adapter.0)) {
            rows.extend(first_row..first_row + tokens);
        }
        step.sequences.push(SequenceQueries { first_row, tokens, start: chunk.start, blocks: chunk.blocks });
    }
    let adapted = adapters.iter().zip(rows).filter(|(_, rows)| !rows.is_empty());
    step.adapted = adapted.map(|(adapter, rows)| AdaptedRows { adapter, rows }).collect();
    step
}

#[cfg(test)]
mod load_tests;
#[cfg(test)]
mod tests;
