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

pub(crate) use encoder::encoder_facts;
pub use encoder::{CpuEncoder, EncoderInput, Pooling};
pub use error::LoadError;
pub(crate) use load::decoder_facts;
pub use load::{LoadPhase, LoadProgress};
pub(super) use memory::available as available_memory;

use super::step::StepLimits;
use super::{Backend, BackendDescription, BackendError, Logits, SequenceChunk};
use crate::kernels::Isa;
use crate::kernels::attention::KvCache;
pub use crate::kernels::attention::{AdditionOrder, KvKind};
use crate::kernels::pool::Pool;
use crate::kv::BlockId;
use crate::model::DecoderModel;
use crate::model::adapter::Adapter;
use crate::model::pass::cpu::{Buffers, CpuPass, Device};
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
        let limits = StepLimits {
            vocabulary: self.vocabulary_size(),
            context: self.context_length(),
            blocks: self.cache.shape().blocks,
            adapters: self.adapters.len(),
        };
        let step = limits.lay_out(batch)?;
        let logits = logits.reset(step.wanted.len(), self.model.vocabulary());
        if step.tokens.is_empty() {
            return Ok(());
        }
        let Self { model, adapters, cache, device, buffers, .. } = self;
        model
            .forward(&mut CpuPass::new(device, cache, adapters, &step, buffers, logits))
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
}

#[cfg(test)]
mod e4m3_tests;
#[cfg(test)]
mod load_tests;
#[cfg(test)]
mod tests;
