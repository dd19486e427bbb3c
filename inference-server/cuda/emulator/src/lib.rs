//! A device for tests: every kernel as a host program, thread by thread (`emulator.cpp`), so that what CUDA C++ says is
//! run where there is no card. Buffers end at pages that nobody may touch, fresh memory is full of NaN, and a barrier
//! that not all threads reach is an error.
#![allow(unsafe_code)] // Kernels take addresses, as on a card.

mod group;

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use group::Member;
use half::bf16;
use weighbridge_cuda::device::{Device, DeviceDescription, DeviceError, Gemm, Recording};
use weighbridge_cuda::launch::{Address, Launch};

unsafe extern "C" {
    fn emulator_launch(
        name: *const c_char,
        grid: *const u32,
        threads: u32,
        shared_bytes: u32,
        parameters: *const c_void,
        parameter_bytes: usize,
    ) -> *const c_char;
    fn emulator_allocate(bytes: usize) -> *mut c_void;
    fn emulator_free(memory: *mut c_void, bytes: usize);
    fn emulator_kernels() -> *const c_char;
}

/// Names of all kernels that the emulator has, sorted.
pub fn kernels() -> Vec<String> {
    // SAFETY: a text of the library's own, which is never freed.
    let names = unsafe { CStr::from_ptr(emulator_kernels()) };
    names.to_string_lossy().lines().map(str::to_owned).collect()
}

/// Something that a recording repeats.
#[derive(Clone, Debug)]
enum Act {
    Launch(Box<Launch>),
    Multiply(Gemm),
    Fill(Address, u8, u64),
    Copy(Address, Address, u64),
    AllReduce(Address, usize),
}

/// A device of this process' memory.
#[derive(Debug)]
pub struct EmulatedDevice {
    description: DeviceDescription,
    memory: BTreeMap<u64, u64>,
    recording: Option<Vec<Act>>,
    recordings: Vec<Option<Vec<Act>>>,
    member: Option<Member>,
    fails: Arc<AtomicBool>,
}

impl EmulatedDevice {
    /// A device with `memory` bytes.
    pub fn new(memory: u64) -> Self {
        let description = DeviceDescription {
            name: "emulator".to_owned(),
            uuid: String::new(),
            capability: (0, 0),
            memory,
        };
        Self {
            description,
            memory: BTreeMap::new(),
            recording: None,
            recordings: Vec::new(),
            member: None,
            fails: Arc::default(),
        }
    }

    /// `of` devices with `memory` bytes each, which add up together; each is for a thread of its own.
    pub fn group(of: usize, memory: u64) -> Vec<Self> {
        let join = |member| {
            let mut device = Self::new(memory);
            device.member = Some(member);
            device
        };
        Member::group(of).into_iter().map(join).collect()
    }

