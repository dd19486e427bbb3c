//! The pool: blocks out, blocks in.

use super::{BlockId, blocks_for};

/// The pool is short of blocks; nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{wanted} KV blocks wanted, {free} free")]
pub struct OutOfBlocks {
    /// Blocks asked for.
    pub wanted: usize,
    /// Blocks that were free.
    pub free: usize,
}

/// The blocks of one sequence, in order of position.
///
/// A table is not `Clone` and [`BlockManager::free`] takes it by value, so a block cannot be freed twice.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use = "a table that is dropped instead of freed leaks its blocks"]
pub struct BlockTable(Vec<BlockId>);

impl BlockTable {
    /// The blocks; block `i` holds positions `i * BLOCK_SIZE ..`.
    pub fn blocks(&self) -> &[BlockId] {
        &self.0
    }
}

/// Hands out the blocks of a pool of fixed size.
///
/// Guarantees: a block has one owner; a reservation takes all it asks for or nothing; what its owner
/// freed is free at once.
#[derive(Debug)]
pub struct BlockManager {
    /// Blocks in the pool, free or not.
    total: usize,
    /// Free blocks, the last one handed out first: it is the likeliest to be in a CPU cache.
    free: Vec<BlockId>,
}

impl BlockManager {
    /// A pool of `blocks` blocks, all free.
    pub fn new(blocks: u32) -> Self {
        Self { total: blocks as usize, free: (0..blocks).rev().map(BlockId).collect() }
    }

    /// Blocks in the pool.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Blocks without an owner.
    pub fn available(&self) -> usize {
        self.free.len()
    }

    /// A block without an owner, which stays so.
    pub fn any_free(&self) -> Option<BlockId> {
        self.free.last().copied()
    }

    /// Share of the pool that has an owner, `0.0 ..= 1.0`.
    pub fn usage(&self) -> f64 {
        if self.total() == 0 {
            return 0.0;
        }
        (self.total() - self.available()) as f64 / self.total() as f64
    }

    /// Blocks that `table` lacks to hold `tokens` positions.
    pub fn missing(&self, table: &BlockTable, tokens: usize) -> usize {
        blocks_for(tokens).saturating_sub(table.0.len())
    }

    /// Grows `table` until it holds `tokens` positions.
    ///
    /// # Errors
    /// [`OutOfBlocks`] when the pool is short; then neither pool nor table changed.
    pub fn reserve(&mut self, table: &mut BlockTable, tokens: usize) -> Result<(), OutOfBlocks> {
        let wanted = self.missing(table, tokens);
        let Some(rest) = self.free.len().checked_sub(wanted) else {
            return Err(OutOfBlocks { wanted, free: self.free.len() });
        };
        table.0.extend(self.free.drain(rest..).rev());
        Ok(())
    }

    /// Gives `table` back.
    pub fn free(&mut self, table: BlockTable) {
        self.free.extend(table.0.into_iter().rev());
    }
}
