//! [`Simd`] on NEON with its dot product (`FEAT_DotProd`, in every Armv8.4 and most Armv8.2 cores): 4 lanes.

use std::arch::aarch64::*;
use std::arch::asm;

use super::Simd;

/// NEON and its dot product.
#[derive(Clone, Copy)]
pub(crate) struct Neon;

/// Adds to each lane the dot product of four signed bytes with four signed bytes (`SDOT`, for which stable Rust has
/// no intrinsic).
///
/// # Safety
/// The CPU has `FEAT_DotProd`.
#[inline(always)]
unsafe fn signed_dot(sum: int32x4_t, a: int32x4_t, b: int32x4_t) -> int32x4_t {
    let mut sum = sum;
    asm!(
        "sdot {0:v}.4s, {1:v}.16b, {2:v}.16b",
        inout(vreg) sum, in(vreg) a, in(vreg) b,
        options(pure, nomem, nostack, preserves_flags)
    );
    sum
}

/// Four bytes, widened to 32 bits.
///
/// # Safety
/// `from` is good for 4 bytes.
#[inline(always)]
unsafe fn four_bytes(from: *const u8) -> uint32x4_t {
    let bytes = vcreate_u8(u64::from(from.cast::<u32>().read_unaligned()));
    vmovl_u16(vget_low_u16(vmovl_u8(bytes)))
}

// SAFETY: each method is a few instructions that touch the bytes the trait says.
unsafe impl Simd for Neon {
    type Int = int32x4_t;
    type Float = float32x4_t;
    const LANES: usize = 4;
    const TILE: usize = 8;
    const DOTS_LIMIT: i32 = i32::MAX;
    const BIAS: i32 = 0;

