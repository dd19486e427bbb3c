//! Dot products of many tokens by vector instructions: a block of a few panels is unpacked once, into the first cache, and
//! serves all tokens of a chunk, whose sums lie there too. What is computed, and in which order, is what `quantized/vector.rs`
//! computes for few tokens: the same bits.
#![allow(unsafe_op_in_unsafe_fn)] // Each function's contract covers all its lines.

use super::super::packed::PANEL_ROWS;
use super::super::simd::Simd;
use super::quantized::{Quantized, Row, UNIT, Units, add_dots, dots, rows};
use super::tile::{Panels, run_panel, write_rows};

/// Vectors of rows that an activation is multiplied with once it is in a register.
const VECTORS: usize = 2;
/// Tokens whose sums are carried at once: 16 KiB of the first cache.
const CHUNK_TOKENS: usize = 128;
/// Elements unpacked at once: a block of 256, or eight of 32.
const SPAN: usize = 256;
/// Sub-blocks of a span.
const SUBS: usize = SPAN / 16;
/// Tokens from which on unpacking pays.
pub(super) const TOKENS: usize = 16;

/// A span's weights as units of `VECTORS` vectors, `[sub-block, unit, vector]`, and its sub-blocks' scales, `[sub-block, vector]`.
#[repr(C, align(64))]
struct Unpacked {
    units: [u8; SPAN / 4 * VECTORS * UNIT],
    scales: [f32; SUBS * VECTORS * PANEL_ROWS],
}

/// `[token, vector, lane]`.
#[repr(C, align(64))]
struct Sums([f32; CHUNK_TOKENS * VECTORS * PANEL_ROWS]);

/// Vector `v` of rows: a panel, and the lane within it.
#[derive(Clone, Copy)]
struct Vector {
    panel: usize,
    lane: usize,
}

/// Runs a job's panels over all tokens: tiles of [`Simd::TILE`] tokens here, the rest one by one.
///
/// # Safety
/// As [`run_panels`](super::tile::run_panels).
#[inline(always)]
pub(super) unsafe fn run_panels<Q: Quantized, S: Simd>(job: &Panels<'_>) {
    if S::LANES == PANEL_ROWS {
        let paired = job.count / VECTORS * VECTORS;
        for panel in (job.first..job.first + paired).step_by(VECTORS) {
            run_vectors::<Q, S, VECTORS>(job, std::array::from_fn(|v| Vector { panel: panel + v, lane: 0 }));
        }
        for panel in job.first + paired..job.first + job.count {
            run_vectors::<Q, S, 1>(job, [Vector { panel, lane: 0 }]);
        }
    } else {
        for panel in job.first..job.first + job.count {
            for lane in (0..PANEL_ROWS).step_by(VECTORS * S::LANES) {
                run_vectors::<Q, S, VECTORS>(
                    job,
                    std::array::from_fn(|v| Vector { panel, lane: lane + v * S::LANES }),
                );
            }
        }
    }
    let layout = job.product.weights.layout();
    let tiled = job.input.tokens() / S::TILE * S::TILE;
    for panel in job.first..job.first + job.count {
        let weights = job.product.weights.bytes().as_ptr().add(panel * layout.panel_bytes());
        run_panel::<Q, S>(job, panel, weights, tiled);
    }
}

/// `vectors` times all whole tiles of tokens.
#[inline(always)]
unsafe fn run_vectors<Q: Quantized, S: Simd, const V: usize>(job: &Panels<'_>, vectors: [Vector; V]) {
    let layout = job.product.weights.layout();
    let weights =
        |vector: Vector| job.product.weights.bytes().as_ptr().add(vector.panel * layout.panel_bytes());
    let blocks = layout.columns() / Q::BLOCK;
    let tiled = job.input.tokens() / S::TILE * S::TILE;
    let mut unpacked =
        Unpacked { units: [0; SPAN / 4 * VECTORS * UNIT], scales: [0.0; SUBS * VECTORS * PANEL_ROWS] };
    let mut sums = Sums([0.0; CHUNK_TOKENS * VECTORS * PANEL_ROWS]);
    for first in (0..tiled).step_by(CHUNK_TOKENS) {
        let tokens = CHUNK_TOKENS.min(tiled - first);
        sums.0[..tokens * V * S::LANES].fill(0.0);
        for from in (0..blocks).step_by(SPAN / Q::BLOCK) {
            let count = (SPAN / Q::BLOCK).min(blocks - from);
            let packed = vectors.map(|vector| weights(vector).add(from * Q::BLOCK_BYTES));
            for block in 0..count {
                let packed = packed.map(|packed| packed.add(block * Q::BLOCK_BYTES));
                unpack::<Q, S, V>(packed, vectors, block, &mut unpacked);
            }
            for token in (0..tokens).step_by(S::TILE) {
                let span = Span { unpacked: &unpacked, packed, vectors, from, count };
                let to = sums.0.as_mut_ptr().add(token * V * S::LANES);
                if S::TILE == 8 {
                    add_span::<Q, S, V, 8>(&span, &rows::<Q, 8>(job.input, first + token), to);
                } else {
                    add_span::<Q, S, V, 4>(&span, &rows::<Q, 4>(job.input, first + token), to);
                }
            }
        }
        for token in 0..tokens {
            for (v, vector) in vectors.iter().enumerate() {
                if vector.panel * PANEL_ROWS + vector.lane < layout.rows() {
                    let sum = S::load(sums.0.as_ptr().add((token * V + v) * S::LANES));
                    write_rows::<S>(job, vector.panel, vector.lane, first + token, sum);
                }
            }
        }
    }
}

