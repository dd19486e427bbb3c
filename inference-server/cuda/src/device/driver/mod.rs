//! A card behind CUDA's driver. Nothing of CUDA is linked: the driver is looked for when a card is wanted, and where it
//! is not there, that is a reason and no failure.
#![allow(unsafe_code)] // The driver's interface is C's.

mod blas;
mod cards;
mod nccl;
mod nvml;
mod pinned;

use std::collections::{HashMap, HashSet};
use std::ffi::{CString, c_void};
use std::sync::Arc;
use std::thread::ThreadId;

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;

use super::{Device, DeviceDescription, DeviceError, Gemm, Recording};
use crate::launch::{Address, Launch};
use crate::pack::Code;
use blas::Blas;
pub use cards::{Card, Cards, DeviceChoice, NoDevice};
use nccl::{Communicator, Group, Nccl};
use pinned::Pinned;

/// What may be given before a device of a group waits for it: a driver's queue holds about a thousand, and whoever adds to
/// a full one is blocked where no failure of another device is seen.
const MOST_GIVEN: usize = 256;

/// Floats that a group adds up as it begins, few and many: NCCL connects cards when a size first needs it.
const FIRST_SUMS: [usize; 2] = [1 << 10, 1 << 24];

/// A card, the kernels loaded onto it, and the one stream that all of it runs on.
pub struct CudaDevice {
    card: Card,
    stream: sys::CUstream,
    modules: Vec<sys::CUmodule>,
    functions: HashMap<&'static str, sys::CUfunction>,
    blas: Option<Blas>,
    pinned: Staging,
    recordings: Vec<Option<sys::CUgraphExec>>,
    /// Memory that was reserved and not given back: with a group, NCCL keeps the context.
    memory: HashSet<u64>,
    /// Its end of a group.
    group: Option<Communicator>,
    /// What was given since the group was last waited for; `None` where it needs no waiting for.
    given: Option<usize>,
    recording: bool,
    /// The thread that the context is current on.
    bound: Option<ThreadId>,
}

/// How large uploads go.
enum Staging {
    /// There was none.
    Unasked,
    /// Through memory that the card reads by itself.
    Pinned(Pinned),
    /// The system gives no such memory: as the driver does it.
    Refused,
}

// SAFETY: the handles are the driver's, which any thread may use while the context is current there (`bind`), and
// `&mut self` lets one thread at a time.
unsafe impl Send for CudaDevice {}

