//! Weights repacked so that one vector lane is one row.
//!
//! A matrix is cut into panels of 16 rows. Within a panel the rows' blocks lie side by side: for each
//! block, the 16 scales, then the 16 rows' quants interleaved in groups of four bytes, the unit of an int8
//! dot product. One load then feeds 16 rows (8 with half the lanes), no sum ever crosses lanes, and decode
//! streams memory in order. Every instruction set uses this one layout. Rows that fill up the last panel
//! are zero.
//!
//! Quants keep the file's bits, so a panel is as large as the rows were; only the 6-bit scales of `Q4_K`
//! and `Q5_K` become bytes (+64 bytes a block of 16 × 256 weights, under 3 %).

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::buffer::Buffer;
use super::pool::{Pool, WorkerPanicked};
use super::shared::SharedSlice;
use crate::gguf::TensorType;

/// Rows of a panel.
pub const PANEL_ROWS: usize = 16;

/// Size of a matrix before there is memory for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedLayout {
    kind: TensorType,
    rows: usize,
    columns: usize,
}

/// A matrix in panels, which lies in an arena with others. Without elements until the arena is filled.
#[derive(Clone, Debug)]
pub struct PackedMatrix {
    layout: PackedLayout,
    arena: Arc<Arena>,
    offset: usize,
}

/// Memory of many matrices: planned first, filled once.
#[derive(Debug, Default)]
pub struct Arena(OnceLock<Buffer>);

impl Arena {
    /// Gives the arena its packed bytes. Only the first call counts.
    pub fn fill(&self, memory: Buffer) {
        let _ = self.0.set(memory);
    }

    fn bytes(&self) -> &[u8] {
        self.0.get().map_or(&[], Buffer::bytes)
    }
}

/// Byte offsets of the parts of one block of a panel, by stored type.
pub(super) mod block {
    /// `Q4_0`: 16 f16 scales; 4 × 64 bytes of quants. In unit `j`, low nibbles are weights `4j..4j+4` of
    /// each row, high nibbles the same plus 16.
    pub(in crate::kernels) const Q4_0_QUANTS: usize = 32;
    /// `Q4_1`: as `Q4_0`, with 16 f16 minimums after the scales.
    pub(in crate::kernels) const Q4_1_MINIMUMS: usize = 32;
    pub(in crate::kernels) const Q4_1_QUANTS: usize = 64;
    /// `Q8_0`: 16 f16 scales; 8 × 64 bytes, each plus 128.
    pub(in crate::kernels) const Q8_0_QUANTS: usize = 32;
    /// `Q4_K`, `Q5_K`: 16 f16 scales, 16 f16 minimum scales, 8 × 16 scales, 4 × 16 pairs of minimums.
    pub(in crate::kernels) const K_MINIMUM_SCALES: usize = 32;
    pub(in crate::kernels) const K_SCALES: usize = 64;
    pub(in crate::kernels) const K_MINIMUMS: usize = 192;
    /// Then 4 × 8 × 64 bytes: in unit `(p, j)`, low nibbles are weights `4j..4j+4` of sub-block `2p`, high
    /// nibbles of sub-block `2p + 1`.
    pub(in crate::kernels) const K_QUANTS: usize = 320;
    /// `Q5_K`: then 8 × 64 bytes: bit `j` of unit `s` is the fifth bit of sub-block `s`'s unit `j`.
    pub(in crate::kernels) const Q5_K_HIGH: usize = 320 + 2048;
    /// `Q6_K`: 16 f16 scales, 16 × 16 int8 scales, then 32 × 64 bytes of low and 16 × 64 of high bits. Of
    /// sub-block `s`, units 0 and 1 are the low nibbles of units `2s` and `2s + 1`, 2 and 3 the high ones; bits
    /// `2j` and `2j + 1` of unit `s` of the high bits are unit `j`'s.
    pub(in crate::kernels) const Q6_K_SCALES: usize = 32;
    pub(in crate::kernels) const Q6_K_LOW: usize = 288;
    pub(in crate::kernels) const Q6_K_HIGH: usize = 288 + 2048;
}

impl PackedLayout {
    /// Layout of a `[rows, columns]` matrix of `kind`; `None` when a row is no whole number of blocks or
    /// the size overflows.
    pub fn new(kind: TensorType, rows: usize, columns: usize) -> Option<Self> {
        let layout = Self { kind, rows, columns };
        let whole = rows > 0 && columns > 0 && columns.is_multiple_of(kind.block_elements());
        let fits = (columns / kind.block_elements())
            .checked_mul(layout.block_bytes())
            .and_then(|panel| panel.checked_mul(layout.panels()));
        (whole && fits.is_some()).then_some(layout)
    }

