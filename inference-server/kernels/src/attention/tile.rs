//! A few query rows over one head's blocks, by online softmax.
//!
//! Positions are taken 256 at a time: scores of all rows first, then their probabilities, then the values,
//! with results in registers for the whole 256.
#![allow(unsafe_op_in_unsafe_fn)] // Each function's contract covers all its lines.

use std::ops::Range;

use super::super::elementwise::cap_row;
use super::super::simd::{MOST_VECTORS, SUMS, Simd, Sums, exp};
use super::block::BLOCK_SIZE;
use super::format::{GROUP, KvFormat};
use super::{AttentionShape, KvCache, SequenceQueries};

/// Positions between two rescalings.
const SEGMENT: usize = 256;
/// Positions that are attended to on their own and merged in the end, however tasks are cut: a row's result does not
/// depend on what else a step computes.
pub(super) const SPAN: usize = 2 * SEGMENT;
/// Largest head that is served, in elements.
pub(super) const MAX_HEAD: usize = 512;

/// What a task attends with.
pub(super) struct TileJob<'a> {
    pub(super) sequence: &'a SequenceQueries<'a>,
    pub(super) cache: &'a KvCache,
    pub(super) layer: usize,
    pub(super) kv_head: usize,
    pub(super) group: usize,
    pub(super) shape: AttentionShape,
    pub(super) queries: &'a [f32],
}

impl TileJob<'_> {
    fn place(&self, index: usize) -> (usize, usize) {
        place(self.sequence, self.kv_head, self.group, index)
    }

    fn query(&self, index: usize) -> *const f32 {
        let (row, head) = self.place(index);
        self.queries[row * self.shape.query_width + head * self.cache.shape().head..].as_ptr()
    }

    /// Positions that a row sees: from the first, up to before the second.
    fn visible(&self, index: usize) -> (usize, usize) {
        self.shape.visible(self.sequence, index / self.group)
    }
}

/// Row and query head of the `index`th (token, head of the group) pair.
pub(super) fn place(
    sequence: &SequenceQueries<'_>,
    kv_head: usize,
    group: usize,
    index: usize,
) -> (usize, usize) {
    (sequence.first_row + index / group, kv_head * group + index % group)
}

/// Attends rows `first .. first + count` of the job's head to the positions of `spans`: partial rows, each sums, highest
/// score and total, into `partial`, `[spans, count, head + 2]`, or as one span where the order is free.
///
/// # Safety
/// The CPU has `S`; the job's sequence lies inside queries and cache; `partial` is as long as said.
#[inline(always)]
pub(super) unsafe fn attend<K: KvFormat, S: Simd>(
    job: &TileJob<'_>,
    first: usize,
    count: usize,
    spans: Range<usize>,
    partial: &mut [f32],
) {
    let width = job.cache.shape().head + 2;
    let step = job.shape.order.step(&spans);
    let mut start = spans.start;
    for partial in partial.chunks_exact_mut(count * width) {
        let span = start * SPAN..(start + step).min(spans.end) * SPAN;
        start += step;
        for row in (0..count).step_by(4) {
            let partial = &mut partial[row * width..];
            match count - row {
                1 => tile::<K, S, 1>(job, first + row, &span, partial),
                2 => tile::<K, S, 2>(job, first + row, &span, partial),
                3 => tile::<K, S, 3>(job, first + row, &span, partial),
                _ => tile::<K, S, 4>(job, first + row, &span, partial),
            }
        }
    }
}

