//! The exponential, by Cephes' polynomial (`expf.c`): within 2 ulp.

use super::Simd;

/// `e^x` in each lane. Below -87 the result is as at -87, which no sum of probabilities can see.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::Float) -> S::Float {
    let x = S::min(S::max(x, S::splat(-87.0)), S::splat(88.0));
    let n = S::round(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
    // ln 2 in two parts, so that the reduction is exact.
    let r = S::mul_add(n, S::splat(-0.693_359_4), x);
    let r = S::mul_add(n, S::splat(2.121_944_4e-4), r);
    let mut y = S::splat(1.987_569_1e-4);
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        y = S::mul_add(y, r, S::splat(c));
    }
    let y = S::add(S::mul_add(y, S::mul(r, r), r), S::splat(1.0));
    S::scale_by_power(y, n)
}