    /// While it is true every kernel is refused, as by a card that fails.
    pub fn fails(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.fails)
    }

    /// Fails unless `bytes` from `at` on lie in one allocation.
    fn within(&self, act: &'static str, at: Address, bytes: u64) -> Result<(), DeviceError> {
        let found = self.memory.range(..=at.0).next_back();
        let inside = found.is_some_and(|(start, length)| at.0 + bytes <= start + length);
        if inside || bytes == 0 {
            return Ok(());
        }
        Err(DeviceError::Failed { act, problem: format!("{bytes} bytes at {:#x} are in no buffer", at.0) })
    }

    fn act(&mut self, act: Act) -> Result<(), DeviceError> {
        if let Some(recording) = &mut self.recording {
            recording.push(act);
            return Ok(());
        }
        self.run(&act)
    }

    fn run(&mut self, act: &Act) -> Result<(), DeviceError> {
        match *act {
            Act::Launch(ref launch) if self.fails.load(Ordering::Relaxed) => Err(DeviceError::Launch {
                kernel: launch.kernel.to_owned(),
                problem: "the emulator was told to fail".to_owned(),
            }),
            Act::Launch(ref launch) => run_kernel(launch),
            Act::Multiply(ref gemm) => self.run_product(gemm),
            Act::Fill(at, value, bytes) => {
                self.within("filling memory", at, bytes)?;
                // SAFETY: the range lies in an allocation of this device.
                unsafe { std::ptr::write_bytes(at.0 as *mut u8, value, bytes as usize) };
                Ok(())
            }
            Act::Copy(from, to, bytes) => {
                self.within("copying", from, bytes)?;
                self.within("copying", to, bytes)?;
                // SAFETY: both ranges lie in allocations of this device.
                unsafe { std::ptr::copy(from.0 as *const u8, to.0 as *mut u8, bytes as usize) };
                Ok(())
            }
            Act::AllReduce(at, count) => self.run_all_reduce(at, count),
        }
    }

    fn run_product(&self, gemm: &Gemm) -> Result<(), DeviceError> {
        let Gemm { weights, input, out, rows, columns, tokens, stride, input_stride, out_stride, add } =
            *gemm;
        let act = "multiplying";
        self.within(act, weights, (((rows - 1) * stride + columns) * 2) as u64)?;
        self.within(act, input, (((tokens - 1) * input_stride + columns) * 2) as u64)?;
        self.within(act, out, (((tokens - 1) * out_stride + rows) * 4) as u64)?;
        let half = |at: Address, index: usize| {
            // SAFETY: checked above; matrices are aligned to their elements.
            unsafe { (at.0 as *const bf16).add(index).read() }.to_f32()
        };
        for token in 0..tokens {
            for row in 0..rows {
                let terms = (0..columns)
                    .map(|k| half(weights, row * stride + k) * half(input, token * input_stride + k));
                let sum: f32 = terms.sum();
                // SAFETY: checked above.
                unsafe {
                    let place = (out.0 as *mut f32).add(token * out_stride + row);
                    *place = if add { *place + sum } else { sum };
                }
            }
        }
        Ok(())
    }
}

impl EmulatedDevice {
    fn run_all_reduce(&self, at: Address, count: usize) -> Result<(), DeviceError> {
        let Some(member) = &self.member else { return Ok(()) };
        self.within("adding up", at, (count * size_of::<f32>()) as u64)?;
        let mut values = vec![0.0f32; count];
        // SAFETY: the range lies in an allocation of this device, and any bits are a float.
        unsafe { std::ptr::copy_nonoverlapping(at.0 as *const f32, values.as_mut_ptr(), count) };
        let sum = member.all_reduce(values)?;
        // SAFETY: as above; the sum has as many.
        unsafe { std::ptr::copy_nonoverlapping(sum.as_ptr(), at.0 as *mut f32, count) };
        Ok(())
    }
}

fn run_kernel(launch: &Launch) -> Result<(), DeviceError> {
    let failed = |problem: String| DeviceError::Launch { kernel: launch.kernel.to_owned(), problem };
    let name = CString::new(launch.kernel).map_err(|error| failed(error.to_string()))?;
    let parameters = launch.parameters.bytes();
    // SAFETY: the emulator checks name, block and the parameter's size; addresses are checked by the system.
    let refused = unsafe {
        let bytes = parameters.as_ptr().cast::<c_void>();
        emulator_launch(name.as_ptr(), launch.grid.as_ptr(), launch.threads, 0, bytes, parameters.len())
    };
    if refused.is_null() {
        return Ok(());
    }
    // SAFETY: a text of the library's own.
    Err(failed(unsafe { CStr::from_ptr(refused) }.to_string_lossy().into_owned()))
}

impl Device for EmulatedDevice {
    fn description(&self) -> &DeviceDescription {
        &self.description
    }

    fn free_memory(&self) -> Result<u64, DeviceError> {
        Ok(self.description.memory.saturating_sub(self.memory.values().sum()))
    }