    /// Rows.
    pub fn rows(self) -> usize {
        self.rows
    }

    /// Columns.
    pub fn columns(self) -> usize {
        self.columns
    }

    /// The stored type it was packed from.
    pub fn kind(self) -> TensorType {
        self.kind
    }

    /// Panels of 16 rows.
    pub fn panels(self) -> usize {
        self.rows.div_ceil(PANEL_ROWS)
    }

    /// Bytes of one panel.
    pub fn panel_bytes(self) -> usize {
        self.columns / self.kind.block_elements() * self.block_bytes()
    }

    /// Bytes of the matrix.
    pub fn bytes(self) -> usize {
        self.panels() * self.panel_bytes()
    }

    /// Bytes of one row as a file stores it.
    pub fn stored_row_bytes(self) -> usize {
        self.columns / self.kind.block_elements() * self.kind.block_bytes()
    }

    /// Bytes of one block of a panel.
    pub(super) fn block_bytes(self) -> usize {
        match self.kind {
            TensorType::Q4K => block::K_QUANTS + 2048,
            TensorType::Q5K => block::Q5_K_HIGH + 512,
            other => PANEL_ROWS * other.block_bytes(),
        }
    }

    /// Packs panels `panels` of a matrix stored row by row in `stored` into `out`, which has their room.
    pub fn pack(self, stored: &[u8], panels: Range<usize>, out: &mut [u8]) {
        let row_bytes = self.stored_row_bytes();
        for (panel, out) in panels.zip(out.chunks_exact_mut(self.panel_bytes())) {
            for lane in 0..PANEL_ROWS {
                let row = panel * PANEL_ROWS + lane;
                let Some(row) = stored.get(row * row_bytes..(row + 1) * row_bytes) else { break };
                let blocks = row.chunks_exact(self.kind.block_bytes());
                for (block, out) in blocks.zip(out.chunks_exact_mut(self.block_bytes())) {
                    pack_block(self.kind, block, lane, out);
                }
            }
        }
    }
}

impl PackedMatrix {
    /// The matrix of `layout` that lies, or will lie, packed at `offset` of `arena`.
    pub fn new(layout: PackedLayout, arena: Arc<Arena>, offset: usize) -> Self {
        Self { layout, arena, offset }
    }

    /// Packs a whole matrix into memory of its own.
    ///
    /// # Errors
    /// The system's, when it has no such room.
    pub fn from_stored(layout: PackedLayout, stored: &[u8]) -> std::io::Result<Self> {
        let mut memory = Buffer::zeroed(layout.bytes())?;
        layout.pack(stored, 0..layout.panels(), memory.bytes_mut());
        let arena = Arena::default();
        arena.fill(memory);
        Ok(Self { layout, arena: Arc::new(arena), offset: 0 })
    }

    /// Its layout.
    pub fn layout(&self) -> PackedLayout {
        self.layout
    }

    /// The panels, one after another; empty while the arena is not filled, or too small.
    pub(super) fn bytes(&self) -> &[u8] {
        let end = self.offset.saturating_add(self.layout.bytes());
        self.arena.bytes().get(self.offset..end).unwrap_or_default()
    }

    /// Dequantises row `row` into `out`, `[columns]`: bit for bit what the stored row dequantises to.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        let layout = self.layout;
        let kind = layout.kind;
        let panel = row / PANEL_ROWS * layout.panel_bytes();
        let Some(panel) = self.bytes().get(panel..panel + layout.panel_bytes()) else { return };
        let mut stored = [0u8; 210];
        let stored = &mut stored[..kind.block_bytes()];
        let blocks = panel.chunks_exact(layout.block_bytes());
        for (packed, out) in blocks.zip(out.chunks_exact_mut(kind.block_elements())) {
            unpack_block(kind, packed, row % PANEL_ROWS, stored);
            super::reference::dequantize(kind, stored, out);
        }
    }
}

/// Copies `N` bytes per unit between the row-wise block and lane `lane` of the panel.
fn spread<const N: usize>(from: &[u8], out: &mut [u8], lane: usize) {
    let units = from.chunks_exact(N).zip(out.chunks_exact_mut(N * PANEL_ROWS));
    for (from, out) in units {
        out[lane * N..][..N].copy_from_slice(from);
    }
}

/// The inverse of [`spread`].
fn gather<const N: usize>(from: &[u8], out: &mut [u8], lane: usize) {
    let units = from.chunks_exact(N * PANEL_ROWS).zip(out.chunks_exact_mut(N));
    for (from, out) in units {
        out.copy_from_slice(&from[lane * N..][..N]);
    }
}

