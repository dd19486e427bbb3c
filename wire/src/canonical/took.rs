//! How long something took, from who has a clock.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Tells how long it has been, when asked: its owner has the clock.
#[derive(Clone)]
pub struct Took(Arc<dyn Fn() -> Duration + Send + Sync>);

impl Took {
    /// As `since` says.
    pub fn new(since: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self(Arc::new(since))
    }

    /// Until now.
    pub fn now(&self) -> Duration {
        (self.0)()
    }
}

impl fmt::Debug for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Took").finish_non_exhaustive()
    }
}
