//! The end, in two steps: drain, then abort.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Tells a role to end. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    abort: CancellationToken,
}

impl Shutdown {
    /// A shutdown that only [`Shutdown::drain`] and [`Shutdown::abort`] trigger.
    pub fn new() -> Self {
        Self::default()
    }

    /// Drains at the first SIGTERM or SIGINT and aborts at the second. Must be called inside a runtime.
    ///
    /// # Errors
    /// Where the handlers can't be installed.
    pub fn on_signals() -> std::io::Result<Self> {
        let shutdown = Self::new();
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let handle = shutdown.clone();
        tokio::spawn(async move {
            for step in [Self::drain, Self::abort] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                step(&handle);
            }
        });
        Ok(shutdown)
    }

    /// Take nothing new, finish what is open.
    pub fn drain(&self) {
        tracing::info!("draining: open requests are finished, then the process ends");
        self.drain.cancel();
    }

    /// Stop at once.
    pub fn abort(&self) {
        self.drain.cancel();
        self.abort.cancel();
    }

    /// Whether draining has begun.
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Resolves when draining begins.
    pub async fn draining(&self) {
        self.drain.cancelled().await;
    }

    /// Resolves at abort.
    pub async fn aborted(&self) {
        self.abort.cancelled().await;
    }
}
