//! What is printed: the machine, speeds side by side, and where a step's time goes.

use std::io::Write;

use anyhow::Result;
use weighbridge_inference_server::backend::Backend as _;
use weighbridge_inference_server::kernels::peak::{int8_macs_per_second, read_bytes_per_second};
use weighbridge_inference_server::model::profile::{Operation, Span};

use super::{Ours, Peer};
use crate::figures::{Figures, quantile};

/// Says what is measured, and where.
///
/// # Errors
/// Where standard output is closed.
pub fn header(ours: &Ours, peer: &Peer) -> Result<()> {
    let mut out = std::io::stdout();
    let word = |key: &str| peer.ready[key].as_str().unwrap_or_default().to_owned();
    writeln!(out, "model:     {}", word("model"))?;
    writeln!(out, "ours:      {} kernels", ours.backend.description().kernels)?;
    writeln!(out, "llama.cpp: {}", word("system_info"))?;
    writeln!(out, "cpu:       {}, {} threads each", word("cpu"), peer.ready["threads"])?;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    writeln!(out, "load:      {} (1, 5, 15 minutes, before the run)", load.trim())?;
    Ok(())
}

/// Speeds of both engines, a round each.
#[derive(Clone, Debug, Default)]
pub struct Pair {
    ours: Vec<f64>,
    peer: Vec<f64>,
}

impl Pair {
    /// Adds a round and prints it.
    ///
    /// # Errors
    /// Where standard output is closed.
    pub fn add(&mut self, what: &str, ours: f64, peer: f64) -> Result<()> {
        writeln!(std::io::stdout(), "round {}: {what} {ours:.1} and {peer:.1} tokens/s", self.ours.len())?;
        self.ours.push(ours);
        self.peer.push(peer);
        Ok(())
    }

    /// Medians of both.
    pub fn medians(&mut self) -> (f64, f64) {
        (quantile(&mut self.ours, 0.5), quantile(&mut self.peer, 0.5))
    }

    /// Both medians and their ratio, as figures whose names begin with `prefix`.
    ///
    /// # Errors
    /// Where standard output is closed.
    pub fn figures(&mut self, figures: &mut Figures, prefix: &str) -> Result<()> {
        let (median, peer_median) = self.medians();
        figures.add(&format!("{prefix}_tokens_per_second"), median, "tokens/s")?;
        figures.add(&format!("{prefix}_llama_cpp_tokens_per_second"), peer_median, "tokens/s")?;
        figures.add(&format!("{prefix}_ratio"), median / peer_median, "ratio")?;
        // Neighbours slow the two engines differently; the best round is the nearest to an idle machine.
        let best = quantile(&mut self.ours, 1.0) / quantile(&mut self.peer, 1.0);
        figures.add(&format!("{prefix}_best_round_ratio"), best, "ratio")
    }
}

/// What the machine could do at most, with the threads and instructions of one engine.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// int8 multiply-accumulates a second.
    pub macs: f64,
    /// Bytes read from memory a second.
    pub bytes: f64,
}

impl Bounds {
    /// Measures them and prints them.
    ///
    /// # Errors
    /// Where a worker died, or standard output is closed.
    pub fn measure(ours: &mut Ours) -> Result<Self> {
        let (pool, isa) = ours.backend.pool();
        let bounds = Self { macs: int8_macs_per_second(pool, isa)?, bytes: read_bytes_per_second(pool)? };
        let (macs, bytes) = (bounds.macs / 1e9, bounds.bytes / 1e9);
        writeln!(std::io::stdout(), "bounds:    {macs:.0} int8 GMAC/s ({}), {bytes:.1} GB/s", isa.name())?;
        Ok(bounds)
    }

    /// The higher of these and of those measured now: a neighbour can only make a bound look lower.
    ///
    /// # Errors
    /// As [`Self::measure`].
    pub fn again(self, ours: &mut Ours) -> Result<Self> {
        let now = Self::measure(ours)?;
        Ok(Self { macs: self.macs.max(now.macs), bytes: self.bytes.max(now.bytes) })
    }
}

/// Prints where the time of `steps` steps of a model of `layers` went.
///
/// # Errors
/// Where standard output is closed.
pub fn profile_table(
    title: &str,
    spans: &[(Operation, Span)],
    layers: usize,
    steps: usize,
    bounds: Bounds,
) -> Result<()> {
    let mut out = std::io::stdout();
    let whole: f64 = spans.iter().map(|(_, span)| span.time.as_secs_f64()).sum();
    writeln!(out, "\n{title}: {:.3} ms a step", whole * 1e3 / steps as f64)?;
    writeln!(
        out,
        "{:16} {:>14} {:>7} {:>8} {:>10} {:>9} {:>10}",
        "operation", "ms", "of step", "GB/s", "of memory", "GMAC/s", "of int8"
    )?;
    for (operation, span) in spans {
        let seconds = span.time.as_secs_f64().max(1e-9);
        // Embedding and head are there once a step, all else in each layer.
        let (per, times) = match operation {
            Operation::Embed | Operation::Head => ("/step", steps),
            _ => ("/layer", steps * layers),
        };
        let rate = |work: u64, bound: f64| match work {
            0 => ("-".to_owned(), "-".to_owned()),
            _ => {
                let rate = work as f64 / seconds;
                (format!("{:.1}", rate / 1e9), format!("{:.0} %", 100.0 * rate / bound))
            }
        };
        let (bytes, of_memory) = rate(span.work.bytes, bounds.bytes);
        let (macs, of_int8) = rate(span.work.multiplications, bounds.macs);
        let time = format!("{:.4} {per:6}", seconds * 1e3 / times as f64);
        let share = format!("{:.1} %", 100.0 * seconds / whole);
        writeln!(
            out,
            "{:16} {time:>14} {share:>7} {bytes:>8} {of_memory:>10} {macs:>9} {of_int8:>10}",
            operation.name()
        )?;
    }
    writeln!(out)?;
    Ok(())
}