/// Unpacks block `block` of a span.
#[inline(always)]
unsafe fn unpack<Q: Quantized, S: Simd, const V: usize>(
    packed: [*const u8; V],
    vectors: [Vector; V],
    block: usize,
    to: &mut Unpacked,
) {
    for group in 0..Q::BLOCK / Q::SUB / Q::GROUP {
        for member in 0..Q::GROUP {
            let sub = group * Q::GROUP + member;
            let at = block * (Q::BLOCK / Q::SUB) + sub;
            for v in 0..V {
                let scale = Q::scale::<S>(packed[v], vectors[v].lane, sub);
                S::store(to.scales.as_mut_ptr().add((at * V + v) * S::LANES), scale);
                for j in 0..Q::SUB / 4 {
                    let unit = Q::unit::<S, 2>(packed[v], vectors[v].lane, group, member, j);
                    let place = (at * (Q::SUB / 4) + j) * V + v;
                    S::store_int(to.units.as_mut_ptr().add(place * 4 * S::LANES), unit);
                }
            }
        }
    }
}

/// A span of blocks of `V` vectors of rows.
struct Span<'a, const V: usize> {
    unpacked: &'a Unpacked,
    /// Its first block, as a panel holds it.
    packed: [*const u8; V],
    vectors: [Vector; V],
    /// The number of its first block in a row.
    from: usize,
    count: usize,
}

/// Units of a sub-block of a span, `[unit, vector]`.
struct Stored<const V: usize>(*const u8);

impl<Q: Quantized, const V: usize> Units<Q> for Stored<V> {
    #[inline(always)]
    unsafe fn unit<S: Simd, const T: usize>(&self, v: usize, j: usize) -> S::Int {
        S::load_int(self.0.add((j * V + v) * 4 * S::LANES))
    }
}

/// Adds a span's products with `T` tokens to their sums, `[token, vector, lane]`.
#[inline(always)]
unsafe fn add_span<Q: Quantized, S: Simd, const V: usize, const T: usize>(
    span: &Span<'_, V>,
    rows: &[Row; T],
    sums: *mut f32,
) {
    let subs = Q::BLOCK / Q::SUB;
    for block in 0..span.count {
        let mut scaled = [[S::splat(0.0); T]; V];
        for sub in block * subs..(block + 1) * subs {
            let stored = Stored::<V>(span.unpacked.units.as_ptr().add(sub * (Q::SUB / 4) * V * 4 * S::LANES));
            let dots = dots::<Q, S, _, V, T>(&stored, rows, span.from * subs + sub);
            for v in 0..V {
                let scale = S::load(span.unpacked.scales.as_ptr().add((sub * V + v) * S::LANES));
                add_dots::<Q, S, T>(&mut scaled[v], &dots[v], scale);
            }
        }
        for (v, scaled) in scaled.iter().enumerate() {
            let place = |t: usize| sums.add((t * V + v) * S::LANES);
            let mut totals = [S::splat(0.0); T];
            for (t, total) in totals.iter_mut().enumerate() {
                *total = S::load(place(t));
            }
            let packed = span.packed[v].add(block * Q::BLOCK_BYTES);
            Q::finish::<S, T>(&mut totals, scaled, packed, span.vectors[v].lane, rows, span.from + block);
            for (t, total) in totals.into_iter().enumerate() {
                S::store(place(t), total);
            }
        }
    }
}