impl CudaDevice {
    /// Opens `card` and loads `code`, which is for its architecture.
    ///
    /// # Errors
    /// [`DeviceError`] in the driver's words.
    pub fn open(card: Card, code: &Code) -> Result<Self, DeviceError> {
        let act = "opening the card";
        let mut device = Self {
            stream: std::ptr::null_mut(),
            modules: Vec::new(),
            functions: HashMap::new(),
            blas: None,
            pinned: Staging::Unasked,
            recordings: Vec::new(),
            memory: HashSet::new(),
            group: None,
            given: None,
            recording: false,
            bound: None,
            card,
        };
        device.bind()?;
        device.stream =
            result::stream::create(result::stream::StreamKind::NonBlocking).map_err(failed(act))?;
        for module in &code.modules {
            // A compiled module is read to its own end, PTX to the first zero.
            let mut image = module.image.clone();
            image.push(0);
            // SAFETY: the image is whole (its hash was compared, or it was compiled here) and ends with a zero.
            let loaded = unsafe { result::module::load_data(image.as_ptr().cast::<c_void>()) };
            let loaded = loaded.map_err(failed("loading kernels"))?;
            device.modules.push(loaded);
        }
        // Our own kernels multiply too.
        device.blas = match Blas::open() {
            Ok(blas) => blas,
            Err(error @ DeviceError::Lost { .. }) => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "cuBLASLt is of no use: our own kernels multiply prompts");
                None
            }
        };
        Ok(device)
    }

    /// Opens `cards`, of one architecture, as a group: each with `code`, and with NCCL between them.
    ///
    /// # Errors
    /// [`DeviceError`], the first rank's that failed.
    pub fn open_group(cards: Vec<Card>, code: &Code) -> Result<Vec<Self>, DeviceError> {
        let nccl = Arc::new(Nccl::open()?);
        // What a card may fail at alone comes first: nobody waits for it yet.
        let devices: Vec<Self> = each(cards, |_, card| Self::open(card, code))?;
        let (id, of, group) = (nccl.unique_id()?, devices.len(), Arc::new(Group::default()));
        each(devices, |rank, mut device| {
            device.bind()?;
            device.group = Some(Communicator::join(&nccl, id, rank, of, &group)?);
            device.bound = None;
            for count in FIRST_SUMS {
                let bytes = (count * size_of::<f32>()) as u64;
                let at = device.allocate(bytes)?;
                device.fill(at, 0, bytes)?;
                device.all_reduce(at, count)?;
                device.free(at)?;
            }
            Ok(device)
        })
    }

    /// Something is given: what was given before it is waited for, where that is much.
    fn give(&mut self) -> Result<(), DeviceError> {
        self.bind()?;
        match &mut self.given {
            Some(_) if self.recording => Ok(()),
            Some(given) if *given < MOST_GIVEN => {
                *given += 1;
                Ok(())
            }
            Some(_) => self.settle(),
            None => Ok(()),
        }
    }

    /// Waits for what the group adds up, looking whether all of it is still there: the driver's own calls would wait for a
    /// device that is gone.
    fn settle(&mut self) -> Result<(), DeviceError> {
        if self.given.is_none() {
            return Ok(());
        }
        loop {
            // SAFETY: the stream lives as long as this device.
            match unsafe { sys::cuStreamQuery(self.stream) } {
                sys::CUresult::CUDA_ERROR_NOT_READY => {}
                asked => {
                    asked.result().map_err(failed("computing"))?;
                    self.given = None;
                    return Ok(());
                }
            }
            if let Some(Err(error)) = self.group.as_ref().map(Communicator::state) {
                // Or what waits on the card for the others would never end.
                self.abandon(&error.to_string());
                return Err(error);
            }
            std::thread::yield_now();
        }
    }

    /// Makes the card's context this thread's.
    fn bind(&mut self) -> Result<(), DeviceError> {
        let thread = std::thread::current().id();
        if self.bound != Some(thread) {
            // SAFETY: the context is the card's own, held until the card is dropped.
            unsafe { result::ctx::set_current(self.card.context()) }.map_err(failed("taking the context"))?;
            self.bound = Some(thread);
        }
        Ok(())
    }

    fn pinned(&mut self) -> Option<&mut Pinned> {
        if let Staging::Unasked = self.pinned {
            self.pinned = match Pinned::new() {
                Ok(pinned) => Staging::Pinned(pinned),
                Err(error) => {
                    tracing::warn!(%error, "weights are copied more slowly");
                    Staging::Refused
                }
            };
        }
        match &mut self.pinned {
            Staging::Pinned(pinned) => Some(pinned),
            Staging::Unasked | Staging::Refused => None,
        }
    }

    fn function(&mut self, kernel: &'static str) -> Result<sys::CUfunction, DeviceError> {
        if let Some(&function) = self.functions.get(kernel) {
            return Ok(function);
        }
        // A kernel's code comes with its first use, and the driver may wait for all that runs before.
        if !self.recording {
            self.settle()?;
        }
        let missing = |problem: String| DeviceError::Launch { kernel: kernel.to_owned(), problem };
        for &module in &self.modules {
            let name = CString::new(kernel).map_err(|error| missing(error.to_string()))?;
            // SAFETY: the module is loaded, and is unloaded only with this device.
            if let Ok(function) = unsafe { result::module::get_function(module, name) } {
                self.functions.insert(kernel, function);
                return Ok(function);
            }
        }
        Err(missing("no module that was loaded has it".to_owned()))
    }
}

