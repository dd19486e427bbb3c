//! The paged cache's memory: keys and values in f16.
//!
//! A block's keys of one head are `[head][16 positions]`: one load gives 16 positions one element of their
//! keys, so scores come out a vector at a time. Its values are `[16 positions][head]`: one load gives a
//! position's elements, so results accumulate a vector at a time.

use super::super::buffer::Buffer;
use super::super::shared::SharedSlice;
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

    /// Place of a head's part of a block, in such parts. All layers of a block lie together: blocks become
    /// resident one after another, not a huge page a layer with the first token.
    fn head_index(self, layer: usize, block: BlockId, head: usize) -> usize {
        (block.0 as usize * self.layers + layer) * self.heads + head
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

    /// Keys of one head in one block, `[head][BLOCK_SIZE]`.
    pub(super) fn keys(&self, layer: usize, block: BlockId, head: usize) -> &[u16] {
        let size = self.shape.head * BLOCK_SIZE;
        &self.keys.halves()[self.shape.head_index(layer, block, head) * size..][..size]
    }

    /// Values of one head in one block, `[BLOCK_SIZE][value_width]`.
    pub(super) fn values(&self, layer: usize, block: BlockId, head: usize) -> &[u16] {
        let size = self.shape.value_width() * BLOCK_SIZE;
        &self.values.halves()[self.shape.head_index(layer, block, head) * size..][..size]
    }

    /// The cache for workers that each store positions of their own.
    pub(in crate::kernels) fn writer(&mut self) -> KvWriter<'_> {
        let shape = self.shape;
        KvWriter {
            shape,
            keys: SharedSlice::new(self.keys.halves_mut()),
            values: SharedSlice::new(self.values.halves_mut()),
        }
    }
}

/// [`KvCache`] shared by workers.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct KvWriter<'a> {
    shape: KvShape,
    keys: SharedSlice<'a, u16>,
    values: SharedSlice<'a, u16>,
}

impl KvWriter<'_> {
    /// Stores one position's key and value of one head, each `[head]` f16 bits.
    ///
    /// # Safety
    /// No other worker uses this place meanwhile; it lies inside the cache.
    pub(in crate::kernels) unsafe fn store(
        self,
        layer: usize,
        block: BlockId,
        slot: usize,
        head: usize,
        key: &[u16],
        value: &[u16],
    ) {
        let index = self.shape.head_index(layer, block, head);
        let (size, width) = (self.shape.head, self.shape.value_width());
        let inside = (block.0 as usize) < self.shape.blocks && slot < BLOCK_SIZE && layer < self.shape.layers;
        debug_assert!(inside && key.len() == size && value.len() == size);
        if !inside {
            return;
        }
        // SAFETY: inside the cache, as just checked; a key's elements lie among those of other slots, so they are
        // written one by one and no slice is made that another worker's writes would alias.
        unsafe {
            let keys = self.keys.start().add(index * size * BLOCK_SIZE + slot);
            for (column, &element) in key.iter().enumerate().take(size) {
                keys.add(column * BLOCK_SIZE).write(element);
            }
            let values = self.values.part((index * BLOCK_SIZE + slot) * width, size.min(value.len()));
            values.copy_from_slice(&value[..values.len()]);
        }
    }
}
