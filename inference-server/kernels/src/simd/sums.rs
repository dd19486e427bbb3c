//! Sums whose order of additions is the same on every instruction set.

use super::Simd;

/// Elements that are added to sums of their own: the lanes of the widest vectors.
pub(crate) const SUMS: usize = 16;

/// Vectors that the narrowest instruction set holds them in.
pub(crate) const MOST_VECTORS: usize = 4;

/// Sixteen running sums: the same bits whatever [`Simd::LANES`] is, so that no rounding of activations to 8 bits falls
/// otherwise on another CPU. One vector holds them, or two, or four.
#[derive(Clone, Copy)]
pub(crate) struct Sums<S: Simd>([S::Float; MOST_VECTORS]);

impl<S: Simd> Sums<S> {
    const VECTORS: usize = SUMS / S::LANES;

    /// # Safety
    /// As [`Simd`], here and below.
    #[inline(always)]
    pub(crate) unsafe fn new() -> Self {
        Self([S::splat(0.0); MOST_VECTORS])
    }

    /// Adds sixteen elements.
    #[inline(always)]
    pub(crate) unsafe fn add(&mut self, elements: &[S::Float; MOST_VECTORS]) {
        for (sum, &element) in self.0.iter_mut().zip(elements).take(Self::VECTORS) {
            *sum = S::add(*sum, element);
        }
    }

    /// Adds the squares of sixteen elements.
    #[inline(always)]
    pub(crate) unsafe fn add_squares(&mut self, elements: &[S::Float; MOST_VECTORS]) {
        for (sum, &element) in self.0.iter_mut().zip(elements).take(Self::VECTORS) {
            *sum = S::mul_add(element, element, *sum);
        }
    }

    /// All sixteen, halves first.
    #[inline(always)]
    pub(crate) unsafe fn total(self) -> f32 {
        let mut sums = [0.0f32; SUMS];
        for v in 0..Self::VECTORS {
            S::store(sums.as_mut_ptr().add(v * S::LANES), self.0[v]);
        }
        let mut width = SUMS / 2;
        while width > 0 {
            for at in 0..width {
                sums[at] += sums[at + width];
            }
            width /= 2;
        }
        sums[0]
    }
}
