//! The vector operations that kernels are written in, once for every instruction set.
//!
//! A kernel is a generic `#[inline(always)]` function over [`Simd`]; [`dispatch!`] instantiates it inside
//! a function compiled for the instruction set, where everything inlines to plain instructions.
//!
//! The `unsafe` contract is the same for every method, so it is stated here once: **the CPU has the
//! instruction set of the implementor, and each pointer is good for the bytes the method says.**
#![allow(unsafe_op_in_unsafe_fn)] // The contract above covers every line of every method.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod exp;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
mod sums;

#[cfg(target_arch = "x86_64")]
pub(super) use avx2::{Avx2, AvxVnni};
#[cfg(target_arch = "x86_64")]
pub(super) use avx512::Avx512;
pub(super) use exp::exp;
#[cfg(target_arch = "aarch64")]
pub(super) use neon::Neon;
pub(super) use portable::Portable;
pub(super) use sums::{MOST_VECTORS, SUMS, Sums};

/// Vectors of [`Self::LANES`] 32-bit lanes. Four bytes of a lane can hold four 8-bit or two 16-bit values.
///
/// # Safety
/// Implementors promise that each method reads or writes only what it says.
pub(super) unsafe trait Simd: Copy + 'static {
    /// Integer vector, `LANES * 4` bytes.
    type Int: Copy;
    /// Float vector.
    type Float: Copy;
    /// 32-bit lanes; divides 16.
    const LANES: usize;
    /// Tokens that a matrix kernel carries in registers at once: 8 or 4.
    const TILE: usize;
    /// The largest magnitude that products of a lane's bytes, two by two, may add up to.
    const DOTS_LIMIT: i32;
    /// What [`Self::dot_biased`] leaves in its sum: the dot product plus this times the sum of activations.
    const BIAS: i32;

    unsafe fn splat_int(value: i32) -> Self::Int;
    /// Loads `LANES * 4` bytes.
    unsafe fn load_int(from: *const u8) -> Self::Int;
    /// Stores `LANES * 4` bytes.
    unsafe fn store_int(to: *mut u8, a: Self::Int);
    /// Loads `LANES * 2` bytes, each widened to 16 bits.
    unsafe fn load_bytes_as_halves(from: *const u8) -> Self::Int;
    /// Asks for the cache line at `at`, which need not be readable.
    unsafe fn prefetch(at: *const u8);
    unsafe fn and(a: Self::Int, b: Self::Int) -> Self::Int;
    unsafe fn or(a: Self::Int, b: Self::Int) -> Self::Int;
    /// Shifts each 16-bit value right.
    unsafe fn shift_right<const N: u32>(a: Self::Int) -> Self::Int;
    /// Shifts each 16-bit value left.
    unsafe fn shift_left<const N: u32>(a: Self::Int) -> Self::Int;
    /// Each byte, which is below 16, becomes what lies there in `table`.
    unsafe fn look_up(table: &[u8; 16], places: Self::Int) -> Self::Int;
    /// The four bytes at `from + offset` in every lane.
    unsafe fn broadcast(from: *const i8, offset: usize) -> Self::Int;
    /// Starts a sum of dot products that is to be added to `sum`.
    unsafe fn begin_dots(sum: Self::Int) -> Self::Int;
    /// Adds to each lane the dot product of its four unsigned bytes, each below 128, with its four signed ones. What is
    /// added up since [`Self::begin_dots`] must stay within [`Self::DOTS_LIMIT`] for each two bytes.
    unsafe fn dot(dots: Self::Int, weights: Self::Int, activations: Self::Int) -> Self::Int;
    /// [`Self::dot`] with the four signed bytes at `from + offset` in every lane.
    #[inline(always)]
    unsafe fn dot_at(dots: Self::Int, weights: Self::Int, from: *const i8, offset: usize) -> Self::Int {
        Self::dot(dots, weights, Self::broadcast(from, offset))
    }
    /// `sum`, as it was begun with, plus the dot products.
    unsafe fn end_dots(sum: Self::Int, dots: Self::Int) -> Self::Int;
    /// Adds dot products as [`Self::dot`] does, for weights stored as signed plus 128; see [`Self::BIAS`].
    unsafe fn dot_biased(sum: Self::Int, weights: Self::Int, activations: Self::Int) -> Self::Int;
    /// Adds to each lane the dot product of its two 16-bit values with the two at `pair`.
    unsafe fn dot_halves(sum: Self::Int, weights: Self::Int, pair: *const i16) -> Self::Int;
    unsafe fn to_float(a: Self::Int) -> Self::Float;

    unsafe fn splat(value: f32) -> Self::Float;
    /// Loads `LANES` f32.
    unsafe fn load(from: *const f32) -> Self::Float;
    /// Stores `LANES` f32.
    unsafe fn store(to: *mut f32, a: Self::Float);
    /// Loads `LANES` f16.
    unsafe fn load_f16(from: *const u8) -> Self::Float;
    /// Stores `LANES` f16, rounded to nearest even.
    unsafe fn store_f16(to: *mut u16, a: Self::Float);
    /// Loads `LANES` bf16.
    unsafe fn load_bf16(from: *const u8) -> Self::Float;
    /// Loads `LANES` bytes `e` as `2^(e - 128)`; 0 for `e` of 0 and 1, which no scale of a weight is.
    unsafe fn load_half_powers(from: *const u8) -> Self::Float;
    /// Loads `LANES` u8 as floats.
    unsafe fn load_u8(from: *const u8) -> Self::Float;
    /// Loads `LANES` i8 as floats.
    unsafe fn load_i8(from: *const u8) -> Self::Float;
    /// Rounds to nearest even, stores `LANES` i8, and returns the rounded integers. Values fit in i8.
    unsafe fn store_i8(to: *mut i8, a: Self::Float) -> Self::Int;
    unsafe fn add(a: Self::Float, b: Self::Float) -> Self::Float;
    unsafe fn sub(a: Self::Float, b: Self::Float) -> Self::Float;
    unsafe fn mul(a: Self::Float, b: Self::Float) -> Self::Float;
    unsafe fn div(a: Self::Float, b: Self::Float) -> Self::Float;
    /// `a * b + c`.
    unsafe fn mul_add(a: Self::Float, b: Self::Float, c: Self::Float) -> Self::Float;
    unsafe fn max(a: Self::Float, b: Self::Float) -> Self::Float;
    unsafe fn min(a: Self::Float, b: Self::Float) -> Self::Float;
    unsafe fn abs(a: Self::Float) -> Self::Float;
    /// Exchanges lanes 0 and 1, 2 and 3, and so on.
    unsafe fn swap_pairs(a: Self::Float) -> Self::Float;
    /// Rounds to the nearest integer.
    unsafe fn round(a: Self::Float) -> Self::Float;
    /// `a * 2^n` for integral `n` in -126 to 127.
    unsafe fn scale_by_power(a: Self::Float, n: Self::Float) -> Self::Float;
    unsafe fn largest(a: Self::Float) -> f32;
    unsafe fn sum_int(a: Self::Int) -> i32;
    unsafe fn add_int(a: Self::Int, b: Self::Int) -> Self::Int;
}

