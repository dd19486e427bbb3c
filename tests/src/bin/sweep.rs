//! Sweeps the operator with every fault: `sweep [--seeds N] [--only WORDS]`. Prints what diverged, and figures.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow};
use clap::Parser;
use weighbridge_tests::faults::{Mode, Sweep, installed, scenarios};

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
    let mode = Mode::Whole(seeds);
    let mut begun = Sweep::default();
    let (start, leg) = installed(None).map_err(|divergence| anyhow!("{divergence}"))?;
    begun.installation(&leg, mode, None, &only);
    let left = Mutex::new(scenarios());
    let swept = Mutex::new(begun);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(scenario) = left.lock().ok().and_then(|mut left| left.pop()) {
                    let mut one = Sweep::default();
                    let began = Instant::now();
                    one.scenario(&scenario, &start, mode, None, &only);
                    let (cases, divergences) = (one.cases, one.divergences.len());
                    let seconds = began.elapsed().as_secs();
                    let name = scenario.name;
                    // Who can't be told how far it is goes on all the same.
                    let told = writeln!(
                        std::io::stderr(),
                        "{name}: {cases} cases in {seconds} s, {divergences} divergences"
                    );
                    drop(told);
                    if let Ok(mut all) = swept.lock() {
                        all.cases += one.cases;
                        all.missed += one.missed;
                        all.divergences.extend(one.divergences);
                    }
                }
            });
        }
    });
    let swept = swept.into_inner().unwrap_or_default();
    let mut out = std::io::stdout();
    for divergence in &swept.divergences {
        write!(out, "{divergence}")?;
    }
    writeln!(out, "figure sweep_cases {}", swept.cases)?;
    writeln!(out, "figure sweep_missed {}", swept.missed)?;
    writeln!(out, "figure sweep_divergences {}", swept.divergences.len())?;
    Ok(if swept.divergences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
