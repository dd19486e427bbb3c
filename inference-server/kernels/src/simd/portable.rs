//! [`Simd`] in plain Rust: 8 lanes as arrays, for every other CPU.

use half::{bf16, f16};

use super::Simd;

const LANES: usize = 8;

/// No instruction set beyond the target's baseline.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

#[inline(always)]
fn map<T: Copy, U>(a: [T; LANES], f: impl Fn(T) -> U) -> [U; LANES] {
    std::array::from_fn(|i| f(a[i]))
}

#[inline(always)]
fn zip<T: Copy, U>(a: [T; LANES], b: [T; LANES], f: impl Fn(T, T) -> U) -> [U; LANES] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

/// Applies `f` to the two 16-bit halves of each lane.
#[inline(always)]
fn halves(a: [i32; LANES], f: impl Fn(u16) -> u16) -> [i32; LANES] {
    map(a, |lane| {
        let lane = lane as u32;
        (u32::from(f(lane as u16)) | (u32::from(f((lane >> 16) as u16)) << 16)) as i32
    })
}

/// Adds to each lane the products of its bytes, lessened by `bias`, with its signed ones.
#[inline(always)]
fn add_products(
    sum: [i32; LANES],
    weights: [i32; LANES],
    activations: [i32; LANES],
    bias: i32,
) -> [i32; LANES] {
    std::array::from_fn(|i| {
        let (w, x) = (weights[i].to_le_bytes(), activations[i].to_le_bytes());
        (0..4).fold(sum[i], |sum, at| sum + (i32::from(w[at]) - bias) * i32::from(x[at] as i8))
    })
}

/// Reads `N` bytes.
///
/// # Safety
/// `from` is good for `N` bytes.
#[inline(always)]
unsafe fn bytes<const N: usize>(from: *const u8) -> [u8; N] {
    from.cast::<[u8; N]>().read_unaligned()
}

// SAFETY: plain reads and writes of what the trait says.
unsafe impl Simd for Portable {
    type Int = [i32; LANES];
    type Float = [f32; LANES];
    const LANES: usize = LANES;
    const TILE: usize = 4;
    const DOTS_LIMIT: i32 = i32::MAX;
    const BIAS: i32 = 0;

