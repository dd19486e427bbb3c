//! What benchmarks read of a process, and where the model is that they run. A megabyte is 10^6 bytes here and in
//! every figure called `…_mb`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Bytes of a megabyte.
pub const MEGABYTE: f64 = 1e6;

/// A size that `/proc/PID/status` has, such as `VmRSS`, in bytes.
///
/// # Errors
/// Where the process has ended, or has no such line.
pub fn memory(process: u32, field: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    size(&status, field).with_context(|| format!("no {field} of process {process}"))
}

/// Resident memory, in MB.
///
/// # Errors
/// As [`memory`].
pub fn rss_mb(process: u32) -> Result<f64> {
    Ok(memory(process, "VmRSS")? as f64 / MEGABYTE)
}

/// CPU time of all threads so far; `schedstat` counts nanoseconds where `stat` counts hundredths.
///
/// # Errors
/// Where the process has ended.
pub fn cpu_time(process: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    for thread in std::fs::read_dir(Path::new("/proc").join(process.to_string()).join("task"))? {
        let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        let spent: u64 = text.split_whitespace().next().context("an empty schedstat")?.parse()?;
        nanoseconds += spent;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// The folder outside the repository where everything fetched or made once is kept.
///
/// # Errors
/// Where nothing says where it is.
pub fn cache() -> Result<PathBuf> {
    let cache = std::env::var_os("WEIGHBRIDGE_CACHE").map(PathBuf::from);
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/weighbridge"));
    cache.or_else(home).context("neither WEIGHBRIDGE_CACHE nor HOME is set")
}

/// The sample model that `examples/fetch-smollm2.sh` keeps.
///
/// # Errors
/// Where it was not fetched.
pub fn sample() -> Result<PathBuf> {
    let path = cache()?.join("models/smollm2-135m-instruct-q4_1.gguf");
    if path.is_file() { Ok(path) } else { bail!("{} is missing: run make sample", path.display()) }
}

fn size(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    // The kernel writes kB and means 1024.
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_kb_are_1024_bytes() {
        let status = "VmRSSx:\t1 kB\nVmHWM:\t    2048 kB\nVmRSS:\t    1000 kB\n";
        assert_eq!((size(status, "VmRSS"), size(status, "VmHWM")), (Some(1_024_000), Some(2_097_152)));
        assert_eq!(size(status, "VmSwap"), None);
    }
}
