//! The one place that maps a file.
#![allow(unsafe_code)] // mmap: the kernel cannot promise that nobody changes the file underneath.

use std::fs::File;
use std::ops::Range;

use memmap2::{Mmap, UncheckedAdvice};

/// A read-only, shared mapping of a whole file.
#[derive(Debug)]
pub(super) struct Mapping(Mmap);

impl Mapping {
    /// Maps `file`. The caller keeps to files that are replaced by rename, never rewritten in place.
    pub(super) fn open(file: &File) -> std::io::Result<Self> {
        // SAFETY: the mapping is read-only and only ever seen as bytes, for which every value is valid.
        // A writer could still change bytes under a reader: model files are fetched to a temporary name,
        // verified and renamed, so nobody writes to one that is open here.
        let map = unsafe { Mmap::map(file)? };
        Ok(Self(map))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Tells the kernel that `range` will not be read again soon, so its pages leave our resident set.
    /// Reading it again is correct and costs a page fault.
    pub(super) fn release(&self, range: Range<usize>) {
        // Whole pages inside the range only: a neighbour may still be needed. 64 KiB covers every page size.
        const PAGE: usize = 64 * 1024;
        let start = range.start.next_multiple_of(PAGE);
        let end = range.end.min(self.0.len()) / PAGE * PAGE;
        if start >= end {
            return;
        }
        // SAFETY: MADV_DONTNEED on a read-only file mapping drops clean page-table entries; a later read
        // faults the same bytes in again from the file.
        // A refusal costs memory, not correctness, so it is not an error.
        let _ = unsafe { self.0.unchecked_advise_range(UncheckedAdvice::DontNeed, start, end - start) };
    }
}