    #[inline(always)]
    unsafe fn splat_int(value: i32) -> Self::Int {
        [value; LANES]
    }
    #[inline(always)]
    unsafe fn load_int(from: *const u8) -> Self::Int {
        from.cast::<[i32; LANES]>().read_unaligned()
    }
    #[inline(always)]
    unsafe fn store_int(to: *mut u8, a: Self::Int) {
        to.cast::<[i32; LANES]>().write_unaligned(a);
    }
    #[inline(always)]
    unsafe fn load_bytes_as_halves(from: *const u8) -> Self::Int {
        let pairs = from.cast::<[[u8; 2]; LANES]>().read_unaligned();
        std::array::from_fn(|i| i32::from(pairs[i][0]) | (i32::from(pairs[i][1]) << 16))
    }
    #[inline(always)]
    unsafe fn prefetch(_at: *const u8) {}
    #[inline(always)]
    unsafe fn and(a: Self::Int, b: Self::Int) -> Self::Int {
        zip(a, b, |a, b| a & b)
    }
    #[inline(always)]
    unsafe fn or(a: Self::Int, b: Self::Int) -> Self::Int {
        zip(a, b, |a, b| a | b)
    }
    #[inline(always)]
    unsafe fn shift_right<const N: u32>(a: Self::Int) -> Self::Int {
        halves(a, |half| half >> N)
    }
    #[inline(always)]
    unsafe fn shift_left<const N: u32>(a: Self::Int) -> Self::Int {
        halves(a, |half| half << N)
    }
    #[inline(always)]
    unsafe fn look_up(table: &[u8; 16], places: Self::Int) -> Self::Int {
        map(places, |lane| i32::from_le_bytes(lane.to_le_bytes().map(|place| table[usize::from(place & 15)])))
    }
    #[inline(always)]
    unsafe fn broadcast(from: *const i8, offset: usize) -> Self::Int {
        [i32::from_le_bytes(bytes(from.add(offset).cast())); LANES]
    }
    #[inline(always)]
    unsafe fn begin_dots(sum: Self::Int) -> Self::Int {
        sum
    }
    #[inline(always)]
    unsafe fn dot(dots: Self::Int, weights: Self::Int, activations: Self::Int) -> Self::Int {
        add_products(dots, weights, activations, 0)
    }
    #[inline(always)]
    unsafe fn end_dots(_sum: Self::Int, dots: Self::Int) -> Self::Int {
        dots
    }
    #[inline(always)]
    unsafe fn dot_biased(sum: Self::Int, weights: Self::Int, activations: Self::Int) -> Self::Int {
        add_products(sum, weights, activations, 128)
    }
    #[inline(always)]
    unsafe fn dot_halves(sum: Self::Int, weights: Self::Int, pair: *const i16) -> Self::Int {
        let pair = pair.cast::<[i16; 2]>().read_unaligned();
        zip(sum, weights, |sum, lane| {
            sum + i32::from(lane as i16) * i32::from(pair[0]) + (lane >> 16) * i32::from(pair[1])
        })
    }
    #[inline(always)]
    unsafe fn to_float(a: Self::Int) -> Self::Float {
        map(a, |a| a as f32)
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::Float {
        [value; LANES]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::Float {
        from.cast::<[f32; LANES]>().read_unaligned()
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, a: Self::Float) {
        to.cast::<[f32; LANES]>().write_unaligned(a)
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> Self::Float {
        map(from.cast::<[u16; LANES]>().read_unaligned(), |bits| f16::from_bits(bits).to_f32_const())
    }
    #[inline(always)]
    unsafe fn store_f16(to: *mut u16, a: Self::Float) {
        to.cast::<[u16; LANES]>().write_unaligned(map(a, |a| f16::from_f32(a).to_bits()))
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> Self::Float {
        map(from.cast::<[u16; LANES]>().read_unaligned(), |bits| bf16::from_bits(bits).to_f32_const())
    }
    #[inline(always)]
    unsafe fn load_half_powers(from: *const u8) -> Self::Float {
        map(bytes::<LANES>(from), |e| f32::from_bits(u32::from(e.saturating_sub(1)) << 23))
    }
    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> Self::Float {
        map(bytes::<LANES>(from), f32::from)
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const u8) -> Self::Float {
        map(bytes::<LANES>(from), |byte| f32::from(byte as i8))
    }
    #[inline(always)]
    unsafe fn store_i8(to: *mut i8, a: Self::Float) -> Self::Int {
        let rounded = map(a, |a| a.round_ties_even() as i32);
        to.cast::<[i8; LANES]>().write_unaligned(map(rounded, |value| value as i8));
        rounded
    }
    #[inline(always)]
    unsafe fn add(a: Self::Float, b: Self::Float) -> Self::Float {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: Self::Float, b: Self::Float) -> Self::Float {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: Self::Float, b: Self::Float) -> Self::Float {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(a: Self::Float, b: Self::Float) -> Self::Float {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn mul_add(a: Self::Float, b: Self::Float, c: Self::Float) -> Self::Float {
        // Not `f32::mul_add`: without the instruction that is a call into libm.
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn max(a: Self::Float, b: Self::Float) -> Self::Float {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn min(a: Self::Float, b: Self::Float) -> Self::Float {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn abs(a: Self::Float) -> Self::Float {
        map(a, f32::abs)
    }
    #[inline(always)]
    unsafe fn swap_pairs(a: Self::Float) -> Self::Float {
        std::array::from_fn(|i| a[i ^ 1])
    }
    #[inline(always)]
    unsafe fn round(a: Self::Float) -> Self::Float {
        map(a, f32::round_ties_even)
    }
    #[inline(always)]
    unsafe fn scale_by_power(a: Self::Float, n: Self::Float) -> Self::Float {
        zip(a, n, |a, n| a * f32::from_bits(((n as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    unsafe fn largest(a: Self::Float) -> f32 {
        a.iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }
    #[inline(always)]
    unsafe fn sum_int(a: Self::Int) -> i32 {
        a.iter().sum()
    }
    #[inline(always)]
    unsafe fn add_int(a: Self::Int, b: Self::Int) -> Self::Int {
        zip(a, b, i32::wrapping_add)
    }
}
