//! Models with seeded random weights, of any family that is served, in any type: what tests and benchmarks run where
//! no download may be. `weighbridge synth` is its command.
//!
//! - [`Family`], [`Shape`], [`Rope`], [`SynthSpec`]: what to make, checked before anything is written.
//! - `tensors`, `names`: which tensors a family has, and how each format calls them; `beside`: the same for a config.
//! - `metadata`, `config`, `tokenizer`: what lies beside the weights.
//! - `e4m3`: matrices in 8-bit floats. `random`: the numbers. They mean nothing; their magnitudes are those of trained weights.
//! - `plan`: the files, and where each tensor lies in them.
//! - `write`: all of it to the disk, in parallel, with no model in memory.
//!
//! The same specification gives the same bytes, whatever the machine and however many threads write.

/// Raised whenever a specification's bytes change, so that kept files are not taken for what is made now.
pub const VERSION: u32 = 1;

#[cfg(any(test, feature = "fuzzing"))]
mod beside;
mod config;
mod e4m3;
mod error;
mod family;
mod metadata;
mod names;
mod plan;
mod random;
mod rope;
mod safetensors;
mod shape;
mod spec;
mod tensors;
#[cfg(test)]
mod tests;
mod tokenizer;
mod write;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use beside::tensors_beside;
pub use e4m3::E4m3;
pub use error::SynthError;
pub use family::Family;
pub use rope::Rope;
pub use shape::{SHAPES, Shape};
pub use spec::{Format, SynthSpec, tensor_type};
pub use write::{Made, WriteOptions};
