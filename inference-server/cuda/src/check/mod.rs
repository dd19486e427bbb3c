//! Every kernel against plain arithmetic, over one table of shapes: odd sizes, one row, deep contexts. Tests run it on
//! the emulator, `gpu-check` on a card.

mod attention;
mod elementwise;
mod experts;
mod matrix;
mod sample;
pub mod speed;

use crate::device::{Device, DeviceError};
use weighbridge_kernels::random::Random;

/// One shape of one operation.
pub struct Case {
    /// The operation: a file of `kernels/`, or a part of one.
    pub operation: &'static str,
    /// The shape, in words.
    pub shape: String,
    /// The most that a result may be off, of the largest of them; 0 where it must be the same.
    pub bound: f64,
    run: Box<Run>,
}

/// Runs a shape: how far the device's results are off.
type Run = dyn Fn(&mut dyn Device) -> Result<f64, DeviceError> + Send + Sync;

impl Case {
    fn new(
        operation: &'static str,
        shape: String,
        bound: f64,
        run: impl Fn(&mut dyn Device) -> Result<f64, DeviceError> + Send + Sync + 'static,
    ) -> Self {
        Self { operation, shape, bound, run: Box::new(run) }
    }

    /// How far the device's results are off.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn run(&self, device: &mut dyn Device) -> Result<f64, DeviceError> {
        (self.run)(device)
    }
}

/// The whole table.
pub fn cases() -> Vec<Case> {
    let mut all = matrix::cases();
    all.extend(attention::cases());
    all.extend(elementwise::cases());
    all.extend(experts::cases());
    all.extend(sample::cases());
    all
}

/// The largest difference, of the largest expected number. No number is infinitely far off.
fn error(found: &[f32], expected: &[f32]) -> f64 {
    let largest = expected.iter().fold(1e-30f64, |most, x| most.max(f64::from(x.abs())));
    if found.len() != expected.len() {
        return f64::INFINITY;
    }
    found.iter().zip(expected).fold(0.0f64, |worst, (found, expected)| {
        let off = (f64::from(*found) - f64::from(*expected)).abs() / largest;
        if off.is_nan() { f64::INFINITY } else { worst.max(off) }
    })
}

/// Numbers in -1 to 1.
fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut random = Random(seed);
    (0..count).map(|_| random.between(-1.0, 1.0)).collect()
}

/// `values` as bfloat16 rows of `stride`, filled up with zeros, and what they are after rounding.
fn rounded_rows(values: &[f32], columns: usize, stride: usize) -> (Vec<u16>, Vec<f32>) {
    let mut rows = Vec::new();
    let mut rounded = Vec::new();
    for row in values.chunks_exact(columns) {
        let halves = row.iter().map(|x| half::bf16::from_f32(*x));
        rounded.extend(halves.clone().map(half::bf16::to_f32));
        rows.extend(halves.map(half::bf16::to_bits));
        rows.resize(rows.len().next_multiple_of(stride), 0);
    }
    (rows, rounded)
}

/// bfloat16 bits as floats.
fn floats(bits: &[u16]) -> Vec<f32> {
    bits.iter().map(|bits| half::bf16::from_bits(*bits).to_f32()).collect()
}
