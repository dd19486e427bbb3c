//! One plan of the card's memory, made before a byte is reserved: what each part is, and how much is left for keys and
//! values. Pure arithmetic.

use weighbridge_cuda::form::input_stride;
use weighbridge_cuda::launch::Address;
use weighbridge_cuda::operations::attention::{Attention, HeadShape, SPAN, TILE_ROWS, Tile};
use weighbridge_cuda::operations::{Edit, ExpertTile, Settings, SortByExpert, Width};
use weighbridge_fit::{MemoryPlan, mebibytes};

use super::program::{Program, Widths};
use super::shard::Shard;
use crate::kv::BLOCK_SIZE;

/// Parts begin where the driver's own memory does.
const ALIGNMENT: u64 = 256;

/// Rows whose logits are computed at once.
pub(super) const LOGIT_ROWS: usize = 64;

/// Edits of logits that are uploaded at once: more are several uploads.
pub(super) const EDITS: usize = 4096;

/// Alternatives that a draw may report: what OpenAI's API has.
pub(super) const MOST_ALTERNATIVES: usize = 20;

/// Rows of logits that there is room for: every sequence's last.
pub(super) fn logit_rows(limits: &Limits) -> usize {
    LOGIT_ROWS.max(limits.sequences.next_power_of_two())
}

/// What a backend is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Rows of a step.
    pub(super) rows: usize,
    /// Sequences of a step.
    pub(super) sequences: usize,
    /// Adapters.
    pub(super) adapters: usize,
    /// The largest rank of an adapter.
    pub(super) rank: usize,
    /// True when the device multiplies plain matrices.
    pub(super) multiplies: bool,
}

impl Limits {
    /// Of steps of `tokens` and `sequences`, with no adapter, on a device that multiplies no plain matrices.
    pub(super) fn of_steps(tokens: usize, sequences: usize) -> Self {
        let rows = tokens.max(sequences.next_multiple_of(8));
        Self { rows, sequences, adapters: 0, rank: 0, multiplies: false }
    }
}

/// A region that is handed out part by part.
#[derive(Debug, Default)]
struct Region {
    end: u64,
}

impl Region {
    fn take(&mut self, bytes: usize) -> Address {
        let at = self.end;
        self.end = (at + bytes as u64).next_multiple_of(ALIGNMENT);
        Address(at)
    }
}

/// Places between operations, within one region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scratch {
    pub(super) stream: Address,
    /// The stream again, for rows that are kept.
    pub(super) kept_stream: Address,
    pub(super) input: Address,
    pub(super) qkv: Address,
    pub(super) queries: Address,
    pub(super) attended: Address,
    pub(super) kept_attended: Address,
    pub(super) gate_up: Address,
    pub(super) gated: Address,
    pub(super) branch: Address,
    pub(super) cosines: Address,
    pub(super) sines: Address,
    pub(super) logits: Address,
    /// The logits as the model gave them, where penalties change them.
    pub(super) untouched: Address,
    /// What draws give: tokens, log probabilities, alternatives and theirs.
    pub(super) drawn: Address,
    pub(super) logprobs: Address,
    pub(super) top_ids: Address,
    pub(super) top_logprobs: Address,
    pub(super) plain: Address,
    pub(super) scores: Address,
    pub(super) choices: Address,
    pub(super) shares: Address,
    pub(super) counts: Address,
    pub(super) rows_of: Address,
    pub(super) slots_of: Address,
    pub(super) expert_tiles: Address,
    pub(super) expert_gate_up: Address,
    pub(super) expert_gated: Address,
    pub(super) made: Address,
    pub(super) adapter_inner: Address,
    pub(super) kept_adapters: Address,
    pub(super) partials: Address,
}

/// Places of what a step is told, within one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Inputs {
    pub(super) tokens: Address,
    pub(super) positions: Address,
    pub(super) places: Address,
    pub(super) wanted: Address,
    pub(super) adapters: Address,
    pub(super) tables: Address,
    /// How rows are drawn from, and edits of their logits, [`EDITS`] at once.
    pub(super) settings: Address,
    pub(super) edits: Address,
    /// Of each sight: tiles that split keys, tiles of rows, tiles that are combined.
    pub(super) tiles: Vec<[Address; 3]>,
    /// Tiles of each of the three that there is room for.
    pub(super) tile_room: [usize; 3],
}

/// Places of everything but weights, and the bytes of each region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) scratch: Scratch,
    pub(super) scratch_bytes: u64,
    pub(super) inputs: Inputs,
    pub(super) input_bytes: u64,
}

/// Bytes of one block of keys and values over all layers.
pub(super) fn block_bytes(heads: &HeadShape, layers: usize) -> u64 {
    2 * heads.block_bytes(BLOCK_SIZE) * layers as u64
}

impl Layout {
    /// Places for steps of `program` within `limits`, over `blocks` blocks of keys and values.
    pub(super) fn new(program: &Program, limits: &Limits, blocks: usize) -> Self {
        let group = program.heads.map_or(1, |heads| heads.heads / heads.kv_heads.max(1));
        let tile_room = tile_room(limits, blocks, group);
        let (inputs, input_bytes) = inputs(program.sights.len(), limits, blocks, tile_room);
        let partials = program.heads.map_or(0, |heads| Attention::partial_bytes(&heads, tile_room[0]));
        let (scratch, scratch_bytes) = scratch(&program.widths, limits, partials as usize);
        Self { scratch, scratch_bytes, inputs, input_bytes }
    }

    /// Bytes of both regions.
    pub(super) fn bytes(&self) -> u64 {
        self.scratch_bytes + self.input_bytes
    }
}

