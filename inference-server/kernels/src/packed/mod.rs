//! Weights repacked so that one vector lane is one row.
//!
//! A matrix is cut into panels of 16 rows. Within a panel the rows' blocks lie side by side: for each
//! block, the 16 scales, then the 16 rows' quants interleaved in groups of four bytes, the unit of an int8
//! dot product. One load then feeds 16 rows (8 with half the lanes), no sum ever crosses lanes, and decode
//! streams memory in order. Every instruction set uses this one layout. Rows that fill up the last panel
//! are zero.
//!
//! Quants keep the file's bits, so a panel is as large as the rows were; only 6-bit scales become bytes (under 4 %).
//!
//! [`block`] says where the parts of a block lie, `convert` moves them there and back, `bits` turns fields of bits
//! from the file's order to that of units.

mod bits;
pub(super) mod block;
mod convert;

use std::ops::Range;
use std::sync::{Arc, OnceLock};

pub(super) use bits::pack_scales;
use convert::{pack_block, unpack_block};

use super::buffer::Buffer;
use super::pool::{Pool, WorkerPanicked};
use super::quantize::quantize_row;
use super::shared::SharedSlice;
use crate::{StoredRows, TensorType};

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
            TensorType::Q3K => block::Q3_K_HIGH + 512,
            TensorType::Q4K => block::K_QUANTS + 2048,
            TensorType::Q5K => block::Q5_K_HIGH + 512,
            TensorType::IQ4XS => block::IQ4_XS_QUANTS + 2048,
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

    /// The same of rows that may be stored as another type: they are quantised, one row at a time, so that no copy of the
    /// matrix is made.
    fn pack_as(self, stored: StoredRows<'_>, panels: Range<usize>, out: &mut [u8]) {
        match stored {
            StoredRows::Ggml { kind, bytes } if kind == self.kind => return self.pack(bytes, panels, out),
            StoredRows::Ggml { .. } | StoredRows::E4M3 { .. } => {}
        }
        let (mut floats, mut row_bytes) = (vec![0.0; self.columns], vec![0u8; self.stored_row_bytes()]);
        for (panel, out) in panels.zip(out.chunks_exact_mut(self.panel_bytes())) {
            for lane in 0..PANEL_ROWS {
                let row = panel * PANEL_ROWS + lane;
                if !stored.dequantize_row(row, &mut floats) {
                    break;
                }
                quantize_row(self.kind, &floats, &mut row_bytes);
                let blocks = row_bytes.chunks_exact(self.kind.block_bytes());
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

    /// Where in its arena it lies: what tells the matrices of one plan apart.
    pub fn offset(&self) -> usize {
        self.offset
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

/// [`PackedLayout::pack`] of panels `panels`, shared out over `pool`. `stored` is the whole matrix: where it is not of the
/// layout's type, rows are quantised as they are packed.
///
/// # Errors
/// [`WorkerPanicked`], when `out` is not to be used.
pub fn pack(
    pool: &mut Pool,
    layout: PackedLayout,
    stored: StoredRows<'_>,
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
        layout.pack_as(stored, panels.start + first..panels.start + first + count, out);
    })
}
