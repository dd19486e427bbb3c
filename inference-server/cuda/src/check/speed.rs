//! How fast kernels are on a device, beside what it copies: figures, not tests.

use std::time::Instant;

use weighbridge_kernels::attention::{BLOCK_SIZE, Sight};

use super::matrix::packed;
use crate::device::{Device, DeviceError, Gemm};
use crate::form::{Form, Matrix, input_stride};
use crate::launch::{Address, Launch};
use crate::operations::attention::{Attention, CacheKind, HeadShape, HeadWidth, Queries, Split, plan};
use crate::operations::{Product, expand};

/// How much to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Bytes that are read in turn, so that none comes from a cache.
    pub bytes: u64,
    /// Rows and columns of matrices.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Sequences of attention.
    pub sequences: usize,
    /// Positions of each.
    pub context: usize,
    /// Rows of prefill.
    pub prefill: usize,
    /// Rounds; the median is taken.
    pub rounds: usize,
}

impl Scale {
    /// A model of 8 billion weights: the product of its gate, attention of its heads.
    pub const CARD: Self = Self {
        bytes: 2 << 30,
        rows: 14_336,
        columns: 4096,
        sequences: 64,
        context: 1024,
        prefill: 2048,
        rounds: 9,
    };
    /// Small enough for the emulator, where only that it runs is of interest.
    pub const EMULATOR: Self =
        Self { bytes: 1 << 16, rows: 16, columns: 256, sequences: 2, context: 40, prefill: 4, rounds: 1 };
}

/// A name and a number.
pub type Figure = (String, f64);

/// Bytes a second that the device reads while it copies: the bound of whatever reads once.
///
/// # Errors
/// [`DeviceError`], as from everything here.
pub fn bandwidth(device: &mut dyn Device, scale: Scale) -> Result<f64, DeviceError> {
    let (from, to) = (device.allocate(scale.bytes)?, device.allocate(scale.bytes)?);
    device.fill(from, 0, scale.bytes)?;
    let seconds = median(device, scale.rounds, |device| device.copy(from, to, scale.bytes))?;
    device.free(from)?;
    device.free(to)?;
    // What is copied is read and written.
    Ok(2.0 * scale.bytes as f64 / seconds)
}

/// Products of each form for 1, 8 and 64 rows: bytes of weights a second over `bound`.
///
/// # Errors
/// [`DeviceError`].
pub fn products(device: &mut dyn Device, scale: Scale, bound: f64) -> Result<Vec<Figure>, DeviceError> {
    let mut figures = Vec::new();
    for form in Form::ALL {
        let one = packed(device, form, 64.min(scale.rows), scale.columns, 1)?.matrix;
        let whole = form.bytes(scale.rows, scale.columns);
        let copies = scale.bytes.div_ceil(whole);
        // The same strips again and again: what they hold is of no interest, and where they lie is.
        let all = device.allocate(copies * whole)?;
        for at in (0..copies * whole).step_by(one.bytes() as usize) {
            device.copy(one.at, all.offset(at), one.bytes().min(copies * whole - at))?;
        }
        let stride = input_stride(scale.columns);
        let input = device.allocate((64 * stride * 2) as u64)?;
        device.fill(input, 0, (64 * stride * 2) as u64)?;
        let out = device.allocate((64 * scale.rows * 4) as u64)?;
        for tokens in [1, 8, 64] {
            let launches: Vec<Launch> = (0..copies)
                .map(|copy| {
                    let at = all.offset(copy * whole);
                    let weights = &Matrix { form, rows: scale.rows, columns: scale.columns, at };
                    let (bias, out_stride) = (Address::NULL, scale.rows);
                    Product {
                        weights,
                        input,
                        input_stride: stride,
                        tokens,
                        out,
                        out_stride,
                        bias,
                        add: false,
                        experts: None,
                    }
                    .launch()
                })
                .collect();
            let seconds =
                median(device, scale.rounds, |device| launches.iter().try_for_each(|l| device.launch(l)))?;
            let share = (copies * whole) as f64 / seconds / bound;
            figures.push((format!("product_{}_{tokens}_of_bound", name(form)), share));
        }
        for memory in [all, input, out] {
            device.free(memory)?;
        }
    }
    Ok(figures)
}

