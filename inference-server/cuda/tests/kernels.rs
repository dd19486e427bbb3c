//! Every kernel on the emulated device, against the reference.
#![allow(clippy::unwrap_used, clippy::panic)] // What cannot be made fails the test.

use std::collections::BTreeSet;

use weighbridge_cuda::check::cases;
use weighbridge_cuda::device::{Device, DeviceDescription, DeviceError, Gemm, Recording};
use weighbridge_cuda::launch::{Address, Launch};
use weighbridge_cuda::sources::KERNELS;
use weighbridge_cuda_emulator::{EmulatedDevice, kernels};

/// Runs the cases of one operation, each on a device of its own.
fn check(operation: &str) {
    let cases: Vec<_> = cases().into_iter().filter(|case| case.operation == operation).collect();
    assert!(!cases.is_empty(), "no case of {operation}");
    let mut wrong = Vec::new();
    for case in cases {
        let off = case.run(&mut EmulatedDevice::new(1 << 30)).unwrap();
        if off > case.bound {
            wrong.push(format!("{}: off by {off:e}, at most {:e}", case.shape, case.bound));
        }
    }
    assert!(wrong.is_empty(), "{operation}:\n{}", wrong.join("\n"));
}

macro_rules! operations {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            check(stringify!($name));
        })*

        #[test]
        fn every_operation_has_its_test() {
            let tested: BTreeSet<&str> = [$(stringify!($name)),*].into();
            assert_eq!(cases().iter().map(|case| case.operation).collect::<BTreeSet<_>>(), tested);
        }
    };
}

operations!(attention, embed, expand, experts, gate, lora, multiply, norm, pool, product, rows, sample);

/// A device that writes down which kernels ran.
struct Noting {
    device: EmulatedDevice,
    launched: BTreeSet<&'static str>,
}

impl Device for Noting {
    fn launch(&mut self, launch: &Launch) -> Result<(), DeviceError> {
        self.launched.insert(launch.kernel);
        // What it would have done is the other tests' to see.
        Ok(())
    }

    fn description(&self) -> &DeviceDescription {
        self.device.description()
    }
    fn free_memory(&self) -> Result<u64, DeviceError> {
        self.device.free_memory()
    }
    fn allocate(&mut self, bytes: u64) -> Result<Address, DeviceError> {
        self.device.allocate(bytes)
    }
    fn free(&mut self, memory: Address) -> Result<(), DeviceError> {
        self.device.free(memory)
    }
    fn free_all(&mut self) -> Result<(), DeviceError> {
        self.device.free_all()
    }
    fn upload(&mut self, to: Address, bytes: &[u8]) -> Result<(), DeviceError> {
        self.device.upload(to, bytes)
    }
    fn download(&mut self, from: Address, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.device.download(from, bytes)
    }
    fn fill(&mut self, at: Address, value: u8, bytes: u64) -> Result<(), DeviceError> {
        self.device.fill(at, value, bytes)
    }
    fn copy(&mut self, from: Address, to: Address, bytes: u64) -> Result<(), DeviceError> {
        self.device.copy(from, to, bytes)
    }
    fn multiplies(&self) -> bool {
        true
    }
    fn multiply(&mut self, gemm: &Gemm) -> Result<(), DeviceError> {
        self.device.multiply(gemm)
    }
    fn all_reduce(&mut self, at: Address, count: usize) -> Result<(), DeviceError> {
        self.device.all_reduce(at, count)
    }
    fn abandon(&mut self, problem: &str) {
        self.device.abandon(problem);
    }
    fn synchronize(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }
    fn begin_recording(&mut self) -> Result<(), DeviceError> {
        self.device.begin_recording()
    }
    fn end_recording(&mut self) -> Result<Recording, DeviceError> {
        self.device.end_recording()
    }
    fn replay(&mut self, recording: Recording) -> Result<(), DeviceError> {
        self.device.replay(recording)
    }
    fn forget(&mut self, recording: Recording) -> Result<(), DeviceError> {
        self.device.forget(recording)
    }
}

#[test]
fn no_kernel_is_without_a_case() {
    let mut launched = BTreeSet::new();
    for case in cases() {
        let mut noting = Noting { device: EmulatedDevice::new(1 << 30), launched: BTreeSet::new() };
        let _ = case.run(&mut noting);
        launched.extend(noting.launched);
    }
    let there = kernels();
    let missing: Vec<_> = there.iter().filter(|name| !launched.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(there.len() > 100 && KERNELS.len() > 10);
}

#[test]
fn what_measures_kernels_runs() {
    use weighbridge_cuda::check::speed::{Scale, bandwidth, decode_attention, prefill, products};
    let mut device = EmulatedDevice::new(1 << 30);
    let bound = bandwidth(&mut device, Scale::EMULATOR).unwrap();
    let mut figures = products(&mut device, Scale::EMULATOR, bound).unwrap();
    figures.extend(decode_attention(&mut device, Scale::EMULATOR, bound).unwrap());
    figures.extend(prefill(&mut device, Scale::EMULATOR).unwrap());
    assert!(figures.len() == 37 && figures.iter().all(|(_, value)| *value > 0.0), "{figures:?}");
}
