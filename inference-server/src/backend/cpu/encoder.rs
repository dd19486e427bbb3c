//! An encoder on the CPU: whole sequences in, one vector each out.

use weighbridge_fit::{DeviceFacts, MemoryPlan};

use super::load::{reserve, scratch_bytes};
use super::memory::{available, check};
use super::{CpuOptions, KvKind, LoadError, LoadProgress};
use crate::backend::BackendError;
use crate::kernels::attention::{KvCache, KvShape, SequenceQueries};
use crate::kv::{BLOCK_SIZE, BlockId, blocks_for};
use crate::model::pass::Step;
use crate::model::pass::cpu::{Buffers, CpuPass, Device};
use crate::model::plan::PackPlan;
use crate::model::{Dimensions, EncoderModel, EncoderOutput, PlannedModel, TensorSource, plan_encoder};

/// How a sequence's hidden states become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The first.
    First,
}

/// One sequence to encode.
#[derive(Clone, Copy, Debug)]
pub struct EncoderInput<'a> {
    /// Token ids.
    pub tokens: &'a [u32],
    /// Token types, as many; 0 for the first text, 1 for the second of a pair.
    pub types: &'a [u32],
}

/// An encoder, its weights and threads.
#[derive(Debug)]
pub struct CpuEncoder {
    model: Box<dyn EncoderModel>,
    device: Device,
    buffers: Buffers,
    /// Keys and values of one layer: no later layer needs an earlier one's.
    cache: Option<KvCache>,
    pooling: Pooling,
    normalize: bool,
    weight_bytes: u64,
}

/// What a CPU would hold of a planned encoder with steps of `step_tokens`.
pub(crate) fn encoder_facts(packing: &PackPlan, dimensions: &Dimensions, step_tokens: usize) -> DeviceFacts {
    let (kv, scratch) = step_bytes(dimensions, step_tokens);
    let scratch = kv.saturating_add(scratch);
    let weights = packing.held_bytes();
    DeviceFacts { cards: 0, weights, kv_block: 0, spare_blocks: 0, scratch, full_scratch: scratch }
}

/// Bytes of keys and values of a step, which are of one layer, and of all else between operations.
fn step_bytes(dimensions: &Dimensions, tokens: usize) -> (u64, u64) {
    let kv = (2 * dimensions.kv_width() * size_of::<f32>()) as u64;
    (kv.saturating_mul(tokens as u64), scratch_bytes(dimensions, 0, tokens))
}

