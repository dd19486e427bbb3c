//! What the programs that run whole models on a GPU share. Each takes a device, so that a test can run it on an emulated
//! one; where there is no card it is printed as NOT RUN.
//!
//! - `subject`: a model on a device, and the time of its steps; `timed` is the device's own, `overhead` what the engine adds.
//! - `models`: whole models against the CPU and against themselves; nothing there is timed.

pub mod models;
pub mod overhead;
mod subject;
mod timed;

use std::path::{Path, PathBuf};

use anyhow::Result;
use weighbridge_cuda::device::{Cards, CudaDevice, Device, DeviceChoice};
use weighbridge_cuda::pack::{Places, find};

pub use subject::{Subject, WARM};

/// The first card with the kernels of `pack`.
///
/// # Errors
/// In words, why there is none to measure.
pub fn open(pack: &Path) -> Result<Box<dyn Device>> {
    let card = Cards::probe()?.open(&DeviceChoice::First)?;
    let places = Places { pack: pack.to_owned(), cache: std::env::temp_dir().join("weighbridge-kernels") };
    let (code, _) = find(&places, card.description().capability)?;
    Ok(Box::new(CudaDevice::open(card, &code)?))
}

/// Where the pack is: `WEIGHBRIDGE_KERNELS`, or what `make kernels` writes.
pub fn pack() -> PathBuf {
    let named = std::env::var_os("WEIGHBRIDGE_KERNELS").map(PathBuf::from);
    named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/kernels"))
}