fn pack_block(kind: TensorType, stored: &[u8], lane: usize, out: &mut [u8]) {
    match kind {
        TensorType::F32 => spread::<4>(stored, out, lane),
        TensorType::F16 | TensorType::BF16 => spread::<2>(stored, out, lane),
        TensorType::Q4_0 => {
            spread::<2>(&stored[..2], out, lane);
            spread::<4>(&stored[2..], &mut out[block::Q4_0_QUANTS..], lane);
        }
        TensorType::Q4_1 => {
            spread::<2>(&stored[..4], out, lane);
            spread::<4>(&stored[4..], &mut out[block::Q4_1_QUANTS..], lane);
        }
        TensorType::Q8_0 => {
            let mut biased = [0u8; 32];
            biased.iter_mut().zip(&stored[2..]).for_each(|(out, q)| *out = q ^ 0x80);
            spread::<2>(&stored[..2], out, lane);
            spread::<4>(&biased, &mut out[block::Q8_0_QUANTS..], lane);
        }
        TensorType::Q4K | TensorType::Q5K => {
            let (scales, minimums) = unpack_scales(&stored[4..16]);
            spread::<2>(&stored[..4], out, lane);
            spread::<1>(&scales, &mut out[block::K_SCALES..], lane);
            spread::<2>(&minimums, &mut out[block::K_MINIMUMS..block::K_QUANTS], lane);
            if kind == TensorType::Q4K {
                spread::<4>(&stored[16..], &mut out[block::K_QUANTS..], lane);
            } else {
                spread::<4>(&stored[48..], &mut out[block::K_QUANTS..], lane);
                spread::<4>(&turn_fifth_bits(&stored[16..48]), &mut out[block::Q5_K_HIGH..], lane);
            }
        }
        TensorType::Q6K => {
            spread::<2>(&stored[208..], out, lane);
            spread::<1>(&stored[192..208], &mut out[block::Q6_K_SCALES..], lane);
            let (low, high) = group_six_bits(&stored[..192]);
            spread::<4>(&low, &mut out[block::Q6_K_LOW..], lane);
            spread::<4>(&high, &mut out[block::Q6_K_HIGH..], lane);
        }
    }
}

fn unpack_block(kind: TensorType, packed: &[u8], lane: usize, out: &mut [u8]) {
    match kind {
        TensorType::F32 => gather::<4>(packed, out, lane),
        TensorType::F16 | TensorType::BF16 => gather::<2>(packed, out, lane),
        TensorType::Q4_0 => {
            gather::<2>(packed, &mut out[..2], lane);
            gather::<4>(&packed[block::Q4_0_QUANTS..], &mut out[2..], lane);
        }
        TensorType::Q4_1 => {
            gather::<2>(packed, &mut out[..4], lane);
            gather::<4>(&packed[block::Q4_1_QUANTS..], &mut out[4..], lane);
        }
        TensorType::Q8_0 => {
            gather::<2>(packed, &mut out[..2], lane);
            gather::<4>(&packed[block::Q8_0_QUANTS..], &mut out[2..], lane);
            out[2..].iter_mut().for_each(|q| *q ^= 0x80);
        }
        TensorType::Q4K | TensorType::Q5K => {
            let (mut scales, mut minimums) = ([0; 8], [0; 8]);
            gather::<2>(packed, &mut out[..4], lane);
            gather::<1>(&packed[block::K_SCALES..], &mut scales, lane);
            gather::<2>(&packed[block::K_MINIMUMS..], &mut minimums, lane);
            pack_scales(&scales, &minimums, &mut out[4..16]);
            if kind == TensorType::Q4K {
                gather::<4>(&packed[block::K_QUANTS..], &mut out[16..], lane);
            } else {
                gather::<4>(&packed[block::K_QUANTS..], &mut out[48..], lane);
                let mut turned = [0; 32];
                gather::<4>(&packed[block::Q5_K_HIGH..], &mut turned, lane);
                out[16..48].copy_from_slice(&turn_fifth_bits(&turned));
            }
        }
        TensorType::Q6K => {
            gather::<2>(packed, &mut out[208..], lane);
            gather::<1>(&packed[block::Q6_K_SCALES..], &mut out[192..208], lane);
            let (mut low, mut high) = ([0; 128], [0; 64]);
            gather::<4>(&packed[block::Q6_K_LOW..], &mut low, lane);
            gather::<4>(&packed[block::Q6_K_HIGH..], &mut high, lane);
            ungroup_six_bits(&low, &high, &mut out[..192]);
        }
    }
}

