//! One start of a kernel, as a value: what a device runs, records and replays.

use bytemuck::{NoUninit, Pod, Zeroable};

/// A place in device memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Address(pub u64);

impl Address {
    /// Nowhere: what an operation does without.
    pub const NULL: Self = Self(0);

    /// `bytes` further on.
    #[must_use]
    pub fn offset(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }
}

/// The most bytes that a kernel's parameters have.
const ROOM: usize = 128;

/// A kernel's one parameter, a struct, by its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(16))]
pub struct Parameters {
    bytes: [u8; ROOM],
    length: usize,
}

impl Parameters {
    /// The bytes of `value`.
    pub fn new<T: NoUninit>(value: &T) -> Self {
        const { assert!(size_of::<T>() <= ROOM) };
        let mut bytes = [0; ROOM];
        bytes[..size_of::<T>()].copy_from_slice(bytemuck::bytes_of(value));
        Self { bytes, length: size_of::<T>() }
    }

    /// The struct, aligned to 16 bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// A kernel's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The kernel's name, unique over all modules.
    pub kernel: &'static str,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block, whole warps.
    pub threads: u32,
    /// Its parameter.
    pub parameters: Parameters,
}

impl Launch {
    /// A launch of `kernel`.
    pub fn new<T: NoUninit>(kernel: &'static str, grid: [u32; 3], threads: u32, parameters: &T) -> Self {
        Self { kernel, grid, threads, parameters: Parameters::new(parameters) }
    }
}