impl Device for CudaDevice {
    fn description(&self) -> &DeviceDescription {
        self.card.description()
    }

    fn free_memory(&self) -> Result<u64, DeviceError> {
        // SAFETY: as in `bind`.
        unsafe { result::ctx::set_current(self.card.context()) }.map_err(failed("taking the context"))?;
        let (free, _) = result::mem_get_info().map_err(failed("asking for free memory"))?;
        Ok(free as u64)
    }

    fn allocate(&mut self, bytes: u64) -> Result<Address, DeviceError> {
        self.bind()?;
        // SAFETY: the address is handed out as a number; whoever launches with it keeps within it.
        match unsafe { result::malloc_sync(bytes as usize) } {
            Ok(at) => {
                self.memory.insert(at);
                Ok(Address(at))
            }
            Err(DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => {
                Err(DeviceError::OutOfMemory { wanted: bytes, free: self.free_memory()? })
            }
            Err(error) => Err(failed("reserving memory")(error)),
        }
    }

    fn free(&mut self, memory: Address) -> Result<(), DeviceError> {
        self.synchronize()?;
        self.memory.remove(&memory.0);
        // SAFETY: the trait's contract: it came from `allocate`, and nothing that runs names it.
        unsafe { result::free_sync(memory.0) }.map_err(failed("freeing memory"))
    }

    fn free_all(&mut self) -> Result<(), DeviceError> {
        let waited = self.synchronize();
        let freed = self.memory.drain().map(|at| {
            // SAFETY: it came from `allocate`, and nothing that runs names it.
            unsafe { result::free_sync(at) }.map_err(failed("freeing memory"))
        });
        // All of them, whatever becomes of one.
        let freed: Vec<Result<(), DeviceError>> = freed.collect();
        freed.into_iter().fold(waited, Result::and)
    }

    fn upload(&mut self, to: Address, bytes: &[u8]) -> Result<(), DeviceError> {
        self.bind()?;
        self.settle()?;
        if bytes.len() >= pinned::LEAST {
            let stream = self.stream;
            if let Some(pinned) = self.pinned() {
                return pinned.upload(to, bytes, stream);
            }
        }
        // SAFETY: the trait's contract on addresses; pageable memory is staged before the call returns.
        unsafe { result::memcpy_htod_async(to.0, bytes, self.stream) }.map_err(failed("copying to the card"))
    }

    fn download(&mut self, from: Address, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.bind()?;
        self.settle()?;
        // SAFETY: the trait's contract on addresses; `bytes` outlives the copy, which is waited for.
        unsafe { result::memcpy_dtoh_async(bytes, from.0, self.stream) }
            .map_err(failed("copying from the card"))?;
        self.synchronize()
    }

    fn fill(&mut self, at: Address, value: u8, bytes: u64) -> Result<(), DeviceError> {
        self.give()?;
        // SAFETY: the trait's contract on addresses.
        unsafe { result::memset_d8_async(at.0, value, bytes as usize, self.stream) }
            .map_err(failed("filling memory"))
    }

    fn copy(&mut self, from: Address, to: Address, bytes: u64) -> Result<(), DeviceError> {
        self.give()?;
        // SAFETY: the trait's contract on addresses.
        unsafe { result::memcpy_dtod_async(to.0, from.0, bytes as usize, self.stream) }
            .map_err(failed("copying"))
    }

    fn launch(&mut self, launch: &Launch) -> Result<(), DeviceError> {
        self.give()?;
        let function = self.function(launch.kernel)?;
        let [x, y, z] = launch.grid;
        let parameters = launch.parameters;
        let mut pointers = [parameters.bytes().as_ptr().cast_mut().cast::<c_void>()];
        // SAFETY: the kernel takes one struct, whose layout both sides assert; the driver copies it before it returns.
        // That it keeps within its buffers is what the emulator's tests are for.
        let started = unsafe {
            result::launch_kernel(function, (x, y, z), (launch.threads, 1, 1), 0, self.stream, &mut pointers)
        };
        started.map_err(|error| match failed("starting a kernel")(error) {
            DeviceError::Failed { act: _, problem } => {
                DeviceError::Launch { kernel: launch.kernel.to_owned(), problem }
            }
            other => other,
        })
    }

    fn multiplies(&self) -> bool {
        self.blas.is_some()
    }

    fn multiply(&mut self, gemm: &Gemm) -> Result<(), DeviceError> {
        self.give()?;
        let stream = self.stream;
        match &mut self.blas {
            Some(blas) => blas.multiply(gemm, stream),
            None => {
                Err(DeviceError::Failed { act: "multiplying", problem: "cuBLASLt was not found".to_owned() })
            }
        }
    }

    fn all_reduce(&mut self, at: Address, count: usize) -> Result<(), DeviceError> {
        if self.group.is_none() {
            return Ok(());
        }
        self.give()?;
        let stream = self.stream;
        if let Some(group) = &self.group {
            group.all_reduce(at.0, count, stream)?;
        }
        if !self.recording {
            self.given.get_or_insert(0);
        }
        Ok(())
    }

    fn abandon(&mut self, problem: &str) {
        // A group's end is told to a card, in its context.
        if self.group.is_none() || self.bind().is_err() {
            return;
        }
        // NCCL's end waits for the end of all recordings with its sums; those that run end with the group.
        for graph in self.recordings.drain(..).flatten() {
            // SAFETY: this device's alone; one that runs is freed when it ends.
            let _ = unsafe { result::graph::exec_destroy(graph) };
        }
        if let Some(group) = &mut self.group {
            group.abandon(problem);
        }
        // It may have taken another card's context.
        (self.given, self.bound) = (None, None);
    }

    fn synchronize(&mut self) -> Result<(), DeviceError> {
        self.bind()?;
        self.settle()?;
        // SAFETY: the stream lives as long as this device.
        unsafe { result::stream::synchronize(self.stream) }.map_err(failed("computing"))
    }

    fn begin_recording(&mut self) -> Result<(), DeviceError> {
        self.bind()?;
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives as long as this device.
        unsafe { result::stream::begin_capture(self.stream, mode) }
            .map_err(failed("beginning a recording"))?;
        self.recording = true;
        Ok(())
    }

    fn end_recording(&mut self) -> Result<Recording, DeviceError> {
        self.bind()?;
        self.recording = false;
        let act = "ending a recording";
        // SAFETY: the stream lives as long as this device; the graph is destroyed once it is instantiated.
        let recorded = unsafe {
            let graph = result::stream::end_capture(self.stream).map_err(failed(act))?;
            let instance = result::graph::instantiate(graph, sys::CUgraphInstantiate_flags_enum(0));
            result::graph::destroy(graph).map_err(failed(act))?;
            instance.map_err(failed(act))?
        };
        self.recordings.push(Some(recorded));
        Ok(Recording(self.recordings.len() - 1))
    }

    fn replay(&mut self, recording: Recording) -> Result<(), DeviceError> {
        self.bind()?;
        let unknown =
            || DeviceError::Failed { act: "replaying", problem: "there is no such recording".to_owned() };
        let graph = self.recordings.get(recording.0).copied().flatten().ok_or_else(unknown)?;
        // SAFETY: graph and stream live as long as this device.
        unsafe { result::graph::launch(graph, self.stream) }.map_err(failed("replaying"))?;
        if self.group.is_some() {
            self.given.get_or_insert(0);
        }
        Ok(())
    }

    fn forget(&mut self, recording: Recording) -> Result<(), DeviceError> {
        self.bind()?;
        let act = "forgetting a recording";
        let unknown = || DeviceError::Failed { act, problem: "there is no such recording".to_owned() };
        let graph = self.recordings.get_mut(recording.0).and_then(Option::take).ok_or_else(unknown)?;
        // SAFETY: nobody has the graph any more; the driver frees one that runs when it is done.
        unsafe { result::graph::exec_destroy(graph) }.map_err(failed(act))
    }
}

impl Drop for CudaDevice {
    fn drop(&mut self) {
        self.abandon("it is gone");
        // What a lost card says now helps nobody.
        let _ = self.synchronize();
        // Before the card lets its context go.
        self.blas = None;
        self.pinned = Staging::Refused;
        // SAFETY: nothing runs any more, and nobody else has these handles.
        unsafe {
            for &graph in self.recordings.iter().flatten() {
                let _ = result::graph::exec_destroy(graph);
            }
            for &module in &self.modules {
                let _ = result::module::unload(module);
            }
            for &at in &self.memory {
                let _ = result::free_sync(at);
            }
            if !self.stream.is_null() {
                let _ = result::stream::destroy(self.stream);
            }
        }
    }
}

/// `act` of each, with its rank, in a thread each: what NCCL begins waits for all ranks.
fn each<T: Send, U: Send>(
    of: Vec<T>,
    act: impl Fn(usize, T) -> Result<U, DeviceError> + Sync,
) -> Result<Vec<U>, DeviceError> {
    std::thread::scope(|scope| {
        let act = &act;
        let begun = of.into_iter().enumerate().map(|(rank, one)| scope.spawn(move || act(rank, one)));
        let threads: Vec<_> = begun.collect();
        let ended = threads.into_iter().map(|thread| {
            let panicked =
                |_| Err(DeviceError::Failed { act: "opening the cards", problem: "it panicked".to_owned() });
            thread.join().unwrap_or_else(panicked)
        });
        // All have ended before one is dropped.
        ended.collect::<Vec<_>>().into_iter().collect()
    })
}

/// The driver's word for what went wrong with `act`. After most errors of a running kernel the context is of no use.
fn failed(act: &'static str) -> impl Fn(DriverError) -> DeviceError {
    use sys::CUresult as Result;
    move |error| {
        let problem = in_words(error);
        match error.0 {
            Result::CUDA_ERROR_OUT_OF_MEMORY => DeviceError::Full { act, problem },
            Result::CUDA_ERROR_ILLEGAL_ADDRESS
            | Result::CUDA_ERROR_LAUNCH_FAILED
            | Result::CUDA_ERROR_LAUNCH_TIMEOUT
            | Result::CUDA_ERROR_ECC_UNCORRECTABLE
            | Result::CUDA_ERROR_NVLINK_UNCORRECTABLE
            | Result::CUDA_ERROR_HARDWARE_STACK_ERROR
            | Result::CUDA_ERROR_ILLEGAL_INSTRUCTION
            | Result::CUDA_ERROR_MISALIGNED_ADDRESS
            | Result::CUDA_ERROR_INVALID_ADDRESS_SPACE
            | Result::CUDA_ERROR_INVALID_PC
            | Result::CUDA_ERROR_ASSERT
            | Result::CUDA_ERROR_CONTAINED
            | Result::CUDA_ERROR_TENSOR_MEMORY_LEAK
            | Result::CUDA_ERROR_CONTEXT_IS_DESTROYED
            | Result::CUDA_ERROR_DEVICE_UNAVAILABLE
            | Result::CUDA_ERROR_NO_DEVICE
            | Result::CUDA_ERROR_DEINITIALIZED
            | Result::CUDA_ERROR_SYSTEM_NOT_READY
            | Result::CUDA_ERROR_UNKNOWN => DeviceError::Lost { act, problem },
            _ => DeviceError::Failed { act, problem },
        }
    }
}

/// An error by its name and its description.
fn in_words(error: DriverError) -> String {
    let said = |text: std::result::Result<&std::ffi::CStr, DriverError>| {
        text.map_or_else(|_| format!("{:?}", error.0), |text| text.to_string_lossy().into_owned())
    };
    format!("{} ({})", said(error.error_string()), said(error.error_name()))
}