#[inline(always)]
unsafe fn tile<K: KvFormat, S: Simd, const R: usize>(
    job: &TileJob<'_>,
    first: usize,
    span: &Range<usize>,
    partial: &mut [f32],
) {
    let width = job.cache.shape().value_width();
    let visible: [(usize, usize); R] = std::array::from_fn(|r| job.visible(first + r));
    let queries: [*const f32; R] = std::array::from_fn(|r| job.query(first + r));
    // Rows are in the order of their tokens: the first sees the earliest, the last the latest.
    let from = span.start.max(visible[0].0 / SEGMENT * SEGMENT);
    let to = span.end.min(visible[R - 1].1);
    let mut highest = [f32::NEG_INFINITY; R];
    let mut total = [0.0f32; R];
    let mut sums = [[0.0f32; MAX_HEAD]; R];
    let mut scores = [[0.0f32; SEGMENT]; R];

    for start in (from..to).step_by(SEGMENT) {
        let length = SEGMENT.min(to - start);
        score_segment::<K, S, R>(job, &queries, start, length, &mut scores);
        let mut rescale = [0.0f32; R];
        for r in 0..R {
            let within = |position: usize| position.saturating_sub(start).min(length);
            let seen = (within(visible[r].0), within(visible[r].1));
            let cap = job.shape.soft_cap;
            rescale[r] =
                probabilities::<S>(&mut scores[r], seen, length, cap, &mut highest[r], &mut total[r]);
        }
        let mut column = 0;
        let wide = if S::LANES == 16 { 4 } else { 2 };
        while column + wide * S::LANES <= width {
            if S::LANES == 16 {
                add_values::<K, S, R, 4>(job, start, length, column, &scores, &rescale, &mut sums);
            } else {
                add_values::<K, S, R, 2>(job, start, length, column, &scores, &rescale, &mut sums);
            }
            column += wide * S::LANES;
        }
        while column < width {
            add_values::<K, S, R, 1>(job, start, length, column, &scores, &rescale, &mut sums);
            column += S::LANES;
        }
    }
    let head = job.cache.shape().head;
    for (r, out) in partial.chunks_exact_mut(head + 2).take(R).enumerate() {
        out[..head].copy_from_slice(&sums[r][..head]);
        out[head] = highest[r];
        out[head + 1] = total[r];
    }
}

/// One row from its partial rows, each `[head + 2]`: sums, highest score, total.
pub(super) fn merge<'p>(parts: impl Iterator<Item = &'p [f32]> + Clone, out: &mut [f32]) {
    let head = out.len();
    let highest = parts.clone().map(|part| part[head]).fold(f32::NEG_INFINITY, f32::max);
    let mut total = 0.0;
    out.fill(0.0);
    for part in parts {
        let weight = (part[head] - highest).exp();
        total += part[head + 1] * weight;
        out.iter_mut().zip(part).for_each(|(out, sum)| *out += sum * weight);
    }
    out.iter_mut().for_each(|out| *out /= total);
}

/// Scores of `length` positions from `start` on.
#[inline(always)]
unsafe fn score_segment<K: KvFormat, S: Simd, const R: usize>(
    job: &TileJob<'_>,
    queries: &[*const f32; R],
    start: usize,
    length: usize,
    scores: &mut [[f32; SEGMENT]; R],
) {
    let head = job.cache.shape().head;
    let span = if K::SCALED { GROUP } else { head };
    for offset in (0..length).step_by(BLOCK_SIZE) {
        let block = job.sequence.blocks[(start + offset) / BLOCK_SIZE];
        let keys = job.cache.keys(job.layer, block, job.kv_head).as_ptr();
        for lane in (0..BLOCK_SIZE).step_by(S::LANES) {
            let mut totals = [S::splat(0.0); R];
            for (group, from) in (0..head).step_by(span).enumerate() {
                let sums = score_columns::<K, S, R>(keys, queries, from, head.min(from + span), lane);
                for r in 0..R {
                    totals[r] = if K::SCALED {
                        S::mul_add(sums[r], K::scales::<S>(keys, head, group, lane), totals[r])
                    } else {
                        sums[r]
                    };
                }
            }
            for r in 0..R {
                S::store(scores[r].as_mut_ptr().add(offset + lane), totals[r]);
            }
        }
    }
}

/// Products of elements `from .. to` of queries and of the keys of `LANES` positions.
#[inline(always)]
unsafe fn score_columns<K: KvFormat, S: Simd, const R: usize>(
    keys: *const u8,
    queries: &[*const f32; R],
    from: usize,
    to: usize,
    lane: usize,
) -> [S::Float; R] {
    // Two chains a row, since few rows leave the adders waiting.
    let mut even = [S::splat(0.0); R];
    let mut odd = [S::splat(0.0); R];
    let mut d = from;
    while d + 2 <= to {
        let key = K::load::<S>(keys, d * BLOCK_SIZE + lane);
        let next = K::load::<S>(keys, (d + 1) * BLOCK_SIZE + lane);
        for r in 0..R {
            even[r] = S::mul_add(key, S::splat(*queries[r].add(d)), even[r]);
            odd[r] = S::mul_add(next, S::splat(*queries[r].add(d + 1)), odd[r]);
        }
        d += 2;
    }
    if d < to {
        let key = K::load::<S>(keys, d * BLOCK_SIZE + lane);
        for r in 0..R {
            even[r] = S::mul_add(key, S::splat(*queries[r].add(d)), even[r]);
        }
    }
    std::array::from_fn(|r| S::add(even[r], odd[r]))
}

