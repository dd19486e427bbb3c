//! Activations as the matrix kernels take them: int8 blocks beside the floats they came from.

use half::f16;

use super::Isa;
use super::shared::SharedSlice;
use super::simd::{Simd, dispatch};
use crate::TensorType;

/// Tokens of a tile of AMX.
pub(super) const TILE_TOKENS: usize = 16;
/// Bytes of a tile's row.
pub(super) const TILE_ROW: usize = 64;

/// How a weight type wants its activations (ggml's `vec_dot_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActivationKind {
    /// f32, as they are.
    Float,
    /// int8 in blocks of 32 with an f16 scale.
    Blocks32,
    /// int8 in blocks of 256 with an f32 scale.
    Blocks256,
}

impl ActivationKind {
    /// What weights stored as `kind` are multiplied with.
    pub fn of(kind: TensorType) -> Self {
        match kind {
            TensorType::F32 | TensorType::F16 | TensorType::BF16 => Self::Float,
            TensorType::Q4_0
            | TensorType::Q4_1
            | TensorType::Q5_0
            | TensorType::Q5_1
            | TensorType::Q8_0
            | TensorType::IQ4NL
            | TensorType::MXFP4 => Self::Blocks32,
            TensorType::Q2K
            | TensorType::Q3K
            | TensorType::Q4K
            | TensorType::Q5K
            | TensorType::Q6K
            | TensorType::IQ4XS => Self::Blocks256,
        }
    }
}

/// `[tokens, columns]` activations, quantised in whichever ways the weights ahead need.
///
/// Memory is kept from one use to the next.
#[derive(Debug, Default)]
pub struct Activations {
    tokens: usize,
    columns: usize,
    tiled: usize,
    floats: Vec<f32>,
    blocks32: Blocks,
    blocks256: Blocks,
}

/// One quantisation of all rows.
#[derive(Debug, Default)]
pub struct Blocks {
    wanted: bool,
    /// `[tokens, columns]`.
    pub values: Vec<i8>,
    /// `[tokens, columns / block]`.
    pub scales: Vec<f32>,
    /// `[tokens, columns / 32]`, of blocks of 32: scale times sum, rounded to f16 as ggml's `block_q8_1.s`.
    pub weighted_sums: Vec<f32>,
    /// `[tokens, columns / 32]`: sums of values, at most 32 * 127 in magnitude.
    pub sums32: Vec<i16>,
    /// `[tokens, columns / 16]`, of blocks of 256.
    pub sums16: Vec<i16>,
    /// The values of whole groups of 16 tokens once more, `[group, columns / 64, 16, 64]`, where AMX takes them: blocks of 256; else empty.
    pub(super) tiles: Vec<i8>,
}

impl Activations {
    /// Makes room for `[tokens, columns]`, to be quantised as each of `kinds`.
    pub fn reset(&mut self, tokens: usize, columns: usize, kinds: &[ActivationKind]) {
        self.tokens = tokens;
        self.columns = columns;
        self.floats.resize(tokens * columns, 0.0);
        let tiles = Isa::detect() == Isa::Amx && kinds.contains(&ActivationKind::Blocks256);
        self.tiled = if tiles { tokens / TILE_TOKENS * TILE_TOKENS } else { 0 };
        let tiled = self.tiled;
        self.blocks32.reset(tokens, 0, columns, 32, kinds.contains(&ActivationKind::Blocks32));
        self.blocks256.reset(tokens, tiled, columns, 256, kinds.contains(&ActivationKind::Blocks256));
    }

    /// Rows.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Elements of a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Tokens from the first on whose values are kept as tiles too.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn tiled_tokens(&self) -> usize {
        self.tiled
    }

    /// The floats, `[tokens, columns]`.
    pub fn floats(&self) -> &[f32] {
        &self.floats
    }

    /// Blocks of 32; empty where they are not wanted.
    pub fn blocks32(&self) -> &Blocks {
        &self.blocks32
    }

    /// Blocks of 256; empty where they are not wanted.
    pub fn blocks256(&self) -> &Blocks {
        &self.blocks256
    }

    /// Rows for workers that each fill and quantise their own.
    pub(super) fn writer(&mut self) -> ActivationWriter<'_> {
        ActivationWriter {
            columns: self.columns,
            floats: SharedSlice::new(&mut self.floats),
            blocks32: self.blocks32.writer(32),
            blocks256: self.blocks256.writer(256),
        }
    }

    /// Copies `rows` of `from`, `[_, columns]`, as many as there are tokens, and quantises them.
    pub fn gather(&mut self, isa: Isa, from: &[f32], rows: impl Iterator<Item = usize>) {
        let (tokens, columns) = (self.tokens, self.columns);
        let writer = self.writer();
        for (token, row) in rows.take(tokens).enumerate() {
            let Some(row) = from.get(row * columns..(row + 1) * columns) else { continue };
            // SAFETY: one row at a time, on one thread.
            unsafe {
                writer.row(token).copy_from_slice(row);
                writer.quantize(isa, token);
            }
        }
    }

    /// Copies `rows`, `[tokens, columns]`, and quantises them.
    pub fn set(&mut self, isa: Isa, rows: &[f32]) {
        let (tokens, columns) = (self.tokens, self.columns);
        let writer = self.writer();
        for (token, row) in rows.chunks_exact(columns.max(1)).take(tokens).enumerate() {
            // SAFETY: one row at a time, on one thread.
            unsafe {
                writer.row(token).copy_from_slice(row);
                writer.quantize(isa, token);
            }
        }
    }
}