    #[inline(always)]
    unsafe fn splat_int(value: i32) -> int32x4_t {
        vdupq_n_s32(value)
    }
    #[inline(always)]
    unsafe fn load_int(from: *const u8) -> int32x4_t {
        vreinterpretq_s32_u8(vld1q_u8(from))
    }
    #[inline(always)]
    unsafe fn store_int(to: *mut u8, a: int32x4_t) {
        vst1q_u8(to, vreinterpretq_u8_s32(a));
    }
    #[inline(always)]
    unsafe fn load_bytes_as_halves(from: *const u8) -> int32x4_t {
        vreinterpretq_s32_u16(vmovl_u8(vld1_u8(from)))
    }
    #[inline(always)]
    unsafe fn prefetch(at: *const u8) {
        asm!("prfm pldl1keep, [{0}]", in(reg) at, options(nostack, preserves_flags, readonly));
    }
    #[inline(always)]
    unsafe fn and(a: int32x4_t, b: int32x4_t) -> int32x4_t {
        vandq_s32(a, b)
    }
    #[inline(always)]
    unsafe fn or(a: int32x4_t, b: int32x4_t) -> int32x4_t {
        vorrq_s32(a, b)
    }
    #[inline(always)]
    unsafe fn shift_right<const N: u32>(a: int32x4_t) -> int32x4_t {
        // A shift to the left by less than nothing; the compiler makes it an immediate.
        vreinterpretq_s32_u16(vshlq_u16(vreinterpretq_u16_s32(a), vdupq_n_s16(-(N as i16))))
    }
    #[inline(always)]
    unsafe fn shift_left<const N: u32>(a: int32x4_t) -> int32x4_t {
        vreinterpretq_s32_u16(vshlq_u16(vreinterpretq_u16_s32(a), vdupq_n_s16(N as i16)))
    }
    #[inline(always)]
    unsafe fn look_up(table: &[u8; 16], places: int32x4_t) -> int32x4_t {
        vreinterpretq_s32_u8(vqtbl1q_u8(vld1q_u8(table.as_ptr()), vreinterpretq_u8_s32(places)))
    }
    #[inline(always)]
    unsafe fn broadcast(from: *const i8, offset: usize) -> int32x4_t {
        vdupq_n_s32(from.add(offset).cast::<i32>().read_unaligned())
    }
    #[inline(always)]
    unsafe fn begin_dots(sum: int32x4_t) -> int32x4_t {
        sum
    }
    #[inline(always)]
    unsafe fn dot(dots: int32x4_t, weights: int32x4_t, activations: int32x4_t) -> int32x4_t {
        // Weights are below 128: as signed bytes they are the same numbers.
        signed_dot(dots, weights, activations)
    }
    #[inline(always)]
    unsafe fn end_dots(_sum: int32x4_t, dots: int32x4_t) -> int32x4_t {
        dots
    }
    #[inline(always)]
    unsafe fn dot_biased(sum: int32x4_t, weights: int32x4_t, activations: int32x4_t) -> int32x4_t {
        let signed = veorq_s32(weights, vreinterpretq_s32_u8(vdupq_n_u8(0x80)));
        signed_dot(sum, signed, activations)
    }
    #[inline(always)]
    unsafe fn dot_halves(sum: int32x4_t, weights: int32x4_t, pair: *const i16) -> int32x4_t {
        let weights = vreinterpretq_s16_s32(weights);
        let pair = vreinterpretq_s16_s32(vdupq_n_s32(pair.cast::<i32>().read_unaligned()));
        let low = vmull_s16(vget_low_s16(weights), vget_low_s16(pair));
        let high = vmull_high_s16(weights, pair);
        vaddq_s32(sum, vpaddq_s32(low, high))
    }
    #[inline(always)]
    unsafe fn to_float(a: int32x4_t) -> float32x4_t {
        vcvtq_f32_s32(a)
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> float32x4_t {
        vdupq_n_f32(value)
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> float32x4_t {
        vld1q_f32(from)
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, a: float32x4_t) {
        vst1q_f32(to, a);
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> float32x4_t {
        let halves = vld1_u16(from.cast());
        let floats: float32x4_t;
        asm!(
            "fcvtl {0:v}.4s, {1:v}.4h",
            out(vreg) floats, in(vreg) halves,
            options(pure, nomem, nostack, preserves_flags)
        );
        floats
    }
    #[inline(always)]
    unsafe fn store_f16(to: *mut u16, a: float32x4_t) {
        let halves: uint16x4_t;
        asm!(
            "fcvtn {0:v}.4h, {1:v}.4s",
            out(vreg) halves, in(vreg) a,
            options(pure, nomem, nostack, preserves_flags)
        );
        vst1_u16(to, halves);
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> float32x4_t {
        vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(from.cast())))
    }
    #[inline(always)]
    unsafe fn load_half_powers(from: *const u8) -> float32x4_t {
        let lessened = vqsubq_u32(four_bytes(from), vdupq_n_u32(1));
        vreinterpretq_f32_u32(vshlq_n_u32::<23>(lessened))
    }
    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> float32x4_t {
        vcvtq_f32_u32(four_bytes(from))
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const u8) -> float32x4_t {
        let bytes = vcreate_s8(u64::from(from.cast::<u32>().read_unaligned()));
        vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(bytes))))
    }
    #[inline(always)]
    unsafe fn store_i8(to: *mut i8, a: float32x4_t) -> int32x4_t {
        let rounded = vcvtnq_s32_f32(a);
        let halves = vmovn_s32(rounded);
        let bytes = vmovn_s16(vcombine_s16(halves, halves));
        to.cast::<i32>().write_unaligned(vget_lane_s32::<0>(vreinterpret_s32_s8(bytes)));
        rounded
    }
    #[inline(always)]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vaddq_f32(a, b)
    }
    #[inline(always)]
    unsafe fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vsubq_f32(a, b)
    }
    #[inline(always)]
    unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vmulq_f32(a, b)
    }
    #[inline(always)]
    unsafe fn div(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vdivq_f32(a, b)
    }
    #[inline(always)]
    unsafe fn mul_add(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        vfmaq_f32(c, a, b)
    }
    #[inline(always)]
    unsafe fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vmaxq_f32(a, b)
    }
    #[inline(always)]
    unsafe fn min(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vminq_f32(a, b)
    }
    #[inline(always)]
    unsafe fn abs(a: float32x4_t) -> float32x4_t {
        vabsq_f32(a)
    }
    #[inline(always)]
    unsafe fn swap_pairs(a: float32x4_t) -> float32x4_t {
        vrev64q_f32(a)
    }
    #[inline(always)]
    unsafe fn round(a: float32x4_t) -> float32x4_t {
        vrndnq_f32(a)
    }
    #[inline(always)]
    unsafe fn scale_by_power(a: float32x4_t, n: float32x4_t) -> float32x4_t {
        let exponent = vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127));
        vmulq_f32(a, vreinterpretq_f32_s32(vshlq_n_s32::<23>(exponent)))
    }
    #[inline(always)]
    unsafe fn largest(a: float32x4_t) -> f32 {
        vmaxvq_f32(a)
    }
    #[inline(always)]
    unsafe fn sum_int(a: int32x4_t) -> i32 {
        vaddvq_s32(a)
    }
    #[inline(always)]
    unsafe fn add_int(a: int32x4_t, b: int32x4_t) -> int32x4_t {
        vaddq_s32(a, b)
    }
}