impl CpuEncoder {
    /// Loads the encoder of `source`, to be pooled by `pooling` where it gives hidden states.
    ///
    /// # Errors
    /// [`LoadError`]: the model is not served, does not fit, or the system refused.
    pub fn load(
        source: &dyn TensorSource,
        options: &CpuOptions,
        pooling: Pooling,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Self, LoadError> {
        // Asked before planning, which reads what the plan counts.
        Self::load_within(available(), source, options, pooling, progress)
    }

    /// The same in `room` bytes of memory; `None` is no known limit.
    pub(super) fn load_within(
        room: Option<u64>,
        source: &dyn TensorSource,
        options: &CpuOptions,
        pooling: Pooling,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Self, LoadError> {
        let PlannedModel { plan, model } = plan_encoder(source)?;
        let weight_bytes = plan.bytes as u64;
        let dimensions = model.dimensions();
        let (kv, scratch) = step_bytes(dimensions, options.step_tokens);
        let memory = MemoryPlan { weights: plan.held_bytes(), kv, scratch, ..MemoryPlan::default() };
        let device = reserve(check(&memory, room)?, source, plan, options, progress)?;
        Ok(Self {
            model,
            device,
            buffers: Buffers::default(),
            cache: None,
            pooling,
            normalize: true,
            weight_bytes,
        })
    }

    /// The same, whose embeddings keep their length unless `normalize`.
    pub fn normalized(self, normalize: bool) -> Self {
        Self { normalize, ..self }
    }

    /// Token types that it knows.
    pub fn token_types(&self) -> usize {
        self.model.token_types()
    }

    /// Elements of what [`Self::encode`] gives for a sequence.
    pub fn width(&self) -> usize {
        match self.model.output() {
            EncoderOutput::HiddenStates => self.model.dimensions().embedding,
            EncoderOutput::Scores(labels) => labels,
        }
    }

    /// What the model gives.
    pub fn output(&self) -> EncoderOutput {
        self.model.output()
    }

    /// Longest sequence, in tokens.
    pub fn context_length(&self) -> usize {
        self.model.dimensions().context_length
    }

    /// Tokens that it knows.
    pub fn vocabulary_size(&self) -> usize {
        self.model.vocabulary()
    }

    /// Bytes of packed weights.
    pub fn weight_bytes(&self) -> u64 {
        self.weight_bytes
    }

    /// The pooled embedding of each sequence, at length 1 unless told otherwise, or its scores.
    ///
    /// # Errors
    /// [`BackendError::InvalidChunk`] for a sequence that is empty, too long, or of unknown tokens.
    pub fn encode(&mut self, inputs: &[EncoderInput<'_>]) -> Result<Vec<Vec<f32>>, BackendError> {
        for (chunk, input) in inputs.iter().enumerate() {
            self.check(input).map_err(|problem| BackendError::InvalidChunk { chunk, problem })?;
        }
        let failed = |problem: String| BackendError::Device { device: "cpu".to_owned(), problem };
        let tables = tables(inputs);
        let blocks = tables.iter().map(Vec::len).sum();
        let step = lay_out(inputs, &tables);
        let width = self.width();
        let mut found = match self.model.output() {
            EncoderOutput::Scores(labels) => vec![0.0; inputs.len() * labels],
            EncoderOutput::HiddenStates => vec![0.0; step.tokens.len() * width],
        };
        let mut cache = match self.cache.take().filter(|cache| cache.shape().blocks >= blocks) {
            Some(cache) => cache,
            None => KvCache::new(self.cache_shape(blocks)).map_err(|error| failed(error.to_string()))?,
        };
        let (device, buffers) = (&mut self.device, &mut self.buffers);
        let ran = self.model.forward(&mut CpuPass::new(device, &mut cache, &[], &step, buffers, &mut found));
        self.cache = Some(cache);
        ran.map_err(|error| failed(error.to_string()))?;
        Ok(match self.model.output() {
            EncoderOutput::Scores(_) => found.chunks_exact(width).map(<[f32]>::to_vec).collect(),
            EncoderOutput::HiddenStates => step
                .sequences
                .iter()
                .map(|sequence| {
                    let rows = sequence.first_row * width..(sequence.first_row + sequence.tokens) * width;
                    pool(&found[rows], width, self.pooling, self.normalize)
                })
                .collect(),
        })
    }

    fn cache_shape(&self, blocks: usize) -> KvShape {
        let dimensions = self.model.dimensions();
        let (heads, head) = (dimensions.kv_heads, dimensions.head);
        KvShape { kind: KvKind::F32, layers: 1, blocks, heads, head }
    }

    fn check(&self, input: &EncoderInput<'_>) -> Result<(), String> {
        let (vocabulary, context) = (self.vocabulary_size(), self.context_length());
        if input.tokens.is_empty() || input.tokens.len() != input.types.len() {
            return Err("it holds no token, or not a type for each".to_owned());
        }
        if input.tokens.len() > context {
            return Err(format!(
                "it has {} tokens, more than the {context} of the model",
                input.tokens.len()
            ));
        }
        match input.tokens.iter().find(|&&token| token as usize >= vocabulary) {
            Some(token) => Err(format!("token {token} is outside the vocabulary of {vocabulary}")),
            None => Ok(()),
        }
    }
}

/// Blocks for each sequence, one after another.
fn tables(inputs: &[EncoderInput<'_>]) -> Vec<Vec<BlockId>> {
    let mut next = 0u32;
    let mut table = |input: &EncoderInput<'_>| {
        let count = u32::try_from(blocks_for(input.tokens.len())).unwrap_or(u32::MAX);
        let blocks = (next..next.saturating_add(count)).map(BlockId).collect();
        next = next.saturating_add(count);
        blocks
    };
    inputs.iter().map(&mut table).collect()
}

fn lay_out<'a>(inputs: &[EncoderInput<'_>], tables: &'a [Vec<BlockId>]) -> Step<'a> {
    let mut step = Step::default();
    for (input, blocks) in inputs.iter().zip(tables) {
        let first_row = step.tokens.len();
        step.tokens.extend_from_slice(input.tokens);
        step.types.extend_from_slice(input.types);
        for position in 0..input.tokens.len() {
            step.positions.push(position);
            step.places.push((blocks[position / BLOCK_SIZE], position % BLOCK_SIZE));
        }
        step.sequences.push(SequenceQueries { first_row, tokens: input.tokens.len(), start: 0, blocks });
    }
    step
}

/// One vector from `rows`, `[_, width]`; of length 1 if `normalize`.
fn pool(rows: &[f32], width: usize, pooling: Pooling, normalize: bool) -> Vec<f32> {
    let mut pooled = rows.get(..width).map(<[f32]>::to_vec).unwrap_or_default();
    let mut divisor = 1.0;
    if pooling == Pooling::Mean {
        for row in rows.chunks_exact(width).skip(1) {
            pooled.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
        divisor = (rows.len() / width.max(1)) as f32;
    }
    if normalize {
        // The length takes the count with it.
        divisor = pooled.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
    }
    pooled.iter_mut().for_each(|x| *x /= divisor);
    pooled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_keeps_its_length_unless_told_otherwise() {
        let rows = [1.0, 2.0, 5.0, 6.0];
        assert_eq!(pool(&rows, 2, Pooling::Mean, false), [3.0, 4.0]);
        assert_eq!(pool(&rows, 2, Pooling::Mean, true), [0.6, 0.8]);
        assert_eq!(pool(&[3.0, 4.0, 0.0, 0.0], 2, Pooling::First, true), [0.6, 0.8]);
        assert_eq!(pool(&rows, 2, Pooling::First, false), [1.0, 2.0]);
    }
}
