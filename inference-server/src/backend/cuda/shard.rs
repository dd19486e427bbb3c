//! Which part of a model each of several cards holds. Pure.
//!
//! A part is told by what a family calls on its pass, not by names: heads of attention and columns of feed-forward parts
//! are shared out, so that each card has rows of what reads the stream, and the same columns of what adds to it. All else
//! each card has whole, but for the head, which is the first's.

use std::collections::HashMap;
use std::ops::Range;

use weighbridge_cuda::form::Form;

use super::record::Unserved;
use crate::kernels::StoredType;
use crate::kernels::e4m3::can_part;
use crate::kernels::elementwise::{Activation, Norm, QkvShape};
use crate::kernels::packed::PackedMatrix;
use crate::kernels::pool::WorkerPanicked;
use crate::model::DecoderModel;
use crate::model::pass::{Attention, AttentionSpec, Experts, FeedForward, Pass};
use crate::model::plan::{PackPlan, Packing};
use crate::model::rotary::Rotary;

/// One card of those that compute a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shard {
    /// Its index.
    pub(super) rank: usize,
    /// How many there are.
    pub(super) of: usize,
}

impl Default for Shard {
    fn default() -> Self {
        Self { rank: 0, of: 1 }
    }
}

impl Shard {
    /// True where no other card computes.
    pub(super) fn is_alone(self) -> bool {
        self.of == 1
    }

    /// True of the card that brings what all others have too: the stream, biases, logits.
    pub(super) fn is_first(self) -> bool {
        self.rank == 0
    }

    /// This card's part of `length`, which divides.
    pub(super) fn part(self, length: usize) -> Range<usize> {
        let each = length / self.of;
        self.rank * each..(self.rank + 1) * each
    }

    /// This card's rows of queries, keys and values that lie one after another.
    pub(super) fn projections(self, shape: &QkvShape) -> [Range<usize>; 3] {
        let QkvShape { heads, kv_heads, head, query_scale: _ } = *shape;
        let [queries, kv] = [heads, kv_heads].map(|heads| {
            let part = self.part(heads);
            part.start * head..part.end * head
        });
        let after = |range: &Range<usize>, before: usize| range.start + before..range.end + before;
        [after(&queries, 0), after(&kv, heads * head), after(&kv, (heads + kv_heads) * head)]
    }
}

/// A card's part of a matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    /// Rows, one range after another.
    pub(super) rows: Vec<Range<usize>>,
    pub(super) columns: Range<usize>,
}

impl Slice {
    /// All of a `[rows, columns]` matrix.
    pub(super) fn whole(rows: usize, columns: usize) -> Self {
        Self { rows: std::iter::once(0..rows).collect(), columns: 0..columns }
    }

    /// How many rows it has.
    pub(super) fn row_count(&self) -> usize {
        self.rows.iter().map(ExactSizeIterator::len).sum()
    }

    /// Where rows `wanted` of the slice are in the matrix.
    pub(super) fn places(&self, wanted: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let mut before = 0;
        self.rows.iter().filter_map(move |range| {
            let own = before..before + range.len();
            before = own.end;
            let (first, end) = (wanted.start.max(own.start), wanted.end.min(own.end));
            (first < end).then(|| range.start + first - own.start..range.start + end - own.start)
        })
    }
}

/// The rows of a matrix as a file has them.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileRows<'a> {
    pub(super) bytes: &'a [u8],
    /// Columns of the matrix.
    pub(super) columns: usize,
    /// Elements and bytes of a block.
    pub(super) block: (usize, usize),
}

impl<'a> FileRows<'a> {
    /// Bytes of `columns` columns of a row.
    pub(super) fn row_bytes(&self, columns: usize) -> usize {
        let (elements, bytes) = self.block;
        columns / elements * bytes
    }

    /// Rows `wanted` of `slice`, one after another: where they lie in the file, or, where they don't lie there like that,
    /// copied to `room`. `None` where the file has no such rows.
    pub(super) fn of<'b>(
        &self,
        slice: &Slice,
        wanted: Range<usize>,
        room: &'b mut Vec<u8>,
    ) -> Option<&'b [u8]>
    where
        'a: 'b,
    {
        let row = self.row_bytes(self.columns);
        let columns = self.row_bytes(slice.columns.start)..self.row_bytes(slice.columns.end);
        let places: Vec<Range<usize>> = slice.places(wanted).collect();
        if let [place] = places.as_slice()
            && columns == (0..row)
        {
            return self.bytes.get(place.start * row..place.end * row);
        }
        room.clear();
        for stored in places.into_iter().flatten() {
            let stored = self.bytes.get(stored * row..(stored + 1) * row)?;
            room.extend_from_slice(stored.get(columns.clone())?);
        }
        Some(room)
    }

    /// The bytes that rows `wanted` of `slice` were taken from.
    pub(super) fn taken(&self, slice: &Slice, wanted: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let row = self.row_bytes(self.columns);
        slice.places(wanted).map(move |place| place.start * row..place.end * row)
    }
}

