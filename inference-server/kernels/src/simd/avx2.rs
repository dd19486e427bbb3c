//! [`Simd`] on AVX2 with FMA and F16C, and where it is there AVX-VNNI: 8 lanes.

use std::arch::x86_64::*;

use super::Simd;

/// AVX2, FMA, F16C; with `VNNI`, AVX-VNNI too.
#[derive(Clone, Copy)]
pub(crate) struct Vectors<const VNNI: bool>;

pub(crate) type Avx2 = Vectors<false>;
pub(crate) type AvxVnni = Vectors<true>;

// SAFETY: each method is a few instructions that touch the bytes the trait says.
unsafe impl<const VNNI: bool> Simd for Vectors<VNNI> {
    type Int = __m256i;
    type Float = __m256;
    const LANES: usize = 8;
    const TILE: usize = 4;
    const DOTS_LIMIT: i32 = if VNNI { i32::MAX } else { i16::MAX as i32 };
    const BIAS: i32 = if VNNI { 128 } else { 0 };

    #[inline(always)]
    unsafe fn splat_int(value: i32) -> __m256i {
        _mm256_set1_epi32(value)
    }
    #[inline(always)]
    unsafe fn load_int(from: *const u8) -> __m256i {
        _mm256_loadu_si256(from.cast())
    }
    #[inline(always)]
    unsafe fn store_int(to: *mut u8, a: __m256i) {
        _mm256_storeu_si256(to.cast(), a);
    }
    #[inline(always)]
    unsafe fn load_bytes_as_halves(from: *const u8) -> __m256i {
        _mm256_cvtepu8_epi16(_mm_loadu_si128(from.cast()))
    }
    #[inline(always)]
    unsafe fn prefetch(at: *const u8) {
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[inline(always)]
    unsafe fn and(a: __m256i, b: __m256i) -> __m256i {
        _mm256_and_si256(a, b)
    }
    #[inline(always)]
    unsafe fn or(a: __m256i, b: __m256i) -> __m256i {
        _mm256_or_si256(a, b)
    }
    #[inline(always)]
    unsafe fn shift_right<const N: u32>(a: __m256i) -> __m256i {
        _mm256_srl_epi16(a, _mm_cvtsi32_si128(N as i32))
    }
    #[inline(always)]
    unsafe fn shift_left<const N: u32>(a: __m256i) -> __m256i {
        _mm256_sll_epi16(a, _mm_cvtsi32_si128(N as i32))
    }
    #[inline(always)]
    unsafe fn look_up(table: &[u8; 16], places: __m256i) -> __m256i {
        let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
        _mm256_shuffle_epi8(table, places)
    }
    #[inline(always)]
    unsafe fn broadcast(from: *const i8, offset: usize) -> __m256i {
        _mm256_set1_epi32(from.add(offset).cast::<i32>().read_unaligned())
    }
    #[inline(always)]
    unsafe fn begin_dots(sum: __m256i) -> __m256i {
        if VNNI { sum } else { _mm256_setzero_si256() }
    }
    #[inline(always)]
    unsafe fn dot(dots: __m256i, weights: __m256i, activations: __m256i) -> __m256i {
        if VNNI {
            return _mm256_dpbusd_avx_epi32(dots, weights, activations);
        }
        _mm256_add_epi16(dots, _mm256_maddubs_epi16(weights, activations))
    }
    #[inline(always)]
    unsafe fn end_dots(sum: __m256i, dots: __m256i) -> __m256i {
        if VNNI {
            return dots;
        }
        _mm256_add_epi32(sum, _mm256_madd_epi16(dots, _mm256_set1_epi16(1)))
    }
    #[inline(always)]
    unsafe fn dot_biased(sum: __m256i, weights: __m256i, activations: __m256i) -> __m256i {
        if VNNI {
            return Self::dot(sum, weights, activations);
        }
        // Eight-bit weights would saturate: the sign moves to the activations, magnitudes are at most 128,
        // and 2 * 128 * 127 fits in 16 bits.
        let signed = _mm256_xor_si256(weights, _mm256_set1_epi8(-128));
        let dots = _mm256_maddubs_epi16(_mm256_abs_epi8(signed), _mm256_sign_epi8(activations, signed));
        Self::end_dots(sum, dots)
    }
    #[inline(always)]
    unsafe fn dot_halves(sum: __m256i, weights: __m256i, pair: *const i16) -> __m256i {
        let broadcast = _mm256_set1_epi32(pair.cast::<i32>().read_unaligned());
        if VNNI {
            return _mm256_dpwssd_avx_epi32(sum, weights, broadcast);
        }
        _mm256_add_epi32(sum, _mm256_madd_epi16(weights, broadcast))
    }
    #[inline(always)]
    unsafe fn to_float(a: __m256i) -> __m256 {
        _mm256_cvtepi32_ps(a)
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> __m256 {
        _mm256_set1_ps(value)
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        _mm256_loadu_ps(from)
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, a: __m256) {
        _mm256_storeu_ps(to, a)
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> __m256 {
        _mm256_cvtph_ps(_mm_loadu_si128(from.cast()))
    }
    #[inline(always)]
    unsafe fn store_f16(to: *mut u16, a: __m256) {
        _mm_storeu_si128(to.cast(), _mm256_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT }>(a))
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> __m256 {
        let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
    }
    #[inline(always)]
    unsafe fn load_half_powers(from: *const u8) -> __m256 {
        let exponents = _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast()));
        let lessened =
            _mm256_max_epi32(_mm256_sub_epi32(exponents, _mm256_set1_epi32(1)), _mm256_setzero_si256());
        _mm256_castsi256_ps(_mm256_slli_epi32::<23>(lessened))
    }
    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> __m256 {
        _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast())))
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const u8) -> __m256 {
        _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast())))
    }
    #[inline(always)]
    unsafe fn store_i8(to: *mut i8, a: __m256) -> __m256i {
        let rounded = _mm256_cvtps_epi32(a);
        let halves = _mm_packs_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256::<1>(rounded));
        _mm_storel_epi64(to.cast(), _mm_packs_epi16(halves, halves));
        rounded
    }
    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        _mm256_add_ps(a, b)
    }
    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        _mm256_sub_ps(a, b)
    }
    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        _mm256_mul_ps(a, b)
    }
    #[inline(always)]
    unsafe fn div(a: __m256, b: __m256) -> __m256 {
        _mm256_div_ps(a, b)
    }
    #[inline(always)]
    unsafe fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 {
        _mm256_fmadd_ps(a, b, c)
    }
    #[inline(always)]
    unsafe fn max(a: __m256, b: __m256) -> __m256 {
        _mm256_max_ps(a, b)
    }
    #[inline(always)]
    unsafe fn min(a: __m256, b: __m256) -> __m256 {
        _mm256_min_ps(a, b)
    }
    #[inline(always)]
    unsafe fn abs(a: __m256) -> __m256 {
        _mm256_andnot_ps(_mm256_set1_ps(-0.0), a)
    }
    #[inline(always)]
    unsafe fn swap_pairs(a: __m256) -> __m256 {
        _mm256_permute_ps::<0b10_11_00_01>(a)
    }
    #[inline(always)]
    unsafe fn round(a: __m256) -> __m256 {
        _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a)
    }
    #[inline(always)]
    unsafe fn scale_by_power(a: __m256, n: __m256) -> __m256 {
        let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
        _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent)))
    }
    #[inline(always)]
    unsafe fn largest(a: __m256) -> f32 {
        let four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
        let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }
    #[inline(always)]
    unsafe fn sum_int(a: __m256i) -> i32 {
        let four = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256::<1>(a));
        let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b1110>(four));
        _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b01>(two)))
    }
    #[inline(always)]
    unsafe fn add_int(a: __m256i, b: __m256i) -> __m256i {
        _mm256_add_epi32(a, b)
    }
}
