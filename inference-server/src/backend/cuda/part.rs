//! What one card has of a model, before anything is known of the card. Pure.

use weighbridge_cuda::operations::attention::{CacheKind, HeadShape};
use weighbridge_fit::DeviceFacts;

use super::load::SPARE_BLOCKS;
use super::memory::{Layout, Limits, block_bytes};
use super::program::Program;
use super::record::{Unserved, record};
use super::shard::{Shard, slices};
use super::weights::WeightsPlan;
use crate::kv::blocks_for;
use crate::model::DecoderModel;
use crate::model::plan::PackPlan;

/// One card's part of a model.
pub(super) struct Part {
    pub(super) program: Program,
    pub(super) weights: WeightsPlan,
    pub(super) heads: HeadShape,
    pub(super) layers: usize,
}

impl Part {
    /// The part of `model` that `shard` has; in words, why it can't be shared out or computed.
    pub(super) fn new(
        model: &dyn DecoderModel,
        packing: &PackPlan,
        cache: CacheKind,
        shard: Shard,
    ) -> Result<Self, Unserved> {
        let weights = WeightsPlan::new(packing, &slices(model, packing, shard)?);
        let program = record(model, &weights, cache, shard)?;
        let heads = program.heads.ok_or_else(|| Unserved("the model has no attention".to_owned()))?;
        Ok(Self { program, weights, heads, layers: model.dimensions().layers })
    }

    /// Bytes of its weights, norms, biases and rotary frequencies.
    pub(super) fn weight_bytes(&self) -> u64 {
        let Program { vectors, frequencies, .. } = &self.program;
        self.weights.bytes() + (4 * vectors.len() + 8 * frequencies.len()) as u64
    }
}

/// What each of `cards` would hold of a model that is served with a context of `context`, in steps of `step_tokens` and
/// `sequences`: of the first, which holds the head too. In words, why it can't be shared out to as many or computed there.
///
/// Where a device multiplies plain matrices is known on the device alone: one context is reckoned without room for them, so
/// that nothing is refused that would have had room, and one of every sequence with it.
pub(crate) fn card_facts(
    model: &dyn DecoderModel,
    packing: &PackPlan,
    cache: CacheKind,
    cards: u32,
    context: usize,
    (step_tokens, sequences): (usize, usize),
) -> Result<DeviceFacts, String> {
    let shard = Shard { rank: 0, of: cards as usize };
    let part = Part::new(model, packing, cache, shard).map_err(|unserved| unserved.to_string())?;
    let limits = Limits::of_steps(step_tokens, sequences);
    let blocks = blocks_for(context);
    let most = blocks.saturating_mul(sequences).min(u32::MAX as usize - 1);
    let scratch = |limits: &Limits, blocks| Layout::new(&part.program, limits, blocks).bytes();
    Ok(DeviceFacts {
        cards,
        weights: part.weight_bytes(),
        kv_block: block_bytes(&part.heads, part.layers),
        spare_blocks: SPARE_BLOCKS,
        scratch: scratch(&limits, blocks),
        full_scratch: scratch(&Limits { multiplies: true, ..limits }, most),
    })
}
