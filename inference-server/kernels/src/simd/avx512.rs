//! [`Simd`] on AVX-512 with VNNI: 16 lanes.

use std::arch::asm;
use std::arch::x86_64::*;

use super::Simd;

/// AVX-512 F, BW, DQ, VL, VNNI.
#[derive(Clone, Copy)]
pub(crate) struct Avx512;

/// [`Simd::broadcast`]. As `asm!`, which stays where it is: left to itself, the compiler reads many activations ahead, more than
/// registers hold, and stores them again.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn broadcast(from: *const i8, offset: usize) -> __m512i {
    let all: __m512i;
    asm!(
        "vpbroadcastd {}, dword ptr [{} + {}]",
        out(zmm_reg) all, in(reg) from, in(reg) offset, options(nostack, readonly, preserves_flags),
    );
    all
}

/// [`Simd::dot_at`] as one instruction, at its place as [`broadcast`] is.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn dot_at(mut dots: __m512i, weights: __m512i, from: *const i8, offset: usize) -> __m512i {
    asm!(
        "vpdpbusd {}, {}, dword ptr [{} + {}]{{1to16}}",
        inout(zmm_reg) dots, in(zmm_reg) weights, in(reg) from, in(reg) offset,
        options(nostack, readonly, preserves_flags),
    );
    dots
}

// SAFETY: each method is one or two instructions that touch the bytes the trait says.
unsafe impl Simd for Avx512 {
    type Int = __m512i;
    type Float = __m512;
    const LANES: usize = 16;
    const TILE: usize = 8;
    const DOTS_LIMIT: i32 = i32::MAX;
    const BIAS: i32 = 128;

    #[inline(always)]
    unsafe fn splat_int(value: i32) -> __m512i {
        _mm512_set1_epi32(value)
    }
    #[inline(always)]
    unsafe fn load_int(from: *const u8) -> __m512i {
        _mm512_loadu_si512(from.cast())
    }
    #[inline(always)]
    unsafe fn store_int(to: *mut u8, a: __m512i) {
        _mm512_storeu_si512(to.cast(), a);
    }
    #[inline(always)]
    unsafe fn load_bytes_as_halves(from: *const u8) -> __m512i {
        _mm512_cvtepu8_epi16(_mm256_loadu_si256(from.cast()))
    }
    #[inline(always)]
    unsafe fn prefetch(at: *const u8) {
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[inline(always)]
    unsafe fn and(a: __m512i, b: __m512i) -> __m512i {
        _mm512_and_si512(a, b)
    }
    #[inline(always)]
    unsafe fn or(a: __m512i, b: __m512i) -> __m512i {
        _mm512_or_si512(a, b)
    }
    #[inline(always)]
    unsafe fn shift_right<const N: u32>(a: __m512i) -> __m512i {
        _mm512_srli_epi16::<N>(a)
    }
    #[inline(always)]
    unsafe fn shift_left<const N: u32>(a: __m512i) -> __m512i {
        _mm512_slli_epi16::<N>(a)
    }
    #[inline(always)]
    unsafe fn look_up(table: &[u8; 16], places: __m512i) -> __m512i {
        let table = _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast()));
        _mm512_shuffle_epi8(table, places)
    }
    #[inline(always)]
    unsafe fn broadcast(from: *const i8, offset: usize) -> __m512i {
        broadcast(from, offset)
    }
    #[inline(always)]
    unsafe fn begin_dots(sum: __m512i) -> __m512i {
        sum
    }
    #[inline(always)]
    unsafe fn dot(dots: __m512i, weights: __m512i, activations: __m512i) -> __m512i {
        _mm512_dpbusd_epi32(dots, weights, activations)
    }
    #[inline(always)]
    unsafe fn dot_at(dots: __m512i, weights: __m512i, from: *const i8, offset: usize) -> __m512i {
        dot_at(dots, weights, from, offset)
    }
    #[inline(always)]
    unsafe fn end_dots(_sum: __m512i, dots: __m512i) -> __m512i {
        dots
    }
    #[inline(always)]
    unsafe fn dot_biased(sum: __m512i, weights: __m512i, activations: __m512i) -> __m512i {
        Self::dot(sum, weights, activations)
    }
    #[inline(always)]
    unsafe fn dot_halves(sum: __m512i, weights: __m512i, pair: *const i16) -> __m512i {
        _mm512_dpwssd_epi32(sum, weights, _mm512_set1_epi32(pair.cast::<i32>().read_unaligned()))
    }
    #[inline(always)]
    unsafe fn to_float(a: __m512i) -> __m512 {
        _mm512_cvtepi32_ps(a)
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> __m512 {
        _mm512_set1_ps(value)
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        _mm512_loadu_ps(from)
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, a: __m512) {
        _mm512_storeu_ps(to, a)
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> __m512 {
        _mm512_cvtph_ps(_mm256_loadu_si256(from.cast()))
    }
    #[inline(always)]
    unsafe fn store_f16(to: *mut u16, a: __m512) {
        _mm256_storeu_si256(to.cast(), _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT }>(a))
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> __m512 {
        let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
    }
    #[inline(always)]
    unsafe fn load_half_powers(from: *const u8) -> __m512 {
        let exponents = _mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()));
        let lessened =
            _mm512_max_epi32(_mm512_sub_epi32(exponents, _mm512_set1_epi32(1)), _mm512_setzero_si512());
        _mm512_castsi512_ps(_mm512_slli_epi32::<23>(lessened))
    }
    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> __m512 {
        _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast())))
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const u8) -> __m512 {
        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast())))
    }
    #[inline(always)]
    unsafe fn store_i8(to: *mut i8, a: __m512) -> __m512i {
        let rounded = _mm512_cvtps_epi32(a);
        _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(rounded));
        rounded
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        _mm512_add_ps(a, b)
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        _mm512_sub_ps(a, b)
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        _mm512_mul_ps(a, b)
    }
    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        _mm512_div_ps(a, b)
    }
    #[inline(always)]
    unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        _mm512_fmadd_ps(a, b, c)
    }
    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        _mm512_max_ps(a, b)
    }
    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        _mm512_min_ps(a, b)
    }
    #[inline(always)]
    unsafe fn abs(a: __m512) -> __m512 {
        _mm512_abs_ps(a)
    }
    #[inline(always)]
    unsafe fn swap_pairs(a: __m512) -> __m512 {
        _mm512_permute_ps::<0b10_11_00_01>(a)
    }
    #[inline(always)]
    unsafe fn round(a: __m512) -> __m512 {
        _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a)
    }
    #[inline(always)]
    unsafe fn scale_by_power(a: __m512, n: __m512) -> __m512 {
        _mm512_scalef_ps(a, n)
    }
    #[inline(always)]
    unsafe fn largest(a: __m512) -> f32 {
        _mm512_reduce_max_ps(a)
    }
    #[inline(always)]
    unsafe fn sum_int(a: __m512i) -> i32 {
        _mm512_reduce_add_epi32(a)
    }
    #[inline(always)]
    unsafe fn add_int(a: __m512i, b: __m512i) -> __m512i {
        _mm512_add_epi32(a, b)
    }
}
