//! Devices that add up together.
#![allow(clippy::unwrap_used)] // What can't be had fails the test.

use weighbridge_cuda::device::{Device, DeviceError};
use weighbridge_cuda_emulator::EmulatedDevice;

/// `act` of each of `of` devices, in a thread each.
fn each<T: Send>(of: usize, act: impl Fn(usize, EmulatedDevice) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let act = &act;
        let devices = EmulatedDevice::group(of, 1 << 20).into_iter().enumerate();
        let threads: Vec<_> = devices.map(|(rank, device)| scope.spawn(move || act(rank, device))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn all_have_the_sum_in_the_order_of_ranks_recorded_and_not() {
    // In another order 1 would be lost.
    let parts = [1e8f32, -1e8, 1.0];
    let sums = each(3, |rank, mut device| {
        let device: &mut dyn Device = &mut device;
        let at = device.allocate_with(&[parts[rank], rank as f32]).unwrap();
        device.all_reduce(at, 2).unwrap();
        let first: Vec<f32> = device.read(at, 2).unwrap();
        device.begin_recording().unwrap();
        device.all_reduce(at, 2).unwrap();
        let recording = device.end_recording().unwrap();
        assert_eq!(device.read::<f32>(at, 2).unwrap(), first);
        device.replay(recording).unwrap();
        (first, device.read::<f32>(at, 2).unwrap())
    });
    for (first, second) in sums {
        assert_eq!((first, second), (vec![1.0, 3.0], vec![3.0, 9.0]));
    }
}

#[test]
fn nobody_waits_for_a_device_that_fails_or_is_gone() {
    for fails in [true, false] {
        let said = each(3, |rank, mut device| {
            let device: &mut dyn Device = &mut device;
            let at = device.allocate_with(&[1.0f32]).unwrap();
            match rank {
                2 if fails => {
                    device.abandon("its fan stands still");
                    device.abandon("and more");
                    Ok(())
                }
                2 => Ok(()),
                _ => device.all_reduce(at, 1),
            }
        });
        let expected = if fails { "rank 2 failed: its fan stands still" } else { "failed: it is gone" };
        for error in &said[..2] {
            let Err(DeviceError::Lost { act: _, problem }) = error else { unreachable!("{error:?}") };
            assert!(problem.contains(expected), "{problem}");
        }
    }
}

#[test]
fn a_device_that_is_alone_has_its_own_sum() {
    let device: &mut dyn Device = &mut EmulatedDevice::new(1 << 20);
    let at = device.allocate_with(&[1.5f32]).unwrap();
    device.all_reduce(at, 1).unwrap();
    assert_eq!(device.read::<f32>(at, 1).unwrap(), [1.5]);
}
