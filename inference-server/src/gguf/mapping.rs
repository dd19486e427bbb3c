//! The one place that maps a file, and beside the kernels the only one with `unsafe`.
#![allow(unsafe_code)] // mmap: the kernel cannot promise that nobody changes the file underneath.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::OnceLock;

use memmap2::{Mmap, UncheckedAdvice};

/// A read-only, shared mapping of a whole file.
#[derive(Debug)]
pub(crate) struct Mapping(Mmap);

impl Mapping {
    /// Maps `file`, which nobody may rewrite or shorten in place until the mapping is dropped: that is, while
    /// the model loads. Afterwards the weights are in memory of our own.
    fn open(file: &File) -> io::Result<Self> {
        // SAFETY: the mapping is read-only and seen as bytes only, for which every value is valid; that they
        // stay the same is the system's promise only where nobody writes to the file.
        // - `hf://`: ours to keep. A file is fetched to another name, verified, renamed, and never opened for
        //   writing again; a newer one takes the name and leaves this one as it is.
        // - `file://` and `pvc://`: somebody else's, whom no lock binds, so it is assumed that they replace
        //   files by rename too. Weights rewritten meanwhile are wrong and nothing worse: headers, with
        //   all text and offsets, are read and not mapped. A file cut short ends the process with SIGBUS at the
        //   first page past its new end; a pod then starts again and says that the file is truncated.
        let map = unsafe { Mmap::map(file)? };
        Ok(Self(map))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Tells the kernel that `range` will not be read again soon, so its pages leave our resident set.
    /// Reading it again is correct and costs a page fault.
    pub(crate) fn release(&self, range: Range<usize>) {
        let Range { start, end } = pages(range, self.0.len());
        if start >= end {
            return;
        }
        // SAFETY: MADV_DONTNEED on a read-only file mapping drops clean page-table entries; a later read
        // faults the same bytes in again from the file.
        // A refusal costs memory, not correctness, so it is not an error.
        let _ = unsafe { self.0.unchecked_advise_range(UncheckedAdvice::DontNeed, start, end - start) };
    }
}

/// The pages to give back for `range` of a mapping of `length` bytes. The first goes even where the range has only its
/// end, so that ranges that follow one another leave none between them; the last stays for the range that has its end.
fn pages(range: Range<usize>, length: usize) -> Range<usize> {
    // Covers every size of a page.
    const PAGE: usize = 64 * 1024;
    let floor = |at: usize| at.min(length) / PAGE * PAGE;
    floor(range.start)..floor(range.end)
}

/// A file that is read in parts, and mapped once all of it is wanted.
#[derive(Debug)]
pub(crate) struct FileBytes {
    file: File,
    length: u64,
    mapping: OnceLock<Mapping>,
}

impl FileBytes {
    pub(crate) fn new(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { file, length, mapping: OnceLock::new() })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Its length when it was opened.
    pub(crate) fn len(&self) -> u64 {
        self.length
    }

    /// A copy of `range`, which must lie in the file.
    pub(crate) fn read(&self, range: Range<usize>) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; range.len()];
        self.file.read_exact_at(&mut bytes, range.start as u64)?;
        Ok(bytes)
    }

    /// Maps the file, unless it is.
    pub(crate) fn map(&self) -> io::Result<()> {
        if self.mapping.get().is_none() {
            // Two threads at once would map it twice, and one of the mappings is dropped.
            self.mapping.set(Mapping::open(&self.file)?).ok();
        }
        Ok(())
    }

    /// The mapping, once there is one.
    pub(crate) fn mapping(&self) -> Option<&Mapping> {
        self.mapping.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Matrices of a megabyte would else keep a page each, and a model of experts has thousands.
    #[test]
    fn ranges_that_follow_one_another_leave_no_page_between_them() {
        const STEP: usize = 100_000;
        const LENGTH: usize = 40 * STEP;
        let released = (0..LENGTH).step_by(STEP).map(|start| pages(start..start + STEP, LENGTH));
        let end = released.fold(0, |end, pages| {
            assert_eq!(pages.start, end);
            assert!(pages.start % 65_536 == 0 && pages.end % 65_536 == 0, "{pages:?} are no whole pages");
            pages.end
        });
        assert!(LENGTH - end < 65_536, "{end} of {LENGTH}");
        // A neighbour's end may lie in the last page.
        assert_eq!(pages(10..70_000, LENGTH), 0..65_536);
        assert_eq!(pages(10..60_000, LENGTH), 0..0);
        assert_eq!(pages(0..usize::MAX, 70_000), 0..65_536);
    }
}
