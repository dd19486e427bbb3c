//! Whether a model fits, before a byte is allocated.

use std::fs::read_to_string;
use std::path::Path;

use weighbridge_fit::{MemoryPlan, mebibytes};

use super::{LoadError, cgroup};

/// A model that was seen to fit.
#[derive(Debug)]
pub(super) struct Admitted(());

/// Refuses a plan larger than `available`, with the sum in words. `None` is no known limit.
pub(super) fn check(plan: &MemoryPlan, available: Option<u64>) -> Result<Admitted, LoadError> {
    match available {
        Some(available) if plan.total() > available => {
            let (sum, available) = (plan.in_words(), mebibytes(available));
            let arithmetic = format!("the model does not fit: {sum}, but {available} are available");
            Err(LoadError::Memory { arithmetic })
        }
        Some(_) | None => Ok(Admitted(())),
    }
}

/// Bytes that this process can still take: the least of the machine's and its control group's.
pub(in crate::backend) fn available() -> Option<u64> {
    let machine = read_to_string("/proc/meminfo").ok().and_then(|text| machine_available(&text));
    let groups = read_to_string("/proc/self/cgroup").ok();
    let group = groups.and_then(|groups| cgroup::available(Path::new(cgroup::ROOT), &groups));
    match (machine, group) {
        (Some(machine), Some(group)) => Some(machine.min(group)),
        (one, other) => one.or(other),
    }
}

fn machine_available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_shows_the_arithmetic() {
        let plan = MemoryPlan { weights: 3 << 20, kv: 2 << 20, scratch: 1 << 20, ..MemoryPlan::default() };
        assert!(check(&plan, Some(6 << 20)).is_ok());
        assert!(check(&plan, None).is_ok());
        let error = check(&plan, Some((6 << 20) - 1)).unwrap_err().to_string();
        assert!(error.contains("weights 3.0 MiB + KV 2.0 MiB + scratch 1.0 MiB = 6.0 MiB"), "{error}");
    }

    #[test]
    fn sums_do_not_wrap() {
        let plan = MemoryPlan { weights: u64::MAX, kv: u64::MAX, scratch: 1, ..MemoryPlan::default() };
        assert!(check(&plan, Some(1 << 40)).is_err());
    }

    #[test]
    fn reads_what_the_machine_has() {
        assert_eq!(machine_available("MemTotal: 9 kB\nMemAvailable:    123 kB\n"), Some(123 * 1024));
    }
}
