//! What the scheduler knows of a sequence: counts and blocks, no tokens.

use crate::kv::BlockTable;

/// Names a sequence for its life; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(pub u64);

/// A sequence to be queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewSequence {
    /// Its name.
    pub id: SequenceId,
    /// Tokens of its prompt.
    pub length: usize,
    /// Tokens of prompt and answer together, at most.
    pub max_length: usize,
    /// Tokens that one of its prefill chunks may have, where the step's budget is too coarse.
    pub chunk_limit: Option<usize>,
}

/// A queued or running sequence. `computed < length` except between a step and its sampled token.
#[derive(Debug)]
pub(super) struct Sequence {
    pub(super) id: SequenceId,
    /// Tokens known.
    pub(super) length: usize,
    /// Tokens whose keys and values are in `table`.
    pub(super) computed: usize,
    pub(super) chunk_limit: usize,
    pub(super) table: BlockTable,
}

impl Sequence {
    pub(super) fn new(new: &NewSequence) -> Self {
        Self {
            id: new.id,
            length: new.length,
            computed: 0,
            chunk_limit: new.chunk_limit.unwrap_or(usize::MAX).max(1),
            table: BlockTable::default(),
        }
    }

    /// Tokens known but not computed: 1 for a decode, more for a prefill.
    pub(super) fn remaining(&self) -> usize {
        self.length - self.computed
    }
}
