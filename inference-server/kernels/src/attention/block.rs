//! The paged cache's unit.

/// Positions of one sequence that share one block of the paged KV cache, in tokens.
///
/// 16 keeps the waste per sequence under 16 positions and a block's keys of one head within a page.
pub const BLOCK_SIZE: usize = 16;

/// Index of a block in a cache's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub u32);