/// Turns scores `first .. seen` into `e^(score - highest)` and the rest up to `length` into 0; updates
/// the row's highest score and total, and returns what earlier sums are to be multiplied with.
#[inline(always)]
unsafe fn probabilities<S: Simd>(
    scores: &mut [f32; SEGMENT],
    (first, seen): (usize, usize),
    length: usize,
    soft_cap: Option<f32>,
    highest: &mut f32,
    total: &mut f32,
) -> f32 {
    if first >= seen {
        scores[..length].fill(0.0);
        return 1.0;
    }
    let padded = seen.next_multiple_of(SUMS);
    if let Some(cap) = soft_cap {
        cap_row::<S>(&mut scores[..padded], cap);
    }
    scores[..first].fill(f32::NEG_INFINITY);
    scores[seen..padded].fill(f32::NEG_INFINITY);
    let mut largest = S::splat(*highest);
    for at in (0..padded).step_by(S::LANES) {
        largest = S::max(largest, S::load(scores.as_ptr().add(at)));
    }
    let largest = S::largest(largest);
    let mut sum = Sums::<S>::new();
    for at in (0..padded).step_by(SUMS) {
        let mut p = [S::splat(0.0); MOST_VECTORS];
        for (v, p) in p.iter_mut().enumerate().take(SUMS / S::LANES) {
            let place = scores.as_mut_ptr().add(at + v * S::LANES);
            *p = exp::<S>(S::sub(S::load(place), S::splat(largest)));
            S::store(place, *p);
        }
        sum.add(&p);
    }
    scores[..first].fill(0.0);
    if seen < length {
        scores[seen..length].fill(0.0);
    }
    let rescale = if *highest == f32::NEG_INFINITY { 0.0 } else { (*highest - largest).exp() };
    *highest = largest;
    *total = *total * rescale + sum.total();
    rescale
}

/// Adds probability times value for columns `column .. column + C * LANES`.
#[inline(always)]
unsafe fn add_values<K: KvFormat, S: Simd, const R: usize, const C: usize>(
    job: &TileJob<'_>,
    start: usize,
    length: usize,
    column: usize,
    scores: &[[f32; SEGMENT]; R],
    rescale: &[f32; R],
    sums: &mut [[f32; MAX_HEAD]; R],
) {
    let width = job.cache.shape().value_width();
    let mut held: [[S::Float; C]; R] = std::array::from_fn(|r| {
        std::array::from_fn(|c| {
            S::mul(S::load(sums[r].as_ptr().add(column + c * S::LANES)), S::splat(rescale[r]))
        })
    });
    for offset in (0..length).step_by(BLOCK_SIZE) {
        let block = job.sequence.blocks[(start + offset) / BLOCK_SIZE];
        let values = job.cache.values(job.layer, block, job.kv_head).as_ptr();
        let scales: [[f32; BLOCK_SIZE]; C] = std::array::from_fn(|c| {
            let mut scales = [1.0; BLOCK_SIZE];
            if K::SCALED {
                let group = (column + c * S::LANES) / GROUP;
                for lane in (0..BLOCK_SIZE).step_by(S::LANES) {
                    S::store(scales.as_mut_ptr().add(lane), K::scales::<S>(values, width, group, lane));
                }
            }
            scales
        });
        for slot in 0..BLOCK_SIZE.min(length - offset) {
            let value: [S::Float; C] = std::array::from_fn(|c| {
                let value = K::load::<S>(values, slot * width + column + c * S::LANES);
                if K::SCALED { S::mul(value, S::splat(*scales[c].as_ptr().add(slot))) } else { value }
            });
            for r in 0..R {
                let p = S::splat(*scores[r].as_ptr().add(offset + slot));
                for c in 0..C {
                    held[r][c] = S::mul_add(value[c], p, held[r][c]);
                }
            }
        }
    }
    for r in 0..R {
        for (c, &sum) in held[r].iter().enumerate() {
            S::store(sums[r].as_mut_ptr().add(column + c * S::LANES), sum);
        }
    }
}
