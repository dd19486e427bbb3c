//! One panel times a few tokens, held in registers.
#![allow(unsafe_op_in_unsafe_fn)] // Each function's contract covers all its lines.

use super::super::activations::Activations;
use super::super::packed::PANEL_ROWS;
use super::super::shared::SharedSlice;
use super::super::simd::Simd;
use super::{Output, Product};

/// Panels `first .. first + count` of one product, for all tokens.
pub(super) struct Panels<'a> {
    pub(super) product: Product<'a>,
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) input: &'a Activations,
    pub(super) out: SharedSlice<'a, f32>,
    pub(super) width: usize,
    pub(super) mode: Output,
}

/// Inner loops of one stored type.
pub(super) trait Kernel {
    /// Sums of `T` tokens from `token` on and of the panel's rows `lane .. lane + S::LANES`.
    ///
    /// # Safety
    /// The CPU has `S`; `panel` is a whole panel of this type and of `input`'s columns; `input` holds the
    /// tokens in the form that the type wants.
    unsafe fn tile<S: Simd, const T: usize>(
        panel: *const u8,
        lane: usize,
        input: &Activations,
        token: usize,
    ) -> [S::Float; T];
}

/// Runs a job's panels over all tokens.
///
/// # Safety
/// The CPU has `S`; shapes are as [`super::matmul`] checked them.
#[inline(always)]
pub(super) unsafe fn run_panels<K: Kernel, S: Simd>(job: &Panels<'_>) {
    let layout = job.product.weights.layout();
    for panel in job.first..job.first + job.count {
        let weights = job.product.weights.bytes().as_ptr().add(panel * layout.panel_bytes());
        run_panel::<K, S>(job, panel, weights, 0);
    }
}

/// Runs one panel over tokens `token` and up, largest tiles first.
///
/// # Safety
/// As [`run_panels`]; `weights` is panel `panel`.
#[inline(always)]
pub(super) unsafe fn run_panel<K: Kernel, S: Simd>(
    job: &Panels<'_>,
    panel: usize,
    weights: *const u8,
    mut token: usize,
) {
    let tokens = job.input.tokens();
    if S::TILE >= 8 {
        while token + 8 <= tokens {
            tile_rows::<K, S, 8>(job, panel, weights, token);
            token += 8;
        }
    }
    while token + 4 <= tokens {
        tile_rows::<K, S, 4>(job, panel, weights, token);
        token += 4;
    }
    while token + 2 <= tokens {
        tile_rows::<K, S, 2>(job, panel, weights, token);
        token += 2;
    }
    if token < tokens {
        tile_rows::<K, S, 1>(job, panel, weights, token);
    }
}

#[inline(always)]
unsafe fn tile_rows<K: Kernel, S: Simd, const T: usize>(
    job: &Panels<'_>,
    panel: usize,
    weights: *const u8,
    token: usize,
) {
    let rows = job.product.weights.layout().rows();
    for lane in (0..PANEL_ROWS).step_by(S::LANES) {
        if panel * PANEL_ROWS + lane >= rows {
            break;
        }
        let sums = K::tile::<S, T>(weights, lane, job.input, token);
        for (t, &sum) in sums.iter().enumerate() {
            write_rows::<S>(job, panel, lane, token + t, sum);
        }
    }
}

/// Writes one token's sums of a panel's rows from `lane` on, those that the matrix has.
///
/// # Safety
/// As [`run_panels`]; the panel has a row `lane`.
#[inline(always)]
pub(super) unsafe fn write_rows<S: Simd>(
    job: &Panels<'_>,
    panel: usize,
    lane: usize,
    token: usize,
    sum: S::Float,
) {
    let row = panel * PANEL_ROWS + lane;
    let count = S::LANES.min(job.product.weights.layout().rows() - row);
    let place = token * job.width + job.product.column + row;
    write::<S>(job.out.start().add(place), sum, count, job.mode);
}

/// Writes the first `count` lanes.
#[inline(always)]
unsafe fn write<S: Simd>(to: *mut f32, sum: S::Float, count: usize, mode: Output) {
    if count == S::LANES {
        let value = match mode {
            Output::Replace => sum,
            Output::Add => S::add(S::load(to), sum),
        };
        S::store(to, value);
        return;
    }
    let mut lanes = [0.0f32; PANEL_ROWS];
    S::store(lanes.as_mut_ptr(), sum);
    for (i, lane) in lanes.iter().enumerate().take(count) {
        match mode {
            Output::Replace => *to.add(i) = *lane,
            Output::Add => *to.add(i) += *lane,
        }
    }
}
