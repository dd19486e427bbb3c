//! KV-block accounting: which block of the paged cache belongs to which sequence.
//!
//! Pure state machine: no tokio, no HTTP, no tensor memory. The memory itself belongs to a backend.

mod manager;
#[cfg(test)]
mod tests;

pub use manager::{BlockManager, BlockTable, OutOfBlocks};

/// Positions of one sequence that share one block of the paged KV cache, in tokens.
///
/// 16 keeps the waste per sequence under 16 positions and a block's keys of one head within a page.
pub const BLOCK_SIZE: usize = 16;

/// Index of a block in the backend's KV memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub u32);

/// Blocks that hold `tokens` positions.
pub const fn blocks_for(tokens: usize) -> usize {
    tokens.div_ceil(BLOCK_SIZE)
}
