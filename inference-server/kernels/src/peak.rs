//! What this machine could do at most: the bounds that a product's speed is a share of.

use std::time::{Duration, Instant};

use super::Isa;
use super::pool::{Pool, WorkerPanicked};

/// How long one measurement runs. The best of several is taken: a neighbour can only slow them down.
const WINDOW: Duration = Duration::from_millis(20);
const WINDOWS: usize = 8;
/// Read for the bandwidth: far more than caches hold.
const MEMORY: usize = 256 << 20;

/// int8 multiply-accumulates a second of all the pool's threads together, out of registers, with the instructions that
/// kernels use on `isa`.
///
/// # Errors
/// [`WorkerPanicked`].
pub fn int8_macs_per_second(pool: &mut Pool, isa: Isa) -> Result<f64, WorkerPanicked> {
    // Long enough that the pool's own cost and the clock's do not show.
    let mut rounds = 1024;
    loop {
        let began = Instant::now();
        std::hint::black_box(dots(isa, rounds));
        if began.elapsed() >= WINDOW || rounds > 1 << 40 {
            break;
        }
        rounds *= 2;
    }
    let macs = dots(isa, 0).max(1) * rounds * pool.threads() as u64;
    best(|| {
        pool.run(pool.threads(), &|_| {
            std::hint::black_box(dots(isa, rounds));
        })
    })
    .map(|seconds| macs as f64 / seconds)
}

/// Bytes a second that the pool's threads together read from memory.
///
/// # Errors
/// [`WorkerPanicked`].
pub fn read_bytes_per_second(pool: &mut Pool) -> Result<f64, WorkerPanicked> {
    // Written once: untouched pages would all be the one page of zeros.
    let memory = vec![1u64; MEMORY / size_of::<u64>()];
    let parts: Vec<&[u64]> = memory.chunks(memory.len().div_ceil(pool.threads() * 16)).collect();
    best(|| {
        pool.run(parts.len(), &|part| {
            let sum = parts[part].iter().fold(0u64, |sum, x| sum.wrapping_add(*x));
            std::hint::black_box(sum);
        })
    })
    .map(|seconds| MEMORY as f64 / seconds)
}

/// Seconds of the fastest of several runs.
fn best(mut run: impl FnMut() -> Result<(), WorkerPanicked>) -> Result<f64, WorkerPanicked> {
    let mut best = f64::INFINITY;
    for _ in 0..WINDOWS {
        let began = Instant::now();
        run()?;
        best = best.min(began.elapsed().as_secs_f64());
    }
    Ok(best.max(1e-9))
}

