//! A device that tells how long it computed. It waits for what came before, gives what is asked for, and waits again: the
//! host's clock then holds the device's work and one wait, and nothing of who prepares steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use weighbridge_cuda::device::{Device, DeviceDescription, DeviceError, Gemm, Recording};
use weighbridge_cuda::launch::{Address, Launch};

/// What [`Timed`] measures, while it is told to.
#[derive(Clone, Debug, Default)]
pub(super) struct Stopwatch(Arc<Counted>);

#[derive(Debug, Default)]
struct Counted {
    runs: AtomicBool,
    nanoseconds: AtomicU64,
    replays: AtomicUsize,
}

impl Stopwatch {
    /// From now on the device's time is measured, or not.
    pub(super) fn run(&self, runs: bool) {
        self.0.runs.store(runs, Ordering::Relaxed);
    }

    /// Seconds that were measured, and recordings that were replayed in them.
    pub(super) fn read(&self) -> (f64, usize) {
        let nanoseconds = self.0.nanoseconds.load(Ordering::Relaxed);
        (Duration::from_nanos(nanoseconds).as_secs_f64(), self.0.replays.load(Ordering::Relaxed))
    }
}

/// `inner`, timed. Copies from and to the host are not.
pub(super) struct Timed {
    inner: Box<dyn Device>,
    stopwatch: Stopwatch,
    /// What is written down does not run.
    records: bool,
}

impl Timed {
    pub(super) fn new(inner: Box<dyn Device>) -> (Self, Stopwatch) {
        let stopwatch = Stopwatch::default();
        (Self { inner, stopwatch: stopwatch.clone(), records: false }, stopwatch)
    }

    fn time(
        &mut self,
        run: impl FnOnce(&mut dyn Device) -> Result<(), DeviceError>,
    ) -> Result<(), DeviceError> {
        if self.records || !self.stopwatch.0.runs.load(Ordering::Relaxed) {
            return run(&mut *self.inner);
        }
        self.inner.synchronize()?;
        let began = Instant::now();
        run(&mut *self.inner)?;
        self.inner.synchronize()?;
        let spent = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.stopwatch.0.nanoseconds.fetch_add(spent, Ordering::Relaxed);
        Ok(())
    }
}

impl Device for Timed {
    fn description(&self) -> &DeviceDescription {
        self.inner.description()
    }

    fn free_memory(&self) -> Result<u64, DeviceError> {
        self.inner.free_memory()
    }

    fn allocate(&mut self, bytes: u64) -> Result<Address, DeviceError> {
        self.inner.allocate(bytes)
    }

    fn free(&mut self, memory: Address) -> Result<(), DeviceError> {
        self.inner.free(memory)
    }

    fn free_all(&mut self) -> Result<(), DeviceError> {
        self.inner.free_all()
    }

    fn upload(&mut self, to: Address, bytes: &[u8]) -> Result<(), DeviceError> {
        self.inner.upload(to, bytes)
    }

    fn download(&mut self, from: Address, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.inner.download(from, bytes)
    }

    fn fill(&mut self, at: Address, value: u8, bytes: u64) -> Result<(), DeviceError> {
        self.time(|device| device.fill(at, value, bytes))
    }

    fn copy(&mut self, from: Address, to: Address, bytes: u64) -> Result<(), DeviceError> {
        self.time(|device| device.copy(from, to, bytes))
    }

    fn launch(&mut self, launch: &Launch) -> Result<(), DeviceError> {
        self.time(|device| device.launch(launch))
    }

    fn multiplies(&self) -> bool {
        self.inner.multiplies()
    }

    fn multiply(&mut self, gemm: &Gemm) -> Result<(), DeviceError> {
        self.time(|device| device.multiply(gemm))
    }

    fn all_reduce(&mut self, at: Address, count: usize) -> Result<(), DeviceError> {
        self.time(|device| device.all_reduce(at, count))
    }

    fn abandon(&mut self, problem: &str) {
        self.inner.abandon(problem);
    }

    fn synchronize(&mut self) -> Result<(), DeviceError> {
        self.inner.synchronize()
    }

    fn begin_recording(&mut self) -> Result<(), DeviceError> {
        self.inner.begin_recording()?;
        self.records = true;
        Ok(())
    }

    fn end_recording(&mut self) -> Result<Recording, DeviceError> {
        self.records = false;
        self.inner.end_recording()
    }

    fn replay(&mut self, recording: Recording) -> Result<(), DeviceError> {
        if self.stopwatch.0.runs.load(Ordering::Relaxed) {
            self.stopwatch.0.replays.fetch_add(1, Ordering::Relaxed);
        }
        self.time(|device| device.replay(recording))
    }

    fn forget(&mut self, recording: Recording) -> Result<(), DeviceError> {
        self.inner.forget(recording)
    }
}
