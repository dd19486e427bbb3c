//! Sweeps the operator with every fault: `sweep [--seeds N] [--only WORDS]`. Prints what diverged, and figures.

use std::io::Write;
use std::process::ExitCode;
use std::thread;

use anyhow::Result;
use clap::Parser;
use weighbridge_tests::faults::{Mode, Sweep, scenarios, sweep};

#[derive(Parser)]
struct Flags {
    /// Seeds of delays and noise, for each step of each scenario.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// Only cases whose line holds these words: a line that was printed is played again.
    #[arg(long, default_value = "")]
    only: String,
    /// Threads.
    #[arg(long, default_value_t = thread::available_parallelism().map_or(1, usize::from))]
    threads: usize,
}

fn main() -> Result<ExitCode> {
    let Flags { seeds, only, threads } = Flags::parse();
    let swept = sweep(&scenarios(), (Mode::Whole(seeds), None, &only), threads, |scenario, swept| {
        let Sweep { cases, divergences, .. } = swept;
        let line = format!("{}: {cases} cases, {} divergences\n", scenario.name, divergences.len());
        // Who can't be told how far it is goes on all the same.
        std::io::stderr().write_all(line.as_bytes()).ok();
    });
    let mut out = std::io::stdout();
    for divergence in &swept.divergences {
        write!(out, "{divergence}")?;
    }
    writeln!(out, "figure sweep_cases {}", swept.cases)?;
    writeln!(out, "figure sweep_missed {}", swept.missed)?;
    writeln!(out, "figure sweep_divergences {}", swept.divergences.len())?;
    Ok(if swept.divergences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
