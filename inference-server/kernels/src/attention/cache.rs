//! The paged cache's memory.
//!
//! A block's keys of one head are `[head][16 positions]`: one load gives 16 positions one element of their
//! keys, so scores come out a vector at a time. Its values are `[16 positions][head]`: one load gives a
//! position's elements, so results accumulate a vector at a time.

use super::super::Isa;
use super::super::buffer::Buffer;
use super::super::shared::SharedSlice;
use super::super::simd::{Simd, dispatch};
use super::MAX_HEAD;
use super::block::{BLOCK_SIZE, BlockId};
use super::format::{GROUP, KvKind, quantize_group};

/// Sizes of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvShape {
    /// What elements are.
    pub kind: KvKind,
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
        let part = self.kind.bytes(self.head).checked_add(self.kind.bytes(self.value_width()))?;
        part.checked_mul(self.heads)?.checked_mul(self.layers)
    }

    /// Place of a head's part of a block, in such parts. All layers of a block lie together: blocks become
    /// resident one after another, not a huge page a layer with the first token.
    fn head_index(self, layer: usize, block: BlockId, head: usize) -> usize {
        (block.0 as usize * self.layers + layer) * self.heads + head
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
        let parts = shape.layers * shape.blocks * shape.heads;
        Ok(Self {
            shape,
            keys: Buffer::zeroed(parts * shape.kind.bytes(shape.head))?,
            values: Buffer::zeroed(parts * shape.kind.bytes(shape.value_width()))?,
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

    /// Gives block `to` the keys and values of block `from`, of all layers. Blocks outside are left alone.
    pub fn copy_block(&mut self, from: BlockId, to: BlockId) {
        let shape = self.shape;
        if from.0.max(to.0) as usize >= shape.blocks {
            return;
        }
        let parts = shape.layers * shape.heads;
        let copy = |buffer: &mut Buffer, part: usize| {
            let size = parts * part;
            let start = from.0 as usize * size;
            buffer.bytes_mut().copy_within(start..start + size, to.0 as usize * size);
        };
        copy(&mut self.keys, shape.kind.bytes(shape.head));
        copy(&mut self.values, shape.kind.bytes(shape.value_width()));
    }

    /// Keys of one head in one block: `[head][BLOCK_SIZE]`, then scales.
    pub(super) fn keys(&self, layer: usize, block: BlockId, head: usize) -> &[u8] {
        let size = self.shape.kind.bytes(self.shape.head);
        &self.keys.bytes()[self.shape.head_index(layer, block, head) * size..][..size]
    }

    /// Values of one head in one block: `[BLOCK_SIZE][value_width]`, then scales.
    pub(super) fn values(&self, layer: usize, block: BlockId, head: usize) -> &[u8] {
        let size = self.shape.kind.bytes(self.shape.value_width());
        &self.values.bytes()[self.shape.head_index(layer, block, head) * size..][..size]
    }

    /// The cache for workers that each store positions of their own.
    pub(crate) fn writer(&mut self) -> KvWriter<'_> {
        KvWriter {
            shape: self.shape,
            keys: SharedSlice::new(self.keys.bytes_mut()),
            values: SharedSlice::new(self.values.bytes_mut()),
        }
    }
}

/// [`KvCache`] shared by workers.
#[derive(Clone, Copy)]
pub(crate) struct KvWriter<'a> {
    shape: KvShape,
    keys: SharedSlice<'a, u8>,
    values: SharedSlice<'a, u8>,
}

impl KvWriter<'_> {
    /// Stores one position's key and value of one head, each `[head]`.
    ///
    /// # Safety
    /// `isa` is available, and no other worker uses this place meanwhile.
    pub(crate) unsafe fn store(
        self,
        isa: Isa,
        layer: usize,
        (block, slot): (BlockId, usize),
        head: usize,
        key: &[f32],
        value: &[f32],
    ) {
        let shape = self.shape;
        let inside = (block.0 as usize) < shape.blocks && slot < BLOCK_SIZE && layer < shape.layers;
        let fits = head < shape.heads && key.len() == shape.head && value.len() == shape.head;
        debug_assert!(inside && fits);
        if !(inside && fits) {
            return;
        }
        let index = shape.head_index(layer, block, head);
        // SAFETY: the part lies inside the buffers, as just checked. A key's elements lie among those of other
        // slots, so all are written through pointers: no slice is made that another worker's writes would alias.
        unsafe {
            let keys = self.keys.start().add(index * shape.kind.bytes(shape.head));
            let values = self.values.start().add(index * shape.kind.bytes(shape.value_width()));
            let key_place = Place { start: keys, stride: BLOCK_SIZE, first: slot, width: shape.head };
            let width = shape.value_width();
            let value_place = Place { start: values, stride: 1, first: slot * width, width };
            for (place, vector) in [(key_place, key), (value_place, value)] {
                match shape.kind {
                    KvKind::F32 => {
                        for (at, &x) in vector.iter().enumerate() {
                            place.element(at, 4).cast::<f32>().write_unaligned(x);
                        }
                    }
                    KvKind::F16 => {
                        let mut halves = [0u16; MAX_HEAD];
                        let halves = &mut halves[..vector.len()];
                        dispatch!(isa, to_f16(vector: &[f32], halves: &mut [u16]));
                        for (at, &half) in halves.iter().enumerate() {
                            place.element(at, 2).cast::<u16>().write_unaligned(half);
                        }
                    }
                    KvKind::Q8_0 => place.store_groups(slot, vector),
                }
            }
        }
    }
}

/// Where a vector's elements go in a part.
#[derive(Clone, Copy)]
struct Place {
    start: *mut u8,
    /// Elements from one to the next.
    stride: usize,
    first: usize,
    /// Elements of a stored vector.
    width: usize,
}

impl Place {
    /// # Safety
    /// Element `at` lies in the part.
    unsafe fn element(self, at: usize, bytes: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { self.start.add((self.first + at * self.stride) * bytes) }
    }

    /// # Safety
    /// The part is of kind `Q8_0`, and nobody else uses this slot.
    unsafe fn store_groups(self, slot: usize, vector: &[f32]) {
        for (group, elements) in vector.chunks(GROUP).enumerate() {
            let mut values = [0i8; GROUP];
            let scale = quantize_group(elements, &mut values);
            // SAFETY: elements and scales of this slot lie in the part.
            unsafe {
                for (at, &value) in values.iter().enumerate().take(elements.len()) {
                    self.element(group * GROUP + at, 1).cast::<i8>().write(value);
                }
                let at = self.width * BLOCK_SIZE + (group * BLOCK_SIZE + slot) * 2;
                self.start.add(at).cast::<u16>().write_unaligned(scale);
            }
        }
    }
}

/// # Safety
/// The CPU has `S`.
#[inline(always)]
unsafe fn to_f16<S: Simd>(from: &[f32], to: &mut [u16]) {
    let whole = from.len().min(to.len()) / S::LANES * S::LANES;
    for at in (0..whole).step_by(S::LANES) {
        // SAFETY: the CPU has `S`, and the vector lies inside both slices.
        unsafe { S::store_f16(to.as_mut_ptr().add(at), S::load(from.as_ptr().add(at))) };
    }
    for (to, from) in to.iter_mut().zip(from).skip(whole) {
        *to = half::f16::from_f32(*from).to_bits();
    }
}
