//! KV-block accounting: which block of the paged cache belongs to which sequence.
//!
//! Pure state machine: no tokio, no HTTP, no tensor memory. The memory itself belongs to a backend.

mod manager;
#[cfg(test)]
mod tests;

pub use manager::{BlockManager, BlockTable, OutOfBlocks};
pub use weighbridge_kernels::attention::{BLOCK_SIZE, BlockId};

// What is reckoned before an engine starts is reckoned in the engine's blocks.
const _: () = assert!(BLOCK_SIZE as u64 == weighbridge_fit::rules::BLOCK_TOKENS);

/// Blocks that hold `tokens` positions.
pub const fn blocks_for(tokens: usize) -> usize {
    weighbridge_fit::rules::blocks_for(tokens as u64) as usize
}
