//! What time it is.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// Between two looks at what is nearly due.
const LEAST_WAIT: Duration = Duration::from_secs(1);

/// What trials and statuses are timed by.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// This machine's own.
    Machine,
    /// One that goes on as timers do, for tests whose time is virtual.
    Timers {
        /// What it showed at first.
        then: Timestamp,
        /// When that was.
        since: Instant,
    },
}

impl Clock {
    /// A clock that shows `then` now, and goes on as timers do.
    pub fn at(then: Timestamp) -> Self {
        Self::Timers { then, since: Instant::now() }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::Machine => Timestamp::now(),
            Self::Timers { then, since } => then.checked_add(since.elapsed()).unwrap_or(*then),
        }
    }

    /// How long it is until `due`, and a moment where that has passed.
    pub fn until(&self, due: Timestamp) -> Duration {
        Duration::try_from(due.duration_since(self.now())).unwrap_or_default().max(LEAST_WAIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_goes_as_timers_do() {
        let clock = Clock::at(Timestamp::UNIX_EPOCH);
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(clock.now().as_second(), 90);
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!([clock.until(at(100)), clock.until(at(9))], [Duration::from_secs(10), LEAST_WAIT]);
    }
}
