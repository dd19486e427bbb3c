//! Memory of the host that a card reads by itself: two halves, of which one is filled while the other is copied.

use std::ffi::c_void;

use cudarc::driver::result;
use cudarc::driver::sys;

use super::super::DeviceError;
use super::failed;
use crate::launch::Address;

/// Bytes of a half: enough that a copy takes far longer than it takes to start one.
const HALF: usize = 8 << 20;

/// Uploads from this size on go through here; the driver keeps smaller ones itself, and returns at once.
pub(super) const LEAST: usize = 1 << 20;

struct Half {
    memory: *mut c_void,
    /// Comes when the card has read it.
    copied: sys::CUevent,
}

pub(super) struct Pinned {
    halves: [Half; 2],
    next: usize,
}

impl Pinned {
    /// Reserves both halves, in the context that is current.
    pub(super) fn new() -> Result<Self, DeviceError> {
        let half = || -> Result<Half, result::DriverError> {
            let copied = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)?;
            // SAFETY: freed once, when this is dropped.
            match unsafe { result::malloc_host(HALF, sys::CU_MEMHOSTALLOC_PORTABLE) } {
                Ok(memory) => Ok(Half { memory, copied }),
                Err(error) => {
                    // SAFETY: just created, and on no stream.
                    let _ = unsafe { result::event::destroy(copied) };
                    Err(error)
                }
            }
        };
        let failed = failed("reserving memory that a card reads by itself");
        let first = half().map_err(&failed)?;
        match half() {
            Ok(second) => Ok(Self { halves: [first, second], next: 0 }),
            Err(error) => {
                drop_half(&first);
                Err(failed(error))
            }
        }
    }

    /// Copies `bytes` to `to`, in the stream's order. They may change as soon as this returns.
    pub(super) fn upload(
        &mut self,
        to: Address,
        bytes: &[u8],
        stream: sys::CUstream,
    ) -> Result<(), DeviceError> {
        for (index, part) in bytes.chunks(HALF).enumerate() {
            let half = &self.halves[self.next];
            // SAFETY: the event lives as long as this; one that was never recorded has come.
            unsafe { result::event::synchronize(half.copied) }.map_err(failed("copying to the card"))?;
            // SAFETY: the half is as long as the longest part, and the card has read what was in it.
            let staged = unsafe {
                std::ptr::copy_nonoverlapping(part.as_ptr(), half.memory.cast::<u8>(), part.len());
                std::slice::from_raw_parts(half.memory.cast::<u8>(), part.len())
            };
            let at = to.offset((index * HALF) as u64);
            // SAFETY: the device trait's contract on addresses; the half is not written before the event comes.
            unsafe {
                result::memcpy_htod_async(at.0, staged, stream)
                    .and_then(|()| result::event::record(half.copied, stream))
            }
            .map_err(failed("copying to the card"))?;
            self.next = 1 - self.next;
        }
        Ok(())
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.halves.iter().for_each(drop_half);
    }
}

fn drop_half(half: &Half) {
    // SAFETY: the device has waited for what ran, and nobody else has these.
    unsafe {
        let _ = result::event::destroy(half.copied);
        let _ = result::free_host(half.memory);
    }
}
