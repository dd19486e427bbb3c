//! Every fast operation against the reference, on every instruction set that this CPU has.
#![allow(clippy::unwrap_used)] // What cannot be made fails the test.

use std::io::Write as _;
use std::num::NonZeroUsize;
use std::sync::Once;

use weighbridge_kernels::Isa;
use weighbridge_kernels::pool::Pool;

mod attention;
mod elementwise;
mod matmul;
mod packed;
mod peak;
mod pool;

/// A pool of two, so that chunks are shared out.
fn two_threads() -> Pool {
    Pool::new(NonZeroUsize::new(2).unwrap()).unwrap()
}

/// Instruction sets to test. One that this CPU lacks is printed, not passed over in silence, and is a failure where whoever
/// runs the tests says that it has to be there (`tests/arm/test.sh`).
fn instruction_sets() -> Vec<Isa> {
    let found = Isa::available();
    if let Ok(expected) = std::env::var("WEIGHBRIDGE_EXPECT_ISA") {
        assert!(found.iter().any(|isa| isa.name() == expected), "this CPU has no {expected}: {found:?}");
    }
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        for isa in Isa::ALL.into_iter().filter(|isa| !found.contains(isa)) {
            // Not `println!`, which is kept back where tests pass.
            let _ = writeln!(std::io::stderr(), "NOT RUN: {} (this CPU has none)", isa.name());
        }
    });
    found
}

/// Deterministic numbers in -1 to 1.
fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Fails unless each value is within `tolerance` of the reference, relative to the largest reference value.
fn assert_close(found: &[f32], reference: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), reference.len(), "{what}");
    let scale = reference.iter().fold(1e-6f32, |max, x| max.max(x.abs()));
    for (i, (found, reference)) in found.iter().zip(reference).enumerate() {
        let error = (found - reference).abs() / scale;
        assert!(error <= tolerance, "{what}: element {i} is {found}, reference {reference}, error {error}");
    }
}
