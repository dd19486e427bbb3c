//! What was logged, for tests that look at it.

use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::subscriber::DefaultGuard;
use tracing::{Dispatch, Subscriber};

/// Takes what a subscriber writes. Clones share one text; [`Log::writer`] is what `with_writer` wants.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// What was logged so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// What every panic of the process says from now on, beside what is done with it anyway.
    pub fn of_panics() -> Self {
        let log = Self::default();
        let said = log.clone();
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // Writing into memory does not fail.
            let _ = write!(said.clone(), "{panic}");
            hook(panic);
        }));
        log
    }

    /// Makes writers that add to it.
    pub fn writer(&self) -> impl Fn() -> Self + Send + Sync + 'static {
        let log = self.clone();
        move || log.clone()
    }
}

/// Until it is dropped, this thread's logs go to a subscriber.
#[derive(Debug)]
pub struct OfThisThread {
    _subscribed: DefaultGuard,
    /// Where there is one subscriber alone, tracing-core asks that of the thread which first comes to a place in the code
    /// what is wanted there, for all threads: those of other tests, which have none, would switch the place off.
    _another: Dispatch,
}

impl OfThisThread {
    /// They go to `subscriber`.
    pub fn new(subscriber: impl Subscriber + Send + Sync + 'static) -> Self {
        let another = Dispatch::new(tracing_subscriber::registry());
        Self { _subscribed: tracing::subscriber::set_default(subscriber), _another: another }
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