/// Attention of one token of each sequence over its context: bytes of keys and values a second over `bound`.
///
/// # Errors
/// [`DeviceError`].
pub fn decode_attention(
    device: &mut dyn Device,
    scale: Scale,
    bound: f64,
) -> Result<Vec<Figure>, DeviceError> {
    let mut figures = Vec::new();
    for (cache, called) in [(CacheKind::F16, "f16"), (CacheKind::E4m3, "e4m3")] {
        let shape = HeadShape { heads: 32, kv_heads: 8, head: 128, width: HeadWidth::W128, cache };
        for (sequences, context) in [(1, scale.context * 8), (scale.sequences, scale.context)] {
            let blocks = context.div_ceil(BLOCK_SIZE) * sequences;
            let layer = shape.block_bytes(BLOCK_SIZE) * blocks as u64;
            let layers = scale.bytes.div_ceil(2 * layer).max(1);
            let all = device.allocate(layers * 2 * layer)?;
            device.fill(all, 0, layers * 2 * layer)?;
            let queries: Vec<Queries> = (0..sequences)
                .map(|row| Queries {
                    first_row: row,
                    tokens: 1,
                    start: context - 1,
                    table: row * context.div_ceil(BLOCK_SIZE),
                })
                .collect();
            let plan = plan(&queries, 4, Sight::Causal, Split::Decode);
            let tables: Vec<u32> = (0..blocks as u32).collect();
            let (split, combine) = (device.allocate_with(&plan.split)?, device.allocate_with(&plan.combine)?);
            let rows = device.allocate((sequences * 32 * 128 * 2) as u64)?;
            device.fill(rows, 0, (sequences * 32 * 128 * 2) as u64)?;
            let attention = Attention {
                shape,
                sight: Sight::Causal,
                soft_cap: None,
                queries: rows,
                keys: all,
                values: all,
                tables: device.allocate_with(&tables)?,
                out: device.allocate((sequences * 4096 * 2) as u64)?,
                out_stride: 4096,
                partials: device.allocate(Attention::partial_bytes(&shape, plan.partials).max(4))?,
            };
            let mut launches = Vec::new();
            for at in 0..layers {
                let (keys, values) = (all.offset(at * 2 * layer), all.offset((at * 2 + 1) * layer));
                let attention = Attention { keys, values, ..attention };
                launches.push(attention.split(split, plan.split.len()));
                if !plan.combine.is_empty() {
                    launches.push(attention.combine(combine, plan.combine.len()));
                }
            }
            let seconds =
                median(device, scale.rounds, |device| launches.iter().try_for_each(|l| device.launch(l)))?;
            let share = (layers * 2 * layer) as f64 / seconds / bound;
            figures.push((format!("attention_{called}_{sequences}x{context}_of_bound"), share));
            for memory in [all, split, combine, rows, attention.tables, attention.out, attention.partials] {
                device.free(memory)?;
            }
        }
    }
    Ok(figures)
}

/// Prefill's products: multiplications a second, in TFLOP/s, of the library, of expansion and library, and of our own.
///
/// # Errors
/// [`DeviceError`].
pub fn prefill(device: &mut dyn Device, scale: Scale) -> Result<Vec<Figure>, DeviceError> {
    let Scale { rows, columns, prefill: tokens, .. } = scale;
    let stride = input_stride(columns);
    let matrix = packed(device, Form::Q4K, rows, columns, 1)?.matrix;
    let plain = device.allocate((rows * stride * 2) as u64)?;
    device.fill(plain, 0, (rows * stride * 2) as u64)?;
    let input = device.allocate((tokens * stride * 2) as u64)?;
    device.fill(input, 0, (tokens * stride * 2) as u64)?;
    let out = device.allocate((tokens * rows * 4) as u64)?;
    let work = 2.0 * (rows * columns * tokens) as f64 / 1e12;
    let (input_stride, out_stride, add) = (stride, rows, false);
    let gemm =
        Gemm { weights: plain, input, out, rows, columns, tokens, stride, input_stride, out_stride, add };
    let library = median(device, scale.rounds, |device| device.multiply(&gemm))?;
    let unpack = expand(&matrix, 0, plain, stride);
    let both = median(device, scale.rounds, |device| {
        device.launch(&unpack)?;
        device.multiply(&gemm)
    })?;
    let product = Product {
        weights: &matrix,
        input,
        input_stride,
        tokens,
        out,
        out_stride,
        bias: Address::NULL,
        add,
        experts: None,
    };
    let own = median(device, scale.rounds, |device| device.launch(&product.launch()))?;
    Ok(vec![
        ("prefill_library_tflops".to_owned(), work / library),
        ("prefill_q4_k_expanded_tflops".to_owned(), work / both),
        ("prefill_q4_k_own_tflops".to_owned(), work / own),
    ])
}

/// Seconds that `run` takes on the device: the median of some rounds, after one that is not counted.
fn median(
    device: &mut dyn Device,
    rounds: usize,
    mut run: impl FnMut(&mut dyn Device) -> Result<(), DeviceError>,
) -> Result<f64, DeviceError> {
    run(device)?;
    device.synchronize()?;
    let mut times = Vec::new();
    for _ in 0..rounds {
        let began = Instant::now();
        run(device)?;
        device.synchronize()?;
        times.push(began.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

fn name(form: Form) -> String {
    form.stored().map_or_else(|| "e4m3".to_owned(), |kind| kind.name().to_lowercase())
}
