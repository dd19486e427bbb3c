//! The arithmetic of the CUDA backend. Builds, and passes its tests, where there is neither a GPU nor anything of CUDA.
//!
//! - `kernels/*.cu` (beside `src`): the kernels, one file an operation, with numerics, shapes and source in its head.
//!   [`sources`] carries them in the program.
//! - [`form`]: how weights lie in device memory.
//! - [`operations`]: a launch of each kernel, typed: sizes in, grid and parameters out. Pure.
//! - [`device`]: what launches run on: a trait, and the card behind CUDA's driver. The emulator, a crate for tests, is
//!   the other implementation.
//! - [`compile`]: NVRTC. [`pack`]: code for every architecture in one folder, by hash.
//! - [`check`]: every kernel against the CPU's reference, over one table of shapes that tests and `gpu-check` share.
//!
//! Nothing here knows a model, a file format or a sequence. `unsafe` is in `device::driver` and `compile` alone.

pub mod check;
pub mod compile;
pub mod device;
pub mod form;
pub mod launch;
pub mod operations;
pub mod pack;
pub mod sources;
