//! The signals that ask a program to end.

use anyhow::Result;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that arrived since this was made.
pub struct Interruptions {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Interruptions {
    /// From now on these signals are only noted.
    pub fn new() -> Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// The number of the next one.
    pub async fn next(&mut self) -> i32 {
        let kind = tokio::select! {
            _ = self.hangup.recv() => SignalKind::hangup(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
        };
        kind.as_raw_value()
    }
}