/// What a card holds of each matrix, by the matrix' place in planning's arena.
#[derive(Debug, Default)]
pub(super) enum Slices {
    /// Everything.
    #[default]
    Whole,
    /// These.
    Of(HashMap<usize, Slice>),
}

impl Slices {
    /// What it holds of a matrix, if anything.
    pub(super) fn of(&self, packing: &Packing) -> Option<Slice> {
        let (rows, columns) = (packing.layout.rows(), packing.layout.columns());
        match self {
            Self::Whole => Some(Slice::whole(rows, columns)),
            Self::Of(slices) => slices.get(&packing.offset).cloned(),
        }
    }
}

/// The part of `model` that `shard` holds; in words, why it can't be shared out.
pub(super) fn slices(model: &dyn DecoderModel, plan: &PackPlan, shard: Shard) -> Result<Slices, Unserved> {
    if shard.is_alone() {
        return Ok(Slices::Whole);
    }
    let mut survey = Survey { shard, slices: HashMap::new(), unserved: None };
    // Nothing is computed, so that nothing panics.
    let _ = model.forward(&mut survey);
    let Survey { shard: _, slices, mut unserved } = survey;
    for packing in &plan.matrices {
        let Some(Slice { rows: _, columns }) = slices.get(&packing.offset) else { continue };
        if columns.len() == packing.layout.columns() {
            continue;
        }
        let kept = packing.layout.kind();
        for (kind, block) in [stored_blocks(packing.tensor.kind()), (kept.name(), kept.block_elements())] {
            if !columns.start.is_multiple_of(block) || !columns.end.is_multiple_of(block) {
                let (name, width, of) = (packing.tensor.name(), columns.len(), shard.of);
                unserved.get_or_insert(Unserved(format!(
                    "each of {of} cards would have {width} columns of {name}, which is {kind} in blocks of {block}: take \
                     fewer cards, or another type of weights"
                )));
            }
        }
        if let Some(block) = packing.scale_columns.filter(|block| !can_part(*block, columns)) {
            let (name, width, of) = (packing.tensor.name(), columns.len(), shard.of);
            unserved.get_or_insert(Unserved(format!(
                "each of {of} cards would have {width} columns of {name}, of which {block} share a scale: take fewer \
                 cards, or another type of weights"
            )));
        }
    }
    match unserved {
        Some(unserved) => Err(unserved),
        None => Ok(Slices::Of(slices)),
    }
}

/// A stored type by its name, and the columns that can't be parted: of E4M3, a tile's, which has one scale a row.
fn stored_blocks(kind: StoredType) -> (&'static str, usize) {
    let block = match kind {
        StoredType::Ggml(kind) => kind.block_elements(),
        StoredType::E4M3 => Form::E4m3.tile_columns(),
    };
    (kind.name(), block)
}

/// A pass that computes nothing: it sees which matrix is used as what.
struct Survey {
    shard: Shard,
    slices: HashMap<usize, Slice>,
    /// The first thing that can't be shared out.
    unserved: Option<Unserved>,
}

impl Survey {
    fn refuse(&mut self, problem: String) {
        self.unserved.get_or_insert(Unserved(problem));
    }

    fn divides(&mut self, count: usize, what: &str) {
        let of = self.shard.of;
        if count == 0 || !count.is_multiple_of(of) {
            self.refuse(format!(
                "its {count} {what} can't be shared out to {of} cards: take a number that divides them"
            ));
        }
    }

    fn note(&mut self, matrix: &PackedMatrix, slice: Slice) {
        let known = self.slices.entry(matrix.offset()).or_insert_with(|| slice.clone());
        if *known != slice {
            self.refuse(
                "one of its matrices is used in two ways, of which each card would have other parts"
                    .to_owned(),
            );
        }
    }

    fn whole(&mut self, matrix: &PackedMatrix) {
        let slice = Slice::whole(matrix.layout().rows(), matrix.layout().columns());
        self.note(matrix, slice);
    }

    /// `parts`, which lie one after another, of `matrices`: one holds each, or one all.
    fn rows(&mut self, matrices: &[PackedMatrix], lengths: &[usize], parts: &[Range<usize>]) {
        let columns = |matrix: &PackedMatrix| 0..matrix.layout().columns();
        match matrices {
            [all] => self.note(all, Slice { rows: parts.to_vec(), columns: columns(all) }),
            each if each.len() == parts.len() => {
                let mut before = 0;
                for ((matrix, length), part) in each.iter().zip(lengths).zip(parts) {
                    let rows = std::iter::once(part.start - before..part.end - before).collect();
                    self.note(matrix, Slice { rows, columns: columns(matrix) });
                    before += length;
                }
            }
            other => self.refuse(format!("{} matrices lie in the place of {}", other.len(), parts.len())),
        }
    }

