//! A slice that several workers write, each its own part.

use std::marker::PhantomData;

/// A `&mut [T]` handed to workers that write disjoint parts of it.
#[derive(Clone, Copy)]
pub(super) struct SharedSlice<'a, T> {
    start: *mut T,
    length: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: it is a `&mut [T]` whose holders promise, at each use, to touch disjoint parts.
unsafe impl<T: Send> Send for SharedSlice<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedSlice<'_, T> {}

impl<'a, T> SharedSlice<'a, T> {
    pub(super) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), length: slice.len(), borrow: PhantomData }
    }

    /// The first element's address, for kernels that compute their own places.
    pub(super) fn start(self) -> *mut T {
        self.start
    }

    /// `length` elements from `start`; none when they are not all inside.
    ///
    /// # Safety
    /// No other worker uses any of these elements while the result lives.
    pub(super) unsafe fn part(self, start: usize, length: usize) -> &'a mut [T] {
        let inside = start.checked_add(length).is_some_and(|end| end <= self.length);
        debug_assert!(inside);
        if !inside {
            return &mut [];
        }
        // SAFETY: inside the slice, and disjoint from every other part by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), length) }
    }
}