impl Blocks {
    fn reset(&mut self, tokens: usize, tiled: usize, columns: usize, block: usize, wanted: bool) {
        self.wanted = wanted && columns.is_multiple_of(block);
        if !self.wanted {
            return;
        }
        self.values.resize(tokens * columns, 0);
        self.tiles.resize(tiled * columns, 0);
        self.scales.resize(tokens * columns / block, 0.0);
        self.sums32.resize(tokens * columns / 32, 0);
        if block == 32 {
            self.weighted_sums.resize(tokens * columns / 32, 0.0);
        } else {
            self.sums16.resize(tokens * columns / 16, 0);
        }
    }

    fn writer(&mut self, block: usize) -> BlocksWriter<'_> {
        BlocksWriter {
            wanted: self.wanted,
            block,
            values: SharedSlice::new(&mut self.values),
            scales: SharedSlice::new(&mut self.scales),
            weighted_sums: SharedSlice::new(&mut self.weighted_sums),
            sums32: SharedSlice::new(&mut self.sums32),
            sums16: SharedSlice::new(&mut self.sums16),
            tiled: self.tiles.len(),
            tiles: SharedSlice::new(&mut self.tiles),
        }
    }
}

/// [`Activations`] shared by workers.
#[derive(Clone, Copy)]
pub(super) struct ActivationWriter<'a> {
    columns: usize,
    floats: SharedSlice<'a, f32>,
    blocks32: BlocksWriter<'a>,
    blocks256: BlocksWriter<'a>,
}

#[derive(Clone, Copy)]
struct BlocksWriter<'a> {
    wanted: bool,
    block: usize,
    values: SharedSlice<'a, i8>,
    scales: SharedSlice<'a, f32>,
    weighted_sums: SharedSlice<'a, f32>,
    sums32: SharedSlice<'a, i16>,
    sums16: SharedSlice<'a, i16>,
    tiles: SharedSlice<'a, i8>,
    /// Bytes that `tiles` has: `columns` for each token from the first on.
    tiled: usize,
}

