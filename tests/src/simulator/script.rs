//! An answer, whole and as a stream.

use serde_json::Value;

use super::model::Usage;
use super::steps::BEFORE_BREAK;

/// An answer to one request in both forms, of which one is sent.
#[derive(Debug, Default)]
pub(super) struct Script {
    /// The one body.
    pub(super) whole: String,
    /// The stream's events, their blank lines included.
    pub(super) events: Vec<String>,
    /// Events before the first token of text.
    pub(super) opening: usize,
    /// Tokens that the whole answer reports.
    pub(super) usage: Usage,
    /// Input tokens that the opening reports.
    pub(super) told: u64,
    /// Whether the stream's end reports the usage.
    pub(super) reports: bool,
}

impl Script {
    /// One body that is no stream.
    pub(super) fn only(body: &Value, usage: Usage) -> Self {
        Self { whole: body.to_string(), usage, ..Self::default() }
    }

    /// The events that are sent before a stream breaks.
    pub(super) fn begun(&self) -> impl Iterator<Item = &String> {
        self.events.iter().take(self.opening + BEFORE_BREAK)
    }
}