/// Calls `$kernel::<S>($args)` compiled for `$isa`.
///
/// Must be expanded inside an `unsafe` block: the caller vouches for the kernel's own contract. `$isa` comes
/// from [`Isa::detect`](super::Isa::detect) or [`Isa::available`](super::Isa::available), which covers the
/// instruction set.
macro_rules! dispatch {
    ($isa:expr, $kernel:ident $(::<$($generic:ty),*>)? ($($arg:ident : $type:ty),* $(,)?)) => {{
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
        unsafe fn avx512($($arg: $type),*) {
            // SAFETY: as `dispatch!`.
            unsafe { $kernel::<$($($generic,)*)? $crate::simd::Avx512>($($arg),*) }
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,f16c")]
        unsafe fn avx2($($arg: $type),*) {
            // SAFETY: as `dispatch!`.
            unsafe { $kernel::<$($($generic,)*)? $crate::simd::Avx2>($($arg),*) }
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
        unsafe fn avx_vnni($($arg: $type),*) {
            // SAFETY: as `dispatch!`.
            unsafe { $kernel::<$($($generic,)*)? $crate::simd::AvxVnni>($($arg),*) }
        }
        #[cfg(target_arch = "aarch64")]
        #[target_feature(enable = "neon,dotprod")]
        unsafe fn neon($($arg: $type),*) {
            // SAFETY: as `dispatch!`.
            unsafe { $kernel::<$($($generic,)*)? $crate::simd::Neon>($($arg),*) }
        }
        match $isa {
            #[cfg(target_arch = "x86_64")]
            $crate::Isa::Amx | $crate::Isa::Avx512Vnni => avx512($($arg),*),
            #[cfg(target_arch = "x86_64")]
            $crate::Isa::AvxVnni => avx_vnni($($arg),*),
            #[cfg(target_arch = "x86_64")]
            $crate::Isa::Avx2 => avx2($($arg),*),
            #[cfg(target_arch = "aarch64")]
            $crate::Isa::NeonDot => neon($($arg),*),
            _ => $kernel::<$($($generic,)*)? $crate::simd::Portable>($($arg),*),
        }
    }};
}
pub(super) use dispatch;
