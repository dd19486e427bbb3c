//! Matrix products of packed weights and activations, shared out over the pool.
//!
//! `tile` computes one panel for a few tokens in registers; `quantized` and `float` hold its inner loops by
//! stored type. Decode runs them with one token, prefill with 8 or 4: same layout, same code. `amx` takes sixteen
//! tokens at once where the CPU has it.

#[cfg(target_arch = "x86_64")]
mod amx;
mod blocked;
mod float;
mod quantized;
mod tile;

#[cfg(target_arch = "x86_64")]
pub(super) use amx::peak as amx_peak;

use super::Isa;
use super::activations::Activations;
use super::packed::PackedMatrix;
use super::pool::{Pool, WorkerPanicked};
use super::shared::SharedSlice;
use super::simd::dispatch;
use crate::TensorType;
use blocked::run_panels as run_blocked;
use tile::{Panels, run_panels};

/// One matrix of a product and where its result goes.
#[derive(Clone, Copy)]
pub struct Product<'a> {
    /// The weights, `[rows, columns]`.
    pub weights: &'a PackedMatrix,
    /// First column of the output that its rows fill.
    pub column: usize,
}

/// What happens to values that the output already holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// They are replaced.
    Replace,
    /// The product is added to them.
    Add,
}

/// `out[t][column + r] = sum over c of weights[r][c] * input[t][c]`, for each product in one pass of the pool.
///
/// `out` is `[tokens, width]`. Products whose columns are not those of `input`, or whose place is not inside
/// `width`, or whose weights are not there, are left out: that is checked when a model is loaded, and asserted in
/// debug builds here.
///
/// # Errors
/// [`WorkerPanicked`], when the output is not to be used.
pub fn matmul(
    pool: &mut Pool,
    isa: Isa,
    products: &[Product<'_>],
    input: &Activations,
    out: &mut [f32],
    width: usize,
    mode: Output,
) -> Result<(), WorkerPanicked> {
    let fits = |product: &&Product<'_>| {
        let layout = product.weights.layout();
        layout.columns() == input.columns()
            && product.column + layout.rows() <= width
            && product.weights.bytes().len() == layout.bytes()
    };
    debug_assert!(products.iter().all(|product| fits(&product)));
    debug_assert!(out.len() >= input.tokens() * width);
    if out.len() < input.tokens() * width {
        return Ok(());
    }
    let out = SharedSlice::new(out);
    let panels: usize = products.iter().filter(fits).map(|p| p.weights.layout().panels()).sum();
    let chunk = chunk_panels(panels, pool.threads());

    pool.run(panels.div_ceil(chunk), &|index| {
        let mut start = index * chunk;
        let mut left = chunk.min(panels - start);
        for product in products.iter().filter(fits) {
            let here = product.weights.layout().panels();
            if start >= here {
                start -= here;
                continue;
            }
            let count = left.min(here - start);
            let job = Panels { product: *product, first: start, count, input, out, width, mode };
            run(isa, &job);
            left -= count;
            start = 0;
            if left == 0 {
                break;
            }
        }
    })
}

/// Panels that a worker claims at once: a few claims a thread, so that a slow thread holds up little.
fn chunk_panels(panels: usize, threads: usize) -> usize {
    if threads == 1 { panels.max(1) } else { panels.div_ceil(threads * 6).max(1) }
}

fn run(isa: Isa, job: &Panels<'_>) {
    use {float as f, quantized as q};
    macro_rules! run {
        ($kernel:ty) => {
            // SAFETY: `isa` is available; `matmul` checked that weights, input and output have the shapes
            // that the job says, and each panel's output is written by this job alone.
            unsafe { dispatch!(isa, run_panels::<$kernel>(job: &Panels<'_>)) }
        };
    }
    macro_rules! quantized {
        ($kernel:ty) => {
            match isa {
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Isa::Amx if <$kernel as q::Quantized>::BLOCK == 256 && job.input.tiled_tokens() > 0 => unsafe { amx::run_panels::<$kernel>(job) },
                // SAFETY: as above.
                _ if job.input.tokens() >= blocked::TOKENS => unsafe {
                    dispatch!(isa, run_blocked::<$kernel>(job: &Panels<'_>))
                },
                _ => run!($kernel),
            }
        };
    }
    match job.product.weights.layout().kind() {
        TensorType::F32 => run!(f::F32),
        TensorType::F16 => run!(f::F16),
        TensorType::BF16 => run!(f::BF16),
        TensorType::Q4_0 => quantized!(q::Q4_0),
        TensorType::Q4_1 => quantized!(q::Q4_1),
        TensorType::Q5_0 => quantized!(q::Q5_0),
        TensorType::Q5_1 => quantized!(q::Q5_1),
        TensorType::Q8_0 => quantized!(q::Q8_0),
        TensorType::Q2K => quantized!(q::Q2K),
        TensorType::Q3K => quantized!(q::Q3K),
        TensorType::Q4K => quantized!(q::Q4K),
        TensorType::Q5K => quantized!(q::Q5K),
        TensorType::Q6K => quantized!(q::Q6K),
        TensorType::IQ4NL => quantized!(q::IQ4NL),
        TensorType::IQ4XS => quantized!(q::IQ4XS),
        TensorType::MXFP4 => quantized!(q::MXFP4),
    }
}