    fn allocate(&mut self, bytes: u64) -> Result<Address, DeviceError> {
        let free = self.free_memory()?;
        if bytes > free {
            return Err(DeviceError::OutOfMemory { wanted: bytes, free });
        }
        // SAFETY: memory of the library's, freed by size in `free`.
        let at = unsafe { emulator_allocate(bytes as usize) };
        if at.is_null() {
            return Err(DeviceError::OutOfMemory { wanted: bytes, free });
        }
        // SAFETY: just allocated. Floats and halves of ones are no numbers.
        unsafe { std::ptr::write_bytes(at.cast::<u8>(), 0xFF, bytes as usize) };
        self.memory.insert(at as u64, bytes);
        Ok(Address(at as u64))
    }

    fn free(&mut self, memory: Address) -> Result<(), DeviceError> {
        let unknown =
            || DeviceError::Failed { act: "freeing memory", problem: "it was never reserved".to_owned() };
        let bytes = self.memory.remove(&memory.0).ok_or_else(unknown)?;
        // SAFETY: from `emulator_allocate` with this size, and freed once.
        unsafe { emulator_free(memory.0 as *mut c_void, bytes as usize) };
        Ok(())
    }

    fn free_all(&mut self) -> Result<(), DeviceError> {
        let reserved: Vec<u64> = self.memory.keys().copied().collect();
        reserved.into_iter().try_for_each(|at| self.free(Address(at)))
    }

    fn upload(&mut self, to: Address, bytes: &[u8]) -> Result<(), DeviceError> {
        self.within("copying to the device", to, bytes.len() as u64)?;
        // SAFETY: the range lies in an allocation of this device.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to.0 as *mut u8, bytes.len()) };
        Ok(())
    }

    fn download(&mut self, from: Address, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.within("copying from the device", from, bytes.len() as u64)?;
        // SAFETY: the range lies in an allocation of this device.
        unsafe { std::ptr::copy_nonoverlapping(from.0 as *const u8, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    fn fill(&mut self, at: Address, value: u8, bytes: u64) -> Result<(), DeviceError> {
        self.act(Act::Fill(at, value, bytes))
    }

    fn copy(&mut self, from: Address, to: Address, bytes: u64) -> Result<(), DeviceError> {
        self.act(Act::Copy(from, to, bytes))
    }

    fn launch(&mut self, launch: &Launch) -> Result<(), DeviceError> {
        self.act(Act::Launch(Box::new(*launch)))
    }

    fn multiplies(&self) -> bool {
        true
    }

    fn multiply(&mut self, gemm: &Gemm) -> Result<(), DeviceError> {
        self.act(Act::Multiply(*gemm))
    }

    fn all_reduce(&mut self, at: Address, count: usize) -> Result<(), DeviceError> {
        self.act(Act::AllReduce(at, count))
    }

    fn abandon(&mut self, problem: &str) {
        if let Some(member) = &self.member {
            member.abandon(problem);
        }
    }

    fn synchronize(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn begin_recording(&mut self) -> Result<(), DeviceError> {
        self.recording = Some(Vec::new());
        Ok(())
    }

    fn end_recording(&mut self) -> Result<Recording, DeviceError> {
        self.recordings.push(Some(self.recording.take().unwrap_or_default()));
        Ok(Recording(self.recordings.len() - 1))
    }

    fn replay(&mut self, recording: Recording) -> Result<(), DeviceError> {
        let unknown =
            || DeviceError::Failed { act: "replaying", problem: "there is no such recording".to_owned() };
        let acts = self.recordings.get(recording.0).cloned().flatten().ok_or_else(unknown)?;
        acts.iter().try_for_each(|act| self.run(act))
    }

    fn forget(&mut self, recording: Recording) -> Result<(), DeviceError> {
        let unknown =
            || DeviceError::Failed { act: "forgetting", problem: "there is no such recording".to_owned() };
        self.recordings.get_mut(recording.0).and_then(Option::take).map(drop).ok_or_else(unknown)
    }
}

impl Drop for EmulatedDevice {
    fn drop(&mut self) {
        self.abandon("it is gone");
        for (&at, &bytes) in &self.memory {
            // SAFETY: from `emulator_allocate` with this size, and freed once.
            unsafe { emulator_free(at as *mut c_void, bytes as usize) };
        }
    }
}
