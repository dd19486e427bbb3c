//! What a step computes, whatever computes it.

use crate::kernels::attention::SequenceQueries;
use crate::kv::BlockId;

/// Rows of a step that one adapter adds to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdaptedRows {
    /// Index of the adapter among those that are loaded.
    pub adapter: usize,
    /// The rows, ascending.
    pub rows: Vec<usize>,
}

/// What a step computes: rows of all sequences, one after another.
#[derive(Debug, Default)]
pub struct Step<'a> {
    /// `[rows]` token ids, below the vocabulary's size.
    pub tokens: Vec<u32>,
    /// `[rows]` token types; empty of decoders, which have none.
    pub types: Vec<u32>,
    /// `[rows]` positions.
    pub positions: Vec<usize>,
    /// `[rows]` block and slot that a row's key and value go to.
    pub places: Vec<(BlockId, usize)>,
    /// Sequences; their rows follow one another.
    pub sequences: Vec<SequenceQueries<'a>>,
    /// Rows whose logits are wanted, ascending.
    pub wanted: Vec<usize>,
    /// Rows that adapters add to; a row is of one adapter or of none.
    pub adapted: Vec<AdaptedRows>,
}
