//! How far a resolve is, for bars, logs and metrics.

use std::sync::Arc;

/// A step of a resolve, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Another process fetches the same file; this one waits for it.
    Wait,
    /// The server is asked what the file is.
    Lookup,
    /// Bytes come in.
    Download,
    /// The file is read and hashed.
    Verify,
}

impl Phase {
    /// The phase as a metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Wait => "wait",
            Phase::Lookup => "lookup",
            Phase::Download => "download",
            Phase::Verify => "verify",
        }
    }
}

/// A phase and how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Bytes done, those kept from an earlier try included.
    pub bytes: u64,
    /// Bytes in all; 0 while unknown.
    pub total: u64,
}

/// Is told of progress, at most once a mebibyte. Called on any thread: must be quick and must not block.
pub type ProgressSink = Arc<dyn Fn(Progress) + Send + Sync>;

/// A sink that drops everything.
pub fn silent() -> ProgressSink {
    Arc::new(|_| {})
}
