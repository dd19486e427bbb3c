//! What a step is told, as the card reads it. Pure: bytes out, with their places.

use weighbridge_cuda::operations::NO_ADAPTER;
use weighbridge_cuda::operations::attention::{Plan, Queries, Split, Tile, plan};

use super::memory::Inputs;
use super::program::Program;
use crate::model::pass::Step;
use weighbridge_cuda::launch::Address;

/// The size of a step, which is all that its launches depend on: steps of one shape are one recording.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    /// Rows.
    pub(super) rows: usize,
    /// Rows that decode, whose logits are wanted. They are the first, also of those that are kept.
    pub(super) decoding: usize,
    /// Rows whose logits are wanted, where these are not all.
    pub(super) kept: Option<usize>,
    /// Of each sight: tiles that split keys, tiles of rows, tiles that are combined.
    pub(super) tiles: Vec<[usize; 3]>,
    /// True when adapters add to some rows.
    pub(super) adapted: bool,
}

impl Shape {
    /// Rows whose logits are wanted.
    pub(super) fn wanted(&self) -> usize {
        self.kept.unwrap_or(self.rows)
    }
}

/// Bytes and where they go, within the inputs' region.
pub(super) type Uploads = Vec<(Address, Vec<u8>)>;

/// A step as the card reads it.
#[derive(Clone, Debug)]
pub(super) struct StepInputs {
    pub(super) shape: Shape,
    pub(super) uploads: Uploads,
    /// True when every sequence decodes one token, so that the step is like others to come.
    pub(super) decodes: bool,
}

/// Rows that recorded steps have: few sizes, so that few are recorded.
fn bucket(rows: usize) -> usize {
    if rows <= 8 { rows.next_power_of_two() } else { rows.next_multiple_of(8) }
}

impl StepInputs {
    /// `step`, for `program`, with places from `inputs`. Rows that fill up a bucket store into block `spare`, which is
    /// no sequence's.
    pub(super) fn new(
        step: &Step<'_>,
        program: &Program,
        inputs: &Inputs,
        most_rows: usize,
        spare: u32,
    ) -> Self {
        let group = program.heads.map_or(1, |heads| heads.heads / heads.kv_heads.max(1));
        let all_wanted = step.wanted.len() == step.tokens.len();
        let single = step.sequences.iter().all(|sequence| sequence.tokens == 1);
        let decodes = all_wanted && single;
        let rows = if decodes { bucket(step.tokens.len()).min(most_rows) } else { step.tokens.len() };

        let decoding = if decodes { rows } else { leading_single(step) };

        let mut tables: Vec<u32> = Vec::new();
        let mut queries = Vec::with_capacity(step.sequences.len());
        for sequence in &step.sequences {
            let (first_row, tokens, start) = (sequence.first_row, sequence.tokens, sequence.start);
            queries.push(Queries { first_row, tokens, start, table: tables.len() });
            let used = (start + tokens).div_ceil(crate::kv::BLOCK_SIZE);
            tables.extend(sequence.blocks.iter().take(used).map(|block| block.0));
        }
        let mut places: Vec<u32> =
            step.places.iter().flat_map(|(block, slot)| [block.0, *slot as u32]).collect();
        places.resize(2 * rows, 0);
        places.chunks_exact_mut(2).skip(step.tokens.len()).for_each(|place| place[0] = spare);
        let padded = |values: &mut dyn Iterator<Item = u32>| {
            let mut values: Vec<u32> = values.collect();
            values.resize(rows, 0);
            values
        };
        let mut uploads = Uploads::new();
        let words = |values: &[u32]| bytemuck::cast_slice::<u32, u8>(values).to_vec();
        uploads.push((inputs.tokens, words(&padded(&mut step.tokens.iter().copied()))));
        uploads.push((inputs.positions, words(&padded(&mut step.positions.iter().map(|p| *p as u32)))));
        uploads.push((inputs.places, words(&places)));
        uploads.push((inputs.tables, words(&tables)));
        if !all_wanted {
            let wanted: Vec<u32> = step.wanted.iter().map(|row| *row as u32).collect();
            uploads.push((inputs.wanted, words(&wanted)));
        }
        if !step.adapted.is_empty() {
            let mut adapters = vec![NO_ADAPTER; rows];
            for adapted in &step.adapted {
                adapted.rows.iter().for_each(|row| adapters[*row] = adapted.adapter as u32);
            }
            uploads.push((inputs.adapters, words(&adapters)));
        }
        let mut tiles = Vec::new();
        for (sight, places) in program.sights.iter().zip(&inputs.tiles) {
            let Plan { split, rows, combine, partials: _ } = plan(&queries, group, *sight, Split::Decode);
            let counts = [split, rows, combine].map(|tiles| fill_up(tiles, decodes));
            for (tiles, at) in counts.iter().zip(places) {
                uploads.push((*at, bytemuck::cast_slice(tiles).to_vec()));
            }
            tiles.push(counts.map(|tiles| tiles.len()));
        }
        let kept = (!all_wanted).then_some(step.wanted.len());
        uploads.retain(|(_, bytes)| !bytes.is_empty());
        let shape = Shape { rows, decoding, kept, tiles, adapted: !step.adapted.is_empty() };
        Self { shape, uploads, decodes }
    }
}

/// Sequences of one token, whose logits are wanted, with which `step` begins.
fn leading_single(step: &Step<'_>) -> usize {
    let single = step.sequences.iter().zip(&step.wanted);
    single.take_while(|(sequence, wanted)| sequence.tokens == 1 && sequence.first_row == **wanted).count()
}

/// With tiles that do nothing to a power of two, where steps are recorded.
fn fill_up(mut tiles: Vec<Tile>, recorded: bool) -> Vec<Tile> {
    if recorded && !tiles.is_empty() {
        tiles.resize(tiles.len().next_power_of_two(), Tile::default());
    }
    tiles
}
