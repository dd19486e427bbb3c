//! Whole models on a device: tiny ones with random weights, against the CPU backend and against themselves. Kernels are
//! compared one by one elsewhere; what only a whole model shows is here.
//!
//! - `candidates`: which models, and how far each may be off.
//! - `check`: what is asked of one; `divergence` is the measure.

mod candidates;
mod check;
mod divergence;

use std::fmt::Write as _;

use anyhow::Result;
use weighbridge_cuda::device::Device;

pub use candidates::{Bar, Candidate, all};
pub use check::{Extent, Found};

/// Opens a device for one model, which has it to itself.
pub type Open<'a> = &'a mut dyn FnMut() -> Result<Box<dyn Device>>;

/// Models that were checked, and those that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// All.
    pub checked: usize,
    /// Those that were off, and those that could not be run.
    pub failed: usize,
}

/// The table's head.
pub const HEAD: &str = "| model | tokens | mean divergence, nats | most | strays | near-ties | |\n|---|---|---|---|---|---|---|\n";

/// Checks `candidates` one after another; `tell` gets a row of the table for each, as it is done.
///
/// # Errors
/// What `tell` returns. A model that can't be run is a row.
pub fn check(
    open: Open<'_>,
    candidates: &[Candidate],
    extent: &Extent,
    tell: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<Count> {
    let mut count = Count::default();
    for candidate in candidates {
        let found = open().and_then(|device| check::check(device, candidate, extent));
        let (row, good) = row(candidate, &found)?;
        tell(&row)?;
        count.checked += 1;
        count.failed += usize::from(!good);
    }
    Ok(count)
}

/// One line of the table, and whether the model is as it should be.
fn row(candidate: &Candidate, found: &Result<Found>) -> Result<(String, bool)> {
    let mut line = format!("| {} |", candidate.name);
    let problems = match found {
        Ok(found) => {
            let Found { rows, mean, most, strays, near_ties, problems } = found;
            write!(line, " {rows} | {mean:.1e} | {most:.1e} | {strays} | {near_ties} |")?;
            problems.clone()
        }
        Err(error) => {
            line.push_str(" | | | | |");
            vec![format!("{error:#}")]
        }
    };
    let good = problems.is_empty();
    let verdict = if good { "as it should be".to_owned() } else { format!("WRONG: {}", problems.join("; ")) };
    writeln!(line, " {verdict} |")?;
    Ok((line, good))
}

#[cfg(test)]
mod tests {
    use anyhow::bail;
    use weighbridge_cuda_emulator::EmulatedDevice;

    use super::*;

    fn emulated() -> Result<Box<dyn Device>> {
        Ok(Box::new(EmulatedDevice::new(1 << 30)))
    }

    fn run(open: Open<'_>, candidates: &[Candidate]) -> (String, Count) {
        let mut table = HEAD.to_owned();
        let mut tell = |row: &str| {
            table.push_str(row);
            Ok(())
        };
        let count = check(open, candidates, &Extent::EMULATOR, &mut tell).unwrap();
        println!("{table}");
        (table, count)
    }

    /// Those that are furthest apart in what they run; on a card all are checked.
    #[test]
    fn models_are_as_they_should_be_on_an_emulated_card() {
        let chosen = [
            "llama BF16",
            "mixtral BF16",
            "gemma3 BF16",
            "phi3 BF16",
            "llama Q4_K",
            "llama MXFP4",
            "llama e4m3",
            "qwen3 BF16, keys and values fp8",
        ];
        let candidates: Vec<_> =
            all().unwrap().into_iter().filter(|candidate| chosen.contains(&&*candidate.name)).collect();
        let (table, count) = run(&mut emulated, &candidates);
        assert_eq!(count, Count { checked: chosen.len(), failed: 0 }, "{table}");
    }

    #[test]
    fn what_is_too_far_off_and_what_can_not_be_run_is_told_and_counted_and_ends_nothing() {
        let bar = Bar { mean: 0.0, ..Bar::PLAIN };
        let candidates: Vec<_> =
            all().unwrap().into_iter().take(2).map(|candidate| Candidate { bar, ..candidate }).collect();
        let mut opened = 0;
        let mut open = || {
            opened += 1;
            if opened == 1 {
                bail!("the card is gone")
            }
            emulated()
        };
        let (table, count) = run(&mut open, &candidates);
        assert_eq!(count, Count { checked: 2, failed: 2 });
        assert!(table.contains("WRONG: the card is gone |\n"), "{table}");
        assert!(table.contains("WRONG: the mean divergence is "), "{table}");
    }
}
