//! Figures of benchmarks: lines `figure NAME VALUE UNIT` on standard output, and the same as JSON under
//! `target/bench/`, with the processor they were measured on.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use serde::Serialize;

/// The figures of one benchmark program.
pub struct Figures {
    bench: String,
    figures: Vec<Figure>,
}

#[derive(Serialize)]
struct Figure {
    name: String,
    value: f64,
    unit: String,
}

#[derive(Serialize)]
struct Record<'a> {
    bench: &'a str,
    cpu: String,
    figures: &'a [Figure],
}

impl Figures {
    /// Figures of the benchmark called `bench`.
    pub fn new(bench: &str) -> Self {
        Self { bench: bench.to_owned(), figures: Vec::new() }
    }

    /// Adds a figure and prints its line.
    ///
    /// # Errors
    /// Where standard output is closed.
    pub fn add(&mut self, name: &str, value: f64, unit: &str) -> anyhow::Result<()> {
        writeln!(std::io::stdout(), "figure {name} {value:.4} {unit}")?;
        self.figures.push(Figure { name: name.to_owned(), value, unit: unit.to_owned() });
        Ok(())
    }

    /// Writes `target/bench/BENCH.json`. Says nothing: a benchmark's output ends with its figures.
    ///
    /// # Errors
    /// Where it can't be written.
    pub fn write(&self) -> anyhow::Result<()> {
        let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bench"));
        std::fs::create_dir_all(&folder).context("can't make target/bench")?;
        let path = folder.join(format!("{}.json", self.bench));
        let record = Record { bench: &self.bench, cpu: cpu(), figures: &self.figures };
        std::fs::write(&path, serde_json::to_string_pretty(&record)? + "\n")
            .with_context(|| format!("can't write {}", path.display()))
    }
}

/// The processor's name, as Linux gives it.
fn cpu() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.to_owned())
}

/// The middle of `values`; 0 where there is none.
pub fn median(values: &mut [f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value below which the share `q` of `values` lies; 0 where there is none. Sorts them.
pub fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * q).round() as usize).copied().unwrap_or_default()
}
