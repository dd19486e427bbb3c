//! The paged cache's memory: keys and values in f16.
//!
//! A block's keys of one head are `[head][16 positions]`: one load gives 16 positions one element of their
//! keys, so scores come out a vector at a time. Its values are `[16 positions][head]`: one load gives a
//! position's elements, so results accumulate a vector at a time.

use super::super::buffer::Buffer;
use crate::kv::{BLOCK_SIZE, BlockId};

/// Sizes of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvShape {
    /// Layers.
    pub layers: usize,
    /// Blocks of [`BLOCK_SIZE`] positions.
    pub blocks: usize,
    /// Key-value heads.
    pub heads: usize,
    /// Elements of a head.
    pub head: usize,
}

impl KvShape {
    /// Elements of a stored value: a head rounded up to whole vectors.
    pub(super) fn value_width(self) -> usize {
        self.head.next_multiple_of(16)
    }

    /// Bytes of one block over all layers, keys and values; `None` when that overflows.
    pub fn block_bytes(self) -> Option<usize> {
        let elements = BLOCK_SIZE.checked_mul(self.head.checked_add(self.value_width())?)?;
        elements.checked_mul(2)?.checked_mul(self.heads)?.checked_mul(self.layers)
    }
}

/// Keys and values of all layers.
#[derive(Debug)]
pub struct KvCache {
    shape: KvShape,
    keys: Buffer,
    values: Buffer,
}

impl KvCache {
    /// Zeroed memory for `shape`. Pages become resident when blocks are first written.
    ///
    /// # Errors
    /// The system's, when it has no such room.
    pub fn new(shape: KvShape) -> std::io::Result<Self> {
        let positions = shape.layers * shape.blocks * shape.heads * BLOCK_SIZE * 2;
        Ok(Self {
            shape,
            keys: Buffer::zeroed(positions * shape.head)?,
            values: Buffer::zeroed(positions * shape.value_width())?,
        })
    }

    /// Its sizes.
    pub fn shape(&self) -> KvShape {
        self.shape
    }

    /// Bytes reserved.
    pub fn bytes(&self) -> usize {
        self.keys.bytes().len() + self.values.bytes().len()
    }

    /// Place of a head's part of a block, in such parts. All layers of a block lie together: blocks become
    /// resident one after another, not a huge page a layer with the first token.
    fn head_index(&self, layer: usize, block: BlockId, head: usize) -> usize {
        (block.0 as usize * self.shape.layers + layer) * self.shape.heads + head
    }

    /// Keys of one head in one block, `[head][BLOCK_SIZE]`.
    pub(super) fn keys(&self, layer: usize, block: BlockId, head: usize) -> &[u16] {
        let size = self.shape.head * BLOCK_SIZE;
        &self.keys.halves()[self.head_index(layer, block, head) * size..][..size]
    }

    /// Values of one head in one block, `[BLOCK_SIZE][value_width]`.
    pub(super) fn values(&self, layer: usize, block: BlockId, head: usize) -> &[u16] {
        let size = self.shape.value_width() * BLOCK_SIZE;
        &self.values.halves()[self.head_index(layer, block, head) * size..][..size]
    }

    /// Stores one position's key and value of one head, each `[head]` f16 bits.
    pub(in crate::kernels) fn store(
        &mut self,
        layer: usize,
        block: BlockId,
        slot: usize,
        head: usize,
        key: &[u16],
        value: &[u16],
    ) {
        let index = self.head_index(layer, block, head);
        let (size, width) = (self.shape.head, self.shape.value_width());
        let keys = &mut self.keys.halves_mut()[index * size * BLOCK_SIZE..][..size * BLOCK_SIZE];
        for (column, &element) in keys.chunks_exact_mut(BLOCK_SIZE).zip(key) {
            column[slot] = element;
        }
        let values = &mut self.values.halves_mut()[index * width * BLOCK_SIZE..][..width * BLOCK_SIZE];
        values[slot * width..][..size].copy_from_slice(&value[..size]);
    }
}
