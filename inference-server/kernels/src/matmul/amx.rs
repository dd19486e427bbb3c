//! Dot products by AMX: up to 32 tokens times a panel's sixteen rows at once, for types with blocks of 256.
//!
//! A panel's unit is a row of an AMX tile as it stands: four bytes of each of sixteen rows. Scales of sub-blocks are
//! small integers, so quants times scale are integers too, of at most 13 bits: they are taken apart into a high and a low
//! byte, and a whole block is two sums of tiles without a rounding in between. What vectors sum in f32 is the same
//! integer, exact below 2^24, so that results are theirs bit for bit but for blocks near the formats' extremes.
//!
//! Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18. Written as assembly, since the
//! compiler has no stable names for it.
#![allow(unsafe_op_in_unsafe_fn)] // Each function's contract covers all its lines.

use std::arch::asm;
use std::arch::x86_64::*;
use std::cell::RefCell;

use super::super::activations::{TILE_ROW, TILE_TOKENS};
use super::super::packed::PANEL_ROWS;
use super::super::simd::{Avx512, Simd};
use super::quantized::{Quantized, Row, UNIT, blocks, rows};
use super::tile::{Panels, run_panel, write_rows};

/// Tokens and panels whose sums are carried at once: 256 KiB, within a second-level cache. Activations, which may not fit
/// there, are read from further off once for all these panels.
const CHUNK_TOKENS: usize = 32 * TILE_TOKENS;
const CHUNK_PANELS: usize = 8;
/// Panels whose block is expanded at once: what 32 tokens bring into the first cache serves them all.
const TOGETHER: usize = 2;
/// Elements of a block, and of one row of tiles.
const BLOCK: usize = 256;
/// Bytes and, as 32-bit numbers, elements of a tile.
const TILE: usize = TILE_TOKENS * TILE_ROW;
const TILE_SUMS: usize = TILE_TOKENS * PANEL_ROWS;
/// Bits of a low byte.
const LOW_BITS: u32 = 6;

/// A block's weights times their sub-blocks' scales, as units.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Expanded {
    /// Low bytes, unsigned.
    low: [u8; BLOCK * PANEL_ROWS],
    /// High bytes, signed.
    high: [u8; BLOCK * PANEL_ROWS],
}

/// `[group, low and high, token, row]`.
#[repr(C, align(64))]
struct Dots([i32; 4 * TILE_SUMS]);

/// `[panel, token, row]`.
#[repr(C, align(64))]
struct Sums([f32; CHUNK_PANELS * CHUNK_TOKENS * PANEL_ROWS]);

/// A thread's memory, kept from one product to the next.
struct Scratch {
    expanded: [Expanded; TOGETHER],
    dots: Dots,
    sums: Sums,
}

thread_local! {
    static SCRATCH: RefCell<Box<Scratch>> = RefCell::new(Box::new(Scratch {
        expanded: [Expanded { low: [0; BLOCK * PANEL_ROWS], high: [0; BLOCK * PANEL_ROWS] }; TOGETHER],
        dots: Dots([0; 4 * TILE_SUMS]),
        sums: Sums([0.0; CHUNK_PANELS * CHUNK_TOKENS * PANEL_ROWS]),
    }));
}

