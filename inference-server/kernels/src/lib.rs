//! The arithmetic of the CPU backend, and the only home of `unsafe` beside the engine's `gguf::mapping`. A crate of its own, because
//! it takes minutes to optimise and seldom changes.
//!
//! - [`TensorType`]: how weights are stored; [`StoredType`], [`StoredRows`], [`e4m3`]: what files hold beside ggml's types.
//! - [`reference`]: every operation in plain safe Rust. It stays for ever: it is what the rest is tested against.
//! - `simd`: one small trait of vector operations, implemented for AVX-512 VNNI, AVX-VNNI, AVX2, NEON and portable Rust.
//! - [`packed`]: weights as 16-row panels, one layout shared by decode and prefill on every instruction set.
//! - [`activations`], [`matmul`], [`attention`], [`elementwise`]: the fast operations, written once over `simd`.
//! - [`quantize`]: floats to blocks. [`random`]: seeded blocks of every type.
//! - [`peak`]: what the machine could do at most, measured. [`pool`]: the worker threads. [`buffer`]: page-backed memory.
//!
//! Nothing here knows a model, a file or a sequence.
#![allow(unsafe_code)] // Vector intrinsics, disjoint writes from workers, and the pool's borrowed closures.

pub mod activations;
pub mod attention;
pub mod buffer;
pub mod e4m3;
pub mod elementwise;
mod isa;
pub mod matmul;
pub mod packed;
pub mod peak;
pub mod pool;
pub mod quantize;
pub mod random;
pub mod reference;
mod shared;
mod simd;
mod stored;
mod tensor_type;

pub use isa::Isa;
pub use stored::{StoredRows, StoredType};
pub use tensor_type::TensorType;
