//! The pool: blocks out, blocks in, counted by reference.

use super::{BLOCK_SIZE, BlockId, blocks_for};

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

    /// Positions that the table has room for.
    pub fn capacity(&self) -> usize {
        self.0.len() * BLOCK_SIZE
    }
}

/// Hands out the blocks of a pool of fixed size.
///
/// Guarantees: a block has one owner unless it was shared; a reservation takes all it asks for or
/// nothing; a block whose last owner freed it is free at once.
#[derive(Debug)]
pub struct BlockManager {
    /// Owners of each block; 0 is free.
    references: Vec<u32>,
    /// Free blocks, the last one handed out first: it is the likeliest to be in a CPU cache.
    free: Vec<BlockId>,
}

impl BlockManager {
    /// A pool of `blocks` blocks, all free.
    pub fn new(blocks: u32) -> Self {
        Self { references: vec![0; blocks as usize], free: (0..blocks).rev().map(BlockId).collect() }
    }

    /// Blocks in the pool.
    pub fn total(&self) -> usize {
        self.references.len()
    }

    /// Blocks without an owner.
    pub fn available(&self) -> usize {
        self.free.len()
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
        for block in self.free.drain(rest..).rev() {
            self.references[block.0 as usize] = 1;
            table.0.push(block);
        }
        Ok(())
    }

    /// A second table over the first `tokens` positions of `table`, whole blocks only: a block that is
    /// only partly filled would be written by both owners.
    pub fn share(&mut self, table: &BlockTable, tokens: usize) -> BlockTable {
        let whole = (tokens / BLOCK_SIZE).min(table.0.len());
        let shared = table.0[..whole].to_vec();
        for block in &shared {
            self.references[block.0 as usize] += 1;
        }
        BlockTable(shared)
    }

    /// Gives `table` back. Blocks that another table shares stay with that one.
    pub fn free(&mut self, table: BlockTable) {
        for block in table.0.into_iter().rev() {
            let owners = &mut self.references[block.0 as usize];
            *owners = owners.saturating_sub(1);
            if *owners == 0 {
                self.free.push(block);
            }
        }
    }
}