/// Runs `rounds` of independent dot products; gives the multiply-accumulates of one round.
fn dots(isa: Isa, rounds: u64) -> u64 {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `isa` was found on this CPU.
        Isa::Amx => unsafe { super::matmul::amx_peak(rounds) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx512Vnni => unsafe { x86::avx512(rounds) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::AvxVnni => unsafe { x86::avx_vnni(rounds) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 => unsafe { x86::avx2(rounds) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        Isa::NeonDot => unsafe { arm::neon(rounds) },
        _ => portable(rounds),
    }
}

fn portable(rounds: u64) -> u64 {
    const LANES: usize = 64;
    let (mut weights, activations) = ([3u8; LANES], [5i8; LANES]);
    let mut sums = [0i32; LANES];
    for _ in 0..rounds {
        weights = std::hint::black_box(weights);
        for ((sum, weight), activation) in sums.iter_mut().zip(&weights).zip(&activations) {
            *sum = sum.wrapping_add(i32::from(*weight) * i32::from(*activation));
        }
    }
    std::hint::black_box(sums);
    LANES as u64
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::asm;
    use std::arch::x86_64::*;

    /// Sums that are added to in turn: enough to hide an instruction's latency on two ports.
    const SUMS: usize = 16;

    /// # Safety
    /// The CPU has AVX-512 VNNI.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) unsafe fn avx512(rounds: u64) -> u64 {
        let mut sums: [__m512i; SUMS] = std::array::from_fn(|at| _mm512_set1_epi32(at as i32));
        let mut weights = _mm512_set1_epi8(3);
        let activations = _mm512_set1_epi8(5);
        for _ in 0..rounds {
            // SAFETY: it is no instruction; it makes each round's products new to the compiler.
            unsafe { asm!("/* {0} */", inout(zmm_reg) weights, options(nomem, nostack, preserves_flags)) };
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, weights, activations);
            }
        }
        let sum = sums.into_iter().fold(_mm512_setzero_si512(), |sum, one| _mm512_add_epi32(sum, one));
        std::hint::black_box(_mm512_reduce_add_epi32(sum));
        64 * SUMS as u64
    }

    /// # Safety
    /// The CPU has AVX-VNNI.
    #[target_feature(enable = "avx2,avxvnni")]
    pub(super) unsafe fn avx_vnni(rounds: u64) -> u64 {
        const SUMS: usize = 12;
        let mut sums: [__m256i; SUMS] = std::array::from_fn(|at| _mm256_set1_epi32(at as i32));
        let mut weights = _mm256_set1_epi8(3);
        let activations = _mm256_set1_epi8(5);
        for _ in 0..rounds {
            // SAFETY: as above.
            unsafe { asm!("/* {0} */", inout(ymm_reg) weights, options(nomem, nostack, preserves_flags)) };
            for sum in &mut sums {
                *sum = _mm256_dpbusd_avx_epi32(*sum, weights, activations);
            }
        }
        let sum = sums.into_iter().fold(_mm256_setzero_si256(), |sum, one| _mm256_add_epi32(sum, one));
        std::hint::black_box(_mm256_extract_epi32::<0>(sum));
        32 * SUMS as u64
    }

    /// Products that are added up in 16 bits before they are widened: as many as kernels add of quants of four bits.
    const TOGETHER: usize = 8;

    /// Two weights times four activations: as many different products as 16 registers hold.
    ///
    /// # Safety
    /// The CPU has AVX2.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn avx2(rounds: u64) -> u64 {
        let ones = _mm256_set1_epi16(1);
        let mut sums: [__m256i; 8] = std::array::from_fn(|at| _mm256_set1_epi32(at as i32));
        let mut weights = [_mm256_set1_epi8(3), _mm256_set1_epi8(4)];
        let activations: [__m256i; 4] = std::array::from_fn(|at| _mm256_set1_epi8(at as i8 + 1));
        for _ in 0..rounds {
            let mut pairs = [_mm256_setzero_si256(); 8];
            for _ in 0..TOGETHER {
                let [a, b] = &mut weights;
                // SAFETY: as above.
                unsafe {
                    asm!(
                        "/* {0} {1} */",
                        inout(ymm_reg) * a,
                        inout(ymm_reg) * b,
                        options(nomem, nostack, preserves_flags)
                    );
                }
                for (at, pair) in pairs.iter_mut().enumerate() {
                    *pair =
                        _mm256_add_epi16(*pair, _mm256_maddubs_epi16(weights[at % 2], activations[at / 2]));
                }
            }
            for (sum, pair) in sums.iter_mut().zip(pairs) {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pair, ones));
            }
        }
        let sum = sums.into_iter().fold(_mm256_setzero_si256(), |sum, one| _mm256_add_epi32(sum, one));
        std::hint::black_box(_mm256_extract_epi32::<0>(sum));
        32 * 8 * TOGETHER as u64
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::*;
    use std::arch::asm;

    /// Sums that are added to in turn: enough to hide an instruction's latency on four pipes.
    const SUMS: usize = 16;

    /// # Safety
    /// The CPU has NEON's dot product.
    #[target_feature(enable = "neon,dotprod")]
    pub(super) unsafe fn neon(rounds: u64) -> u64 {
        let mut sums: [int32x4_t; SUMS] = std::array::from_fn(|at| vdupq_n_s32(at as i32));
        let (weights, activations) = (vdupq_n_s8(3), vdupq_n_s8(5));
        for _ in 0..rounds {
            for sum in &mut sums {
                // SAFETY: it reads and writes registers.
                unsafe {
                    asm!(
                        "sdot {0:v}.4s, {1:v}.16b, {2:v}.16b",
                        inout(vreg) *sum, in(vreg) weights, in(vreg) activations,
                        options(nomem, nostack, preserves_flags)
                    );
                }
            }
        }
        let sum = sums.into_iter().fold(vdupq_n_s32(0), |sum, one| vaddq_s32(sum, one));
        std::hint::black_box(vaddvq_s32(sum));
        16 * SUMS as u64
    }
}
