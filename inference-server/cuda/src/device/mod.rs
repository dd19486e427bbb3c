//! What kernels run on: a card behind CUDA's driver, or, in tests, the emulator.

mod driver;
mod gauges;

pub use driver::{Card, Cards, CudaDevice, DeviceChoice, NoDevice};
pub use gauges::{CardGauges, Reading};

use bytemuck::{AnyBitPattern, NoUninit};

use crate::launch::{Address, Launch};

/// What a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceDescription {
    /// The maker's name for it.
    pub name: String,
    /// Its identifier, as `nvidia-smi -L` prints it; empty of the emulator. A slice's begins with `MIG-` where NVML is there.
    pub uuid: String,
    /// Compute capability; (0, 0) of the emulator.
    pub capability: (u32, u32),
    /// Bytes of memory.
    pub memory: u64,
}

/// A device did not do what it was told. Where it is lost, nothing that it held is left.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// There is no such room.
    #[error("{wanted} bytes of device memory are wanted, {free} are free")]
    OutOfMemory {
        /// Bytes asked for.
        wanted: u64,
        /// Bytes that were free.
        free: u64,
    },
    /// There is no room for what an act needs beside.
    #[error("the card is full while {act}: {problem}")]
    Full {
        /// What was asked of it.
        act: &'static str,
        /// The device's words.
        problem: String,
    },
    /// A kernel could not be started.
    #[error("kernel {kernel}: {problem}")]
    Launch {
        /// Its name.
        kernel: String,
        /// The device's words.
        problem: String,
    },
    /// The device refused, or failed at what it had begun.
    #[error("{act}: {problem}")]
    Failed {
        /// What was asked of it.
        act: &'static str,
        /// The device's words.
        problem: String,
    },
    /// The device is gone: fallen off the bus, reset, or broken beyond this process.
    #[error("the device is lost while {act}: {problem}")]
    Lost {
        /// What was asked of it.
        act: &'static str,
        /// The device's words.
        problem: String,
    },
}

/// A product of plain matrices, for many rows: `out[m, n] = sum over k of input[m, k] * weights[n, k]`, all row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gemm {
    /// bfloat16 `[rows, stride]`.
    pub weights: Address,
    /// bfloat16 `[tokens, input_stride]`.
    pub input: Address,
    /// float `[tokens, out_stride]`.
    pub out: Address,
    /// Rows of the weights.
    pub rows: usize,
    /// Columns of both.
    pub columns: usize,
    /// Rows of the input.
    pub tokens: usize,
    /// Columns from one row of the weights to the next.
    pub stride: usize,
    /// Columns from one row of the input to the next.
    pub input_stride: usize,
    /// Columns from one row of the result to the next.
    pub out_stride: usize,
    /// True when the product is added to what is there.
    pub add: bool,
}

/// A recording that a device holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Recording(pub usize);

/// Runs launches in the order in which they are given. Memory that is freed, or was never had, must not be named:
/// addresses are the caller's to keep.
pub trait Device: Send {
    /// What it is.
    fn description(&self) -> &DeviceDescription;

    /// Bytes of memory that are free now.
    ///
    /// # Errors
    /// [`DeviceError`], as from everything here.
    fn free_memory(&self) -> Result<u64, DeviceError>;

    /// Memory of `bytes`, aligned to 256, with anything in it.
    ///
    /// # Errors
    /// [`DeviceError::OutOfMemory`] where there is no such room.
    fn allocate(&mut self, bytes: u64) -> Result<Address, DeviceError>;

    /// Gives back what [`Self::allocate`] gave. What runs meanwhile is waited for.
    ///
    /// # Errors
    /// [`DeviceError`].
    fn free(&mut self, memory: Address) -> Result<(), DeviceError>;

    /// Gives back all that [`Self::allocate`] gave. What runs meanwhile is waited for.
    ///
    /// # Errors
    /// [`DeviceError`]; what could be given back is, all the same.
    fn free_all(&mut self) -> Result<(), DeviceError>;

    /// Copies `bytes` to the device. They may change as soon as this returns.
    ///
    /// # Errors
    /// [`DeviceError`].
    fn upload(&mut self, to: Address, bytes: &[u8]) -> Result<(), DeviceError>;

    /// Waits for all that was given, then copies from the device.
    ///
    /// # Errors
    /// [`DeviceError`], of what was given before too.
    fn download(&mut self, from: Address, bytes: &mut [u8]) -> Result<(), DeviceError>;

    /// Sets `bytes` bytes to `value`.
    ///
    /// # Errors
    /// [`DeviceError`].
    fn fill(&mut self, at: Address, value: u8, bytes: u64) -> Result<(), DeviceError>;

    /// Copies within the device; the two do not overlap.
    ///
    /// # Errors
    /// [`DeviceError`].
    fn copy(&mut self, from: Address, to: Address, bytes: u64) -> Result<(), DeviceError>;

    /// Starts a kernel.
    ///
    /// # Errors
    /// [`DeviceError::Launch`].
    fn launch(&mut self, launch: &Launch) -> Result<(), DeviceError>;

    /// True when [`Self::multiply`] is there: else products of many rows are for our own kernels.
    fn multiplies(&self) -> bool;

    /// Multiplies plain matrices.
    ///
    /// # Errors
    /// [`DeviceError`].
    fn multiply(&mut self, gemm: &Gemm) -> Result<(), DeviceError>;

    /// Sums `count` floats from `at` on over all devices of the group, in place, in the order of what was given: each
    /// device is told the same. Of a device that is alone, nothing.
    ///
    /// # Errors
    /// [`DeviceError::Lost`], with its words, when another device of the group failed, here or where what was given is
    /// waited for.
    fn all_reduce(&mut self, at: Address, count: usize) -> Result<(), DeviceError>;

    /// Ends the group for `problem`: nobody waits for this device any more. A device that is dropped does it too.
    fn abandon(&mut self, problem: &str);

    /// Waits for all that was given.
    ///
    /// # Errors
    /// [`DeviceError`], of what was given before too.
    fn synchronize(&mut self) -> Result<(), DeviceError>;

    /// From here on launches, products and sums are written down instead of run.
    ///
    /// # Errors
    /// [`DeviceError`].
    fn begin_recording(&mut self) -> Result<(), DeviceError>;

    /// Ends what [`Self::begin_recording`] began.
    ///
    /// # Errors
    /// [`DeviceError`]; then launches are run again.
    fn end_recording(&mut self) -> Result<Recording, DeviceError>;

    /// Runs all of a recording.
    ///
    /// # Errors
    /// [`DeviceError`].
    fn replay(&mut self, recording: Recording) -> Result<(), DeviceError>;

    /// Lets go of a recording, which is not replayed any more. One that runs ends first.
    ///
    /// # Errors
    /// [`DeviceError`].
    fn forget(&mut self, recording: Recording) -> Result<(), DeviceError>;
}

impl dyn Device + '_ {
    /// Memory that holds `values`.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn allocate_with<T: NoUninit>(&mut self, values: &[T]) -> Result<Address, DeviceError> {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let at = self.allocate(bytes.len().max(1) as u64)?;
        self.upload(at, bytes)?;
        Ok(at)
    }

    /// `count` values from `from` on.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn read<T: AnyBitPattern + NoUninit>(
        &mut self,
        from: Address,
        count: usize,
    ) -> Result<Vec<T>, DeviceError> {
        let mut values = vec![T::zeroed(); count];
        self.download(from, bytemuck::cast_slice_mut(&mut values))?;
        Ok(values)
    }
}