/// A row's fifth bits with sub-blocks and units exchanged: bit `s` of byte `4j + i` and bit `j` of byte `4s + i`.
/// Its own inverse.
fn turn_fifth_bits(bits: &[u8]) -> [u8; 32] {
    let mut turned = [0; 32];
    for (at, &byte) in bits.iter().enumerate().take(32) {
        for bit in 0..8 {
            turned[4 * bit + at % 4] |= (byte >> bit & 1) << (at / 4);
        }
    }
    turned
}

/// Where weight `index` of a `Q6_K` block lies in the file: byte and shift of its low bits, then of its high
/// bits among theirs.
fn six_bits_in_file(index: usize) -> (usize, usize, usize, usize) {
    let (half, quarter, l) = (index / 128, index % 128 / 32, index % 32);
    (64 * half + 32 * (quarter % 2) + l, 4 * (quarter / 2), 32 * half + l, 2 * quarter)
}

/// The same in a panel's row.
fn six_bits_in_panel(index: usize) -> (usize, usize, usize, usize) {
    let (sub, unit, i) = (index / 16, index % 16 / 4, index % 4);
    (8 * sub + 4 * (unit % 2) + i, 4 * (unit / 2), 4 * sub + i, 2 * unit)
}

/// A row's low and high bits in a panel's order, from the file's: 128 bytes of low, then 64 of high bits.
fn group_six_bits(stored: &[u8]) -> ([u8; 128], [u8; 64]) {
    let (mut low, mut high) = ([0; 128], [0; 64]);
    for index in 0..256 {
        let (from, shift, from_high, shift_high) = six_bits_in_file(index);
        let (to, place, to_high, place_high) = six_bits_in_panel(index);
        low[to] |= (stored[from] >> shift & 0x0F) << place;
        high[to_high] |= (stored[128 + from_high] >> shift_high & 3) << place_high;
    }
    (low, high)
}

/// The inverse of [`group_six_bits`].
fn ungroup_six_bits(low: &[u8; 128], high: &[u8; 64], stored: &mut [u8]) {
    stored.fill(0);
    for index in 0..256 {
        let (to, place, to_high, place_high) = six_bits_in_file(index);
        let (from, shift, from_high, shift_high) = six_bits_in_panel(index);
        stored[to] |= (low[from] >> shift & 0x0F) << place;
        stored[128 + to_high] |= (high[from_high] >> shift_high & 3) << place_high;
    }
}

/// Twelve bytes of 6-bit scales and minimums as bytes (ggml's `get_scale_min_k4`).
fn unpack_scales(packed: &[u8]) -> ([u8; 8], [u8; 8]) {
    let (mut scales, mut minimums) = ([0; 8], [0; 8]);
    for j in 0..4 {
        scales[j] = packed[j] & 63;
        minimums[j] = packed[j + 4] & 63;
        scales[j + 4] = (packed[j + 8] & 0x0F) | ((packed[j] >> 6) << 4);
        minimums[j + 4] = (packed[j + 8] >> 4) | ((packed[j + 4] >> 6) << 4);
    }
    (scales, minimums)
}

/// The inverse of [`unpack_scales`].
fn pack_scales(scales: &[u8; 8], minimums: &[u8; 8], out: &mut [u8]) {
    for j in 0..4 {
        out[j] = scales[j] | ((scales[j + 4] >> 4) << 6);
        out[j + 4] = minimums[j] | ((minimums[j + 4] >> 4) << 6);
        out[j + 8] = (scales[j + 4] & 0x0F) | ((minimums[j + 4] & 0x0F) << 4);
    }
}

/// [`PackedLayout::pack`] of panels `panels`, shared out over `pool`. `stored` is the whole matrix.
///
/// # Errors
/// [`WorkerPanicked`], when `out` is not to be used.
pub fn pack(
    pool: &mut Pool,
    layout: PackedLayout,
    stored: &[u8],
    panels: Range<usize>,
    out: &mut [u8],
) -> Result<(), WorkerPanicked> {
    let bytes = layout.panel_bytes();
    debug_assert!(out.len() >= panels.len() * bytes);
    let chunk = panels.len().div_ceil(pool.threads() * 4).max(1);
    let out = SharedSlice::new(out);
    pool.run(panels.len().div_ceil(chunk), &|index| {
        let first = index * chunk;
        let count = chunk.min(panels.len() - first);
        // SAFETY: each chunk's panels are one task's.
        let out = unsafe { out.part(first * bytes, count * bytes) };
        layout.pack(stored, panels.start + first..panels.start + first + count, out);
    })
}
