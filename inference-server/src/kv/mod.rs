//! KV-block accounting: which block of the paged cache belongs to which sequence.
//!
//! Pure state machine: no tokio, no HTTP, no tensor memory. The memory itself belongs to a backend.

mod manager;
#[cfg(test)]
mod tests;

pub use manager::{BlockManager, BlockTable, OutOfBlocks};
pub use weighbridge_kernels::attention::{BLOCK_SIZE, BlockId};

/// Blocks that hold `tokens` positions.
pub const fn blocks_for(tokens: usize) -> usize {
    tokens.div_ceil(BLOCK_SIZE)
}