    fn columns(&mut self, matrix: &PackedMatrix) {
        let (rows, columns) = (matrix.layout().rows(), self.shard.part(matrix.layout().columns()));
        self.note(matrix, Slice { rows: std::iter::once(0..rows).collect(), columns });
    }

    fn feed_forward(&mut self, FeedForward { gate_up, down }: &FeedForward) {
        let inner = down.layout().columns();
        self.divides(inner, "columns of a feed-forward part");
        let gate = self.shard.part(inner);
        let up = gate.start + inner..gate.end + inner;
        self.rows(gate_up, &[inner, inner], &[gate, up]);
        self.columns(down);
    }
}

impl Pass for Survey {
    fn begin(&mut self, table: &PackedMatrix, _scale: f32) -> Result<(), WorkerPanicked> {
        self.whole(table);
        Ok(())
    }

    fn turn_by(&mut self, _rotaries: &[&Rotary]) {}

    fn normalize(&mut self, _norm: &Norm, _readers: &[PackedMatrix]) -> Result<(), WorkerPanicked> {
        Ok(())
    }

    fn attend(
        &mut self,
        _layer: usize,
        weights: &Attention,
        spec: &AttentionSpec,
    ) -> Result<(), WorkerPanicked> {
        let QkvShape { heads, kv_heads, head, query_scale: _ } = spec.shape;
        self.divides(heads, "heads");
        self.divides(kv_heads, "heads of keys and values");
        let lengths = [heads * head, kv_heads * head, kv_heads * head];
        self.rows(&weights.projections, &lengths, &self.shard.projections(&spec.shape));
        Ok(())
    }

    fn keep_wanted(&mut self) {}

    fn add_attended(&mut self, weights: &Attention) -> Result<(), WorkerPanicked> {
        self.columns(&weights.output);
        Ok(())
    }

    fn add_attended_normalized(&mut self, output: &PackedMatrix, _norm: &Norm) -> Result<(), WorkerPanicked> {
        self.columns(output);
        Ok(())
    }

    fn add_feed_forward(
        &mut self,
        weights: &FeedForward,
        _activation: Activation,
    ) -> Result<(), WorkerPanicked> {
        self.feed_forward(weights);
        Ok(())
    }

    fn add_feed_forward_normalized(
        &mut self,
        weights: &FeedForward,
        _activation: Activation,
        _norm: &Norm,
    ) -> Result<(), WorkerPanicked> {
        self.feed_forward(weights);
        Ok(())
    }

    fn add_experts(&mut self, weights: &Experts, _activation: Activation) -> Result<(), WorkerPanicked> {
        let Experts { router, experts, chosen: _, normalized: _ } = weights;
        self.whole(router);
        experts.iter().for_each(|expert| self.feed_forward(expert));
        Ok(())
    }

    fn logits(
        &mut self,
        _norm: &Norm,
        head: &PackedMatrix,
        _soft_cap: Option<f32>,
    ) -> Result<(), WorkerPanicked> {
        if self.shard.is_first() {
            self.whole(head);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{FileRows, Shard, Slice};
    use crate::kernels::elementwise::QkvShape;

    #[test]
    fn heads_go_with_their_keys_and_values() {
        let shape = QkvShape { heads: 8, kv_heads: 2, head: 4, query_scale: 1.0 };
        let parts = |rank| Shard { rank, of: 2 }.projections(&shape);
        assert_eq!(parts(0), [0..16, 32..36, 40..44]);
        assert_eq!(parts(1), [16..32, 36..40, 44..48]);
        assert_eq!(Shard::default().projections(&shape), [0..32, 32..40, 40..48]);
    }

    #[test]
    fn rows_and_columns_of_a_file_are_copied_only_where_they_must_be() {
        // Five rows of three blocks of two bytes.
        let bytes: Vec<u8> = (0..30).collect();
        let stored = FileRows { bytes: &bytes, columns: 96, block: (32, 2) };
        let mut room = Vec::new();
        let rows = Slice { rows: vec![1..2, 3..5], columns: 0..96 };
        assert_eq!(rows.row_count(), 3);
        assert_eq!(stored.of(&rows, 1..3, &mut room).unwrap(), &bytes[18..30]);
        assert!(room.is_empty());
        assert_eq!(stored.of(&rows, 0..2, &mut room).unwrap(), [&bytes[6..12], &bytes[18..24]].concat());
        assert_eq!(stored.taken(&rows, 0..2).collect::<Vec<_>>(), [6..12, 18..24]);
        let columns = Slice { columns: 32..64, ..Slice::whole(5, 96) };
        assert_eq!(stored.of(&columns, 3..5, &mut room).unwrap(), [20, 21, 26, 27]);
        let missing = Slice { rows: vec![4..5, 5..6], columns: 0..96 };
        assert_eq!(stored.of(&missing, 0..2, &mut room), None);
    }
}