/// The most tiles of a step. A token that decodes has a tile for each [`SPAN`] of its context, and all contexts
/// together are no longer than the blocks.
fn tile_room(limits: &Limits, blocks: usize, group: usize) -> [usize; 3] {
    let heads = group.div_ceil(TILE_ROWS);
    let spans = (blocks * BLOCK_SIZE).div_ceil(SPAN) + 2 * limits.sequences;
    let rows = (limits.rows * group).div_ceil(4 * TILE_ROWS) + limits.sequences;
    // Counts are rounded up to powers of two where steps are recorded.
    [(spans * heads).next_power_of_two(), rows, (limits.sequences * heads).next_power_of_two()]
}

fn inputs(sights: usize, limits: &Limits, blocks: usize, tile_room: [usize; 3]) -> (Inputs, u64) {
    let mut region = Region::default();
    let rows = limits.rows;
    let inputs = Inputs {
        tokens: region.take(4 * rows),
        positions: region.take(4 * rows),
        places: region.take(8 * rows),
        wanted: region.take(4 * rows),
        adapters: region.take(4 * rows),
        tables: region.take(4 * blocks.max(1)),
        settings: region.take(size_of::<Settings>() * logit_rows(limits)),
        edits: region.take(size_of::<Edit>() * EDITS),
        tiles: (0..sights).map(|_| tile_room.map(|room| region.take(room * size_of::<Tile>()))).collect(),
        tile_room,
    };
    (inputs, region.end)
}

fn scratch(widths: &Widths, limits: &Limits, partials: usize) -> (Scratch, u64) {
    let mut region = Region::default();
    let rows = limits.rows;
    let floats = |region: &mut Region, columns: usize| region.take(4 * rows * columns);
    let stream = floats(&mut region, widths.embedding);
    let kept_stream = floats(&mut region, widths.embedding);
    let qkv = floats(&mut region, widths.qkv);
    let gate_up = floats(&mut region, widths.gate_up);
    let branch = floats(&mut region, widths.embedding);
    let cosines = floats(&mut region, widths.pairs);
    let sines = floats(&mut region, widths.pairs);
    let scores = floats(&mut region, widths.experts);
    let adapter_inner = floats(&mut region, limits.rank);
    let kept_adapters = floats(&mut region, 1);
    let halves = |region: &mut Region, columns: usize| region.take(2 * rows * columns);
    let pairs = rows * widths.chosen;
    let sort = SortByExpert {
        choices: Address::NULL,
        rows,
        chosen: widths.chosen,
        experts: widths.experts,
        width: Width::Eight,
        counts: Address::NULL,
        rows_of: Address::NULL,
        slots_of: Address::NULL,
        tiles: Address::NULL,
    };
    let scratch = Scratch {
        stream,
        kept_stream,
        qkv,
        gate_up,
        branch,
        cosines,
        sines,
        scores,
        adapter_inner,
        kept_adapters,
        input: halves(&mut region, input_stride(widths.embedding)),
        queries: halves(&mut region, widths.queries),
        attended: halves(&mut region, input_stride(widths.attended)),
        kept_attended: halves(&mut region, input_stride(widths.attended)),
        gated: halves(&mut region, input_stride(widths.gated)),
        logits: region.take(4 * logit_rows(limits) * widths.vocabulary),
        untouched: region.take(4 * logit_rows(limits) * widths.vocabulary),
        drawn: region.take(4 * logit_rows(limits)),
        logprobs: region.take(4 * logit_rows(limits)),
        top_ids: region.take(4 * logit_rows(limits) * MOST_ALTERNATIVES),
        top_logprobs: region.take(4 * logit_rows(limits) * MOST_ALTERNATIVES),
        plain: region.take(if limits.multiplies { 2 * widths.plain } else { 0 }),
        choices: region.take(4 * pairs),
        shares: region.take(4 * pairs),
        counts: region.take(4 * widths.experts),
        rows_of: region.take(4 * pairs),
        slots_of: region.take(4 * pairs),
        expert_tiles: region.take(size_of::<ExpertTile>() * sort.tile_count()),
        expert_gate_up: region.take(4 * pairs * widths.expert_gate_up),
        expert_gated: region.take(2 * pairs * input_stride(widths.expert_gated)),
        made: region.take(4 * pairs * widths.embedding),
        partials: region.take(partials),
    };
    (scratch, region.end)
}

/// The arithmetic of `shard`'s card, for a log or a refusal.
pub(super) fn in_words(plan: &MemoryPlan, free: u64, shard: Shard) -> String {
    let card = if shard.is_alone() {
        "the card".to_owned()
    } else {
        format!("card {} of the {} that share the model", shard.rank + 1, shard.of)
    };
    format!("{}, and {} are free on {card}", plan.in_words(), mebibytes(free))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arithmetic_is_said() {
        let plan =
            MemoryPlan { weights: 3 << 20, adapters: 1 << 20, kv: 2 << 20, scratch: 0, reserve: 1 << 20 };
        assert_eq!(
            in_words(&plan, 5 << 20, Shard::default()),
            "weights 3.0 MiB + adapters 1.0 MiB + KV 2.0 MiB + scratch 0.0 MiB + reserve 1.0 MiB = 7.0 MiB, and 5.0 MiB \
             are free on the card"
        );
        let said = in_words(&plan, 5 << 20, Shard { rank: 1, of: 4 });
        assert!(said.ends_with("5.0 MiB are free on card 2 of the 4 that share the model"), "{said}");
    }

    #[test]
    fn parts_of_a_region_do_not_overlap() {
        let mut region = Region::default();
        let parts = [(region.take(5), 5), (region.take(0), 0), (region.take(300), 300), (region.take(1), 1)];
        for ((at, bytes), (next, _)) in parts.iter().zip(&parts[1..]) {
            assert!(at.0 + bytes <= next.0 && next.0.is_multiple_of(ALIGNMENT));
        }
    }
}
