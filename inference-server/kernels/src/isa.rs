//! Which kernels this CPU can run.

/// An instruction set that kernels are built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// AVX-512 VNNI and AMX with int8: tiles of 16 tokens by 16 rows, in products of many tokens.
    Amx,
    /// AVX-512 F, BW, DQ, VL and VNNI: 64-byte vectors with int8 dot products.
    Avx512Vnni,
    /// AVX2, FMA, F16C and AVX-VNNI: 32-byte vectors with int8 dot products.
    AvxVnni,
    /// AVX2, FMA and F16C: 32-byte vectors.
    Avx2,
    /// NEON and its int8 dot product: 16-byte vectors, on Arm.
    NeonDot,
    /// Plain Rust, on every CPU.
    Portable,
}

impl Isa {
    /// All that kernels are built for, best first on each architecture.
    pub const ALL: [Self; 6] =
        [Self::Amx, Self::Avx512Vnni, Self::AvxVnni, Self::Avx2, Self::NeonDot, Self::Portable];

    /// The best that this CPU can run.
    pub fn detect() -> Self {
        Self::available().first().copied().unwrap_or(Self::Portable)
    }

    /// Everything that this CPU can run, best first.
    pub fn available() -> Vec<Self> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni")
            {
                if amx::usable() {
                    found.push(Self::Amx);
                }
                found.push(Self::Avx512Vnni);
            }
            if is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c")
            {
                if is_x86_feature_detected!("avxvnni") {
                    found.push(Self::AvxVnni);
                }
                found.push(Self::Avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon")
            && std::arch::is_aarch64_feature_detected!("dotprod")
        {
            found.push(Self::NeonDot);
        }
        found.push(Self::Portable);
        found
    }

    /// Name for logs, metrics and figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amx => "amx",
            Self::Avx512Vnni => "avx512-vnni",
            Self::AvxVnni => "avx-vnni",
            Self::Avx2 => "avx2",
            Self::NeonDot => "neon-dot",
            Self::Portable => "portable",
        }
    }
}

/// AMX is there when CPU, system and process have it.
#[cfg(target_arch = "x86_64")]
mod amx {
    use std::sync::OnceLock;

    /// Whether this process may use tiles; asks the system for them, once.
    pub(super) fn usable() -> bool {
        static USABLE: OnceLock<bool> = OnceLock::new();
        *USABLE.get_or_init(|| in_cpu() && permitted())
    }

    /// `AMX-TILE` and `AMX-INT8` (CPUID leaf 7), and both tile states kept by the system (`XCR0`).
    fn in_cpu() -> bool {
        use std::arch::x86_64::{__cpuid, __cpuid_count};
        const TILE_AND_INT8: u32 = 0b11 << 24;
        const OSXSAVE: u32 = 1 << 27;
        const TILE_STATES: u32 = 0b11 << 17;
        if __cpuid(0).eax < 7 || __cpuid(1).ecx & OSXSAVE == 0 {
            return false;
        }
        let (low, _high): (u32, u32);
        // SAFETY: `xgetbv` is there with OSXSAVE; it reads a register.
        unsafe {
            std::arch::asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") _high, options(nomem, nostack));
        }
        __cpuid_count(7, 0).edx & TILE_AND_INT8 == TILE_AND_INT8 && low & TILE_STATES == TILE_STATES
    }

    /// `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`: Linux gives tiles to who asks (Documentation/arch/x86/xstate).
    #[cfg(target_os = "linux")]
    fn permitted() -> bool {
        const REQUEST: libc::c_long = 0x1023;
        const TILE_DATA: libc::c_long = 18;
        // SAFETY: the call takes two numbers and touches no memory of ours.
        unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST, TILE_DATA) == 0 }
    }

    #[cfg(not(target_os = "linux"))]
    fn permitted() -> bool {
        false
    }
}
