//! How far each model is: a bar where a person watches, lines elsewhere.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use weighbridge_inference_server::http::Phase;

use super::local::Name;
use crate::terminal::Terminal;

/// Parts of a download that a line is written for; a phase that takes seconds gets one line.
const DOWNLOAD_LINES: u64 = 10;

/// The progress of one model.
pub struct Progress {
    name: Name,
    terminal: Terminal,
    bar: Option<ProgressBar>,
    last: Mutex<Option<(String, u64)>>,
}

impl Progress {
    /// A bar where a person watches, none elsewhere.
    pub fn new(name: Name, terminal: &Terminal) -> Self {
        let bar = terminal.is_watched().then(|| {
            let bar = terminal.bars().add(ProgressBar::no_length());
            bar.set_style(spinner());
            bar.set_prefix(name.to_string());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { name, terminal: terminal.clone(), bar, last: Mutex::default() }
    }

    /// Shows `phase`. Quick, and callable on any thread.
    pub fn show(&self, phase: &Phase) {
        let (what, measured) = match phase {
            Phase::Fetching { step, bytes, total } => ((*step).to_owned(), Some((*bytes, *total))),
            Phase::Loading { bytes, total } => ("load".to_owned(), Some((*bytes, *total))),
            Phase::Ready | Phase::Leaving | Phase::Draining | Phase::Failed(_) => return self.clear(),
            // Milliseconds long, and what the server says before it begins to fetch.
            Phase::Opening => return,
            Phase::Warming => (phase.to_string(), None),
        };
        let measured = measured.filter(|(_, total)| *total > 0);
        match &self.bar {
            Some(bar) => draw(bar, what, measured),
            None => self.line(what, measured),
        }
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn line(&self, what: String, measured: Option<(u64, u64)>) {
        let parts = if what == "download" { DOWNLOAD_LINES } else { 1 };
        let done = measured.map_or(0, |(bytes, total)| bytes.saturating_mul(parts) / total);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let again =
            last.as_ref().is_some_and(|(said, before)| *said == what && (parts == 1 || *before == done));
        if again {
            return;
        }
        let size = measured.map(|(_, total)| match parts {
            1 => format!(" {} MB", total / 1_000_000),
            parts => format!(" {}% of {} MB", done * 100 / parts, total / 1_000_000),
        });
        self.terminal.note(&format!("{}: {what}{}", self.name, size.unwrap_or_default()));
        *last = Some((what, done));
    }
}

fn draw(bar: &ProgressBar, what: String, measured: Option<(u64, u64)>) {
    match measured {
        Some((bytes, total)) => {
            bar.set_style(measured_bar());
            bar.set_length(total);
            bar.set_position(bytes);
        }
        None => bar.set_style(spinner()),
    }
    bar.set_message(what);
}

fn spinner() -> ProgressStyle {
    styled("{spinner} {prefix}: {msg}")
}

fn measured_bar() -> ProgressStyle {
    styled("{spinner} {prefix}: {msg:10} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}")
}

fn styled(template: &str) -> ProgressStyle {
    // The templates are constants; a wrong one shows the plain bar.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