impl<'a> ActivationWriter<'a> {
    /// The floats of row `token`, `[columns]`.
    ///
    /// # Safety
    /// No other worker uses this row meanwhile.
    pub(super) unsafe fn row(self, token: usize) -> &'a mut [f32] {
        // SAFETY: the caller's promise.
        unsafe { self.floats.part(token * self.columns, self.columns) }
    }

    /// Quantises the floats of row `token`.
    ///
    /// # Safety
    /// No other worker uses this row meanwhile.
    pub(super) unsafe fn quantize(self, isa: Isa, token: usize) {
        // SAFETY: the caller's promise; `isa` is available on this CPU.
        unsafe {
            let row: &[f32] = self.row(token);
            if self.blocks32.wanted {
                let to = self.blocks32.row(token, self.columns);
                dispatch!(isa, quantize32(row: &[f32], to: BlocksRow<'_>));
            }
            if self.blocks256.wanted {
                let to = self.blocks256.row(token, self.columns);
                dispatch!(isa, quantize256(row: &[f32], to: BlocksRow<'_>));
                self.blocks256.tile(token, self.columns);
            }
        }
    }
}

/// One row of [`Blocks`], to write.
struct BlocksRow<'a> {
    values: &'a mut [i8],
    scales: &'a mut [f32],
    weighted_sums: &'a mut [f32],
    sums32: &'a mut [i16],
    sums16: &'a mut [i16],
}

impl<'a> BlocksWriter<'a> {
    /// Copies the values of row `token` into the tiles of its group, if it is of a whole one.
    ///
    /// # Safety
    /// No other worker uses this row meanwhile.
    unsafe fn tile(self, token: usize, columns: usize) {
        if (token + 1) * columns > self.tiled {
            return;
        }
        let group = token / TILE_TOKENS * TILE_TOKENS * columns + token % TILE_TOKENS * TILE_ROW;
        for from in (0..columns).step_by(TILE_ROW) {
            // SAFETY: the caller's promise; a tile's row is one token's.
            unsafe {
                let to = self.tiles.part(group + from * TILE_TOKENS, TILE_ROW);
                to.copy_from_slice(self.values.part(token * columns + from, TILE_ROW));
            }
        }
    }

    /// # Safety
    /// No other worker uses this row meanwhile.
    unsafe fn row(self, token: usize, columns: usize) -> BlocksRow<'a> {
        let part = |per: usize| (token * columns / per, columns / per);
        let legacy = self.block == 32;
        let none = (0, 0);
        let (sums, sixteenths) = if legacy { (part(32), none) } else { (none, part(16)) };
        // SAFETY: the caller's promise.
        unsafe {
            BlocksRow {
                values: self.values.part(token * columns, columns),
                scales: self.scales.part(part(self.block).0, part(self.block).1),
                weighted_sums: self.weighted_sums.part(sums.0, sums.1),
                sums32: self.sums32.part(part(32).0, part(32).1),
                sums16: self.sums16.part(sixteenths.0, sixteenths.1),
            }
        }
    }
}

/// Blocks of 32 (`quantize_row_q8_0`, `quantize_row_q8_1`).
///
/// # Safety
/// The CPU has `S`.
#[inline(always)]
unsafe fn quantize32<S: Simd>(row: &[f32], to: BlocksRow<'_>) {
    let outputs = to.values.chunks_exact_mut(32).zip(to.scales).zip(to.weighted_sums).zip(to.sums32);
    for (block, (((values, scale), weighted), sum)) in row.chunks_exact(32).zip(outputs) {
        // SAFETY: the CPU has `S`, and 32 floats and 32 bytes hold a whole number of vectors.
        unsafe {
            let mut largest = S::splat(0.0);
            for i in (0..32).step_by(S::LANES) {
                largest = S::max(largest, S::abs(S::load(block.as_ptr().add(i))));
            }
            let largest = S::largest(largest);
            let inverse = if largest == 0.0 { 0.0 } else { 127.0 / largest };
            let mut total = S::splat_int(0);
            for i in (0..32).step_by(S::LANES) {
                let scaled = S::mul(S::load(block.as_ptr().add(i)), S::splat(inverse));
                total = S::add_int(total, S::store_i8(values.as_mut_ptr().add(i), scaled));
            }
            let total = S::sum_int(total);
            let exact = largest / 127.0;
            *scale = f16::from_f32(exact).to_f32();
            *weighted = f16::from_f32(exact * total as f32).to_f32();
            *sum = total as i16;
        }
    }
}

/// Blocks of 256 (`quantize_row_q8_K`).
///
/// # Safety
/// The CPU has `S`.
#[inline(always)]
unsafe fn quantize256<S: Simd>(row: &[f32], to: BlocksRow<'_>) {
    let sums = to.sums32.chunks_exact_mut(8).zip(to.sums16.chunks_exact_mut(16));
    let outputs = to.values.chunks_exact_mut(256).zip(to.scales).zip(sums);
    for (block, ((values, scale), (sums32, sums16))) in row.chunks_exact(256).zip(outputs) {
        // SAFETY: the CPU has `S`, and 256 floats and 16 bytes hold a whole number of vectors.
        unsafe {
            let (mut highest, mut lowest) = (S::splat(0.0), S::splat(0.0));
            for i in (0..256).step_by(S::LANES) {
                let x = S::load(block.as_ptr().add(i));
                highest = S::max(highest, x);
                lowest = S::max(lowest, S::sub(S::splat(0.0), x));
            }
            let (highest, lowest) = (S::largest(highest), S::largest(lowest));
            // ggml scales the element of largest magnitude to -127; of two equal ones it takes the first.
            let positive = if highest == lowest {
                block.iter().find(|x| x.abs() == highest).is_some_and(|&x| x > 0.0)
            } else {
                highest > lowest
            };
            let largest = highest.max(lowest);
            let inverse = match (largest == 0.0, positive) {
                (true, _) => 0.0,
                (false, true) => -127.0 / largest,
                (false, false) => 127.0 / largest,
            };
            *scale = if largest == 0.0 { 0.0 } else { 1.0 / inverse };
            for (s, sum16) in sums16.iter_mut().enumerate() {
                let mut total = S::splat_int(0);
                for i in (16 * s..16 * s + 16).step_by(S::LANES) {
                    let scaled = S::mul(S::load(block.as_ptr().add(i)), S::splat(inverse));
                    total = S::add_int(total, S::store_i8(values.as_mut_ptr().add(i), scaled));
                }
                *sum16 = S::sum_int(total) as i16;
            }
            for (sum32, pair) in sums32.iter_mut().zip(sums16.chunks_exact(2)) {
                *sum32 = pair[0] + pair[1];
            }
        }
    }
}
