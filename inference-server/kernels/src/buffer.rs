//! Large zeroed memory straight from the kernel, on huge pages where it gives them.

use memmap2::MmapMut;

/// Zeroed bytes, aligned to a page. Pages become resident when first written.
#[derive(Debug)]
pub struct Buffer(MmapMut);

impl Buffer {
    /// `length` zeroed bytes (one page for 0).
    ///
    /// # Errors
    /// The system's, when it has no such room.
    pub fn zeroed(length: usize) -> std::io::Result<Self> {
        let map = MmapMut::map_anon(length.max(1))?;
        // Fewer TLB misses on streaming reads; a kernel without huge pages says no and nothing is lost.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Self(map))
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// The bytes as 16-bit words, such as half floats.
    pub fn halves(&self) -> &[u16] {
        // SAFETY: every bit pattern is a valid u16, and a page is aligned for it, so nothing is cut off
        // but an odd last byte.
        unsafe { self.0.align_to::<u16>().1 }
    }

    /// The bytes as 16-bit words, to write.
    pub fn halves_mut(&mut self) -> &mut [u16] {
        // SAFETY: as in `halves`, and the borrow is exclusive.
        unsafe { self.0.align_to_mut::<u16>().1 }
    }
}