/// Runs a job's panels over all tokens: whole groups of sixteen by tiles, the rest by vectors.
///
/// # Safety
/// As [`run_panels`](super::tile::run_panels), and the CPU has AMX that this process may use.
pub(super) unsafe fn run_panels<Q: Quantized>(job: &Panels<'_>) {
    SCRATCH.with_borrow_mut(|scratch| {
        // SAFETY: the caller's promise.
        unsafe { run_with::<Q>(job, scratch) }
    });
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn run_with<Q: Quantized>(job: &Panels<'_>, scratch: &mut Scratch) {
    let layout = job.product.weights.layout();
    let tiled = job.input.tiled_tokens();
    let end = job.first + job.count;
    let weights = |panel: usize| job.product.weights.bytes().as_ptr().add(panel * layout.panel_bytes());
    configure();
    for from in (job.first..end).step_by(CHUNK_PANELS) {
        let panels = CHUNK_PANELS.min(end - from);
        for first in (0..tiled).step_by(CHUNK_TOKENS) {
            let tokens = CHUNK_TOKENS.min(tiled - first);
            scratch.sums.0[..panels * CHUNK_TOKENS * PANEL_ROWS].fill(0.0);
            for b in 0..layout.columns() / BLOCK {
                for pair in (0..panels).step_by(TOGETHER) {
                    let together = TOGETHER.min(panels - pair);
                    let packed = |p: usize| weights(from + pair + p).add(b * Q::BLOCK_BYTES);
                    for (p, expanded) in scratch.expanded.iter_mut().enumerate().take(together) {
                        expand::<Q>(packed(p), expanded);
                    }
                    for token in (0..tokens).step_by(2 * TILE_TOKENS) {
                        let groups = if token + TILE_TOKENS < tokens { 2 } else { 1 };
                        for p in 0..together {
                            let place = ((pair + p) * CHUNK_TOKENS + token) * PANEL_ROWS;
                            let product = Product {
                                token: first + token,
                                groups,
                                packed: packed(p),
                                sums: scratch.sums.0.as_mut_ptr().add(place),
                                dots: scratch.dots.0.as_mut_ptr(),
                            };
                            multiply::<Q>(job, b, &product, &scratch.expanded[p]);
                            for quarter in 0..2 * groups {
                                add_quarter::<Q>(job, b, &product, quarter);
                            }
                        }
                    }
                }
            }
            for p in 0..panels {
                for token in 0..tokens {
                    let place = (p * CHUNK_TOKENS + token) * PANEL_ROWS;
                    let sum = Avx512::load(scratch.sums.0.as_ptr().add(place));
                    write_rows::<Avx512>(job, from + p, 0, first + token, sum);
                }
            }
        }
        for panel in from..from + panels {
            run_panel::<Q, Avx512>(job, panel, weights(panel), tiled);
        }
    }
    asm!("tilerelease", options(nostack, nomem));
}

/// All eight tiles whole.
unsafe fn configure() {
    /// `ldtilecfg`'s 64 bytes.
    #[repr(C, align(64))]
    struct Configuration {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        row_bytes: [u16; 16],
        rows: [u8; 16],
    }
    let mut configuration =
        Configuration { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
    configuration.rows[..8].fill(TILE_TOKENS as u8);
    configuration.row_bytes[..8].fill(TILE_ROW as u16);
    asm!("ldtilecfg [{}]", in(reg) &raw const configuration, options(nostack, readonly));
}

/// Multiplies a block's quants with their sub-block's scale and takes the products apart.
#[inline(always)]
unsafe fn expand<Q: Quantized>(packed: *const u8, to: &mut Expanded) {
    let (mut low, mut high) = (to.low.as_mut_ptr(), to.high.as_mut_ptr());
    let bytes = _mm512_set1_epi16(0x00FF);
    let centre = _mm512_set1_epi16(Q::CENTRE as i16);
    let low_mask = _mm512_set1_epi16((1 << LOW_BITS) - 1);
    for group in 0..Q::BLOCK / Q::SUB / Q::GROUP {
        for member in 0..Q::GROUP {
            let scale = _mm512_cvtps_epi32(Q::scale::<Avx512>(packed, 0, group * Q::GROUP + member));
            let scale = _mm512_mask_blend_epi16(0xAAAA_AAAA, scale, _mm512_slli_epi32::<16>(scale));
            for j in 0..Q::SUB / 4 {
                let unit = Q::unit::<Avx512, 2>(packed, 0, group, member, j);
                let times = |quants| _mm512_mullo_epi16(_mm512_sub_epi16(quants, centre), scale);
                let even = times(_mm512_and_si512(unit, bytes));
                let odd = times(_mm512_srli_epi16::<8>(unit));
                let lows = _mm512_or_si512(
                    _mm512_and_si512(even, low_mask),
                    _mm512_slli_epi16::<8>(_mm512_and_si512(odd, low_mask)),
                );
                let upper = |product| _mm512_srai_epi16::<LOW_BITS>(product);
                let highs =
                    _mm512_or_si512(_mm512_and_si512(upper(even), bytes), _mm512_slli_epi16::<8>(upper(odd)));
                _mm512_store_si512(low.cast(), lows);
                _mm512_store_si512(high.cast(), highs);
                (low, high) = (low.add(UNIT), high.add(UNIT));
            }
        }
    }
}

/// A panel's block times 16 or 32 tokens.
struct Product {
    /// The first token.
    token: usize,
    /// Sixteens of tokens.
    groups: usize,
    /// The block.
    packed: *const u8,
    /// `[token, row]`: what the block is added to.
    sums: *mut f32,
    /// `[group, low and high, token, row]`: its dot products.
    dots: *mut i32,
}

/// Dot products of block `b` of `product`.
#[inline(always)]
unsafe fn multiply<Q: Quantized>(job: &Panels<'_>, b: usize, product: &Product, weights: &Expanded) {
    let columns = job.input.columns();
    let values = blocks::<Q>(job.input).tiles.as_ptr().add(product.token * columns + b * BLOCK * TILE_TOKENS);
    let (low, high) = (weights.low.as_ptr(), weights.high.as_ptr());
    // A lone group is multiplied twice, which costs less than a way of its own.
    let second = values.add((product.groups - 1) * TILE_TOKENS * columns);
    let next = values.wrapping_add(2 * TILE_TOKENS * columns);
    asm!("tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
        out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, options(nostack, nomem));
    for quarter in 0..4 {
        let at = quarter * TILE;
        for line in (0..TILE).step_by(UNIT) {
            Avx512::prefetch(next.wrapping_add(at + line).cast());
        }
        asm!(
            "tileloadd tmm4, [{first} + {row}]",
            "tileloadd tmm6, [{low} + {row}]",
            "tdpbsud tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{high} + {row}]",
            "tdpbssd tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{second} + {row}]",
            "tdpbsud tmm2, tmm5, tmm6",
            "tdpbssd tmm3, tmm5, tmm7",
            first = in(reg) values.add(at), second = in(reg) second.add(at),
            low = in(reg) low.add(at), high = in(reg) high.add(at), row = in(reg) TILE_ROW,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, readonly, preserves_flags),
        );
    }
    let to = product.dots;
    asm!(
        "tilestored [{low} + {row}], tmm0",
        "tilestored [{high} + {row}], tmm1",
        "tilestored [{second_low} + {row}], tmm2",
        "tilestored [{second_high} + {row}], tmm3",
        low = in(reg) to, high = in(reg) to.add(TILE_SUMS), second_low = in(reg) to.add(2 * TILE_SUMS),
        second_high = in(reg) to.add(3 * TILE_SUMS), row = in(reg) TILE_ROW,
        options(nostack, preserves_flags),
    );
}

/// Adds the dot products of eight of a product's tokens, which registers hold, to their sums.
#[inline(always)]
unsafe fn add_quarter<Q: Quantized>(job: &Panels<'_>, b: usize, product: &Product, quarter: usize) {
    const TOKENS: usize = TILE_TOKENS / 2;
    let (group, half) = (quarter / 2, quarter % 2);
    let rows: [Row; TOKENS] = rows::<Q, TOKENS>(job.input, product.token + quarter * TOKENS);
    let dots = product.dots.add((group * 2 * TILE_TOKENS + half * TOKENS) * PANEL_ROWS);
    let scaled: [__m512; TOKENS] = std::array::from_fn(|t| {
        let at = dots.add(t * PANEL_ROWS);
        let high = _mm512_slli_epi32::<LOW_BITS>(_mm512_load_si512(at.add(TILE_SUMS).cast()));
        _mm512_cvtepi32_ps(_mm512_add_epi32(high, _mm512_load_si512(at.cast())))
    });
    let sums = product.sums.add(quarter * TOKENS * PANEL_ROWS);
    let mut total: [__m512; TOKENS] = std::array::from_fn(|t| Avx512::load(sums.add(t * PANEL_ROWS)));
    Q::finish::<Avx512, TOKENS>(&mut total, &scaled, product.packed, 0, &rows, b);
    for (t, total) in total.into_iter().enumerate() {
        Avx512::store(sums.add(t * PANEL_ROWS), total);
    }
}

/// Runs `rounds` of independent products of whole tiles; gives the multiply-accumulates of one round.
///
/// # Safety
/// The CPU has AMX that this process may use.
pub(in super::super) unsafe fn peak(rounds: u64) -> u64 {
    configure();
    asm!("tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3", "tilezero tmm4", "tilezero tmm5",
        out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _, out("tmm5") _, options(nostack, nomem));
    for _ in 0..rounds {
        asm!("tdpbsud tmm0, tmm1, tmm2", "tdpbsud tmm3, tmm4, tmm5", "tdpbsud tmm0, tmm4, tmm2", "tdpbsud tmm3, tmm1, tmm5",
            out("tmm0") _, out("tmm3") _, options(nostack, nomem));
    }
    asm!("tilerelease", options(nostack, nomem));
    4 * (TILE_TOKENS * PANEL_ROWS * TILE_ROW) as u64
}
