//! How often, how fast and how long: the bounds of a fetch, and waiting that tests can see.

use std::future::Future;
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;

use super::FetchError;

/// Bounds of a fetch.
#[derive(Clone, Debug)]
pub struct FetchSettings {
    /// Bytes of one range: large enough that a request's cost vanishes, small enough to lose without regret.
    pub range_bytes: u64,
    /// Ranges at once: one connection rarely fills a line, and hubs count more than a few as abuse.
    pub parallel: usize,
    /// Tries of one request before the fetch fails.
    pub attempts: u32,
    /// Longest silence of a connection.
    pub stall: Duration,
    /// Longest wait that a server may ask for with `Retry-After`; beyond it the fetch fails at once.
    pub longest_wait: Duration,
}

impl Default for FetchSettings {
    fn default() -> Self {
        Self {
            range_bytes: 8 << 20,
            parallel: 4,
            attempts: 8,
            stall: Duration::from_secs(30),
            longest_wait: Duration::from_secs(300),
        }
    }
}

/// Time as a fetch sees it.
pub trait Clock: Send + Sync {
    /// Ends after `duration`.
    fn pause(&self, duration: Duration) -> BoxFuture<'static, ()>;
    /// The time of day, for a `Retry-After` that is a date.
    fn now(&self) -> SystemTime;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn pause(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// First wait; doubled each time.
const FIRST: Duration = Duration::from_millis(500);
/// Longest wait of our own choosing.
const LONGEST: Duration = Duration::from_secs(30);

/// Wait before try number `failed + 1`: grown, jittered by `jitter` in 0..1, never less than asked for.
pub(super) fn wait(failed: u32, asked: Option<Duration>, jitter: f64) -> Duration {
    let grown = FIRST.saturating_mul(1 << failed.saturating_sub(1).min(16)).min(LONGEST);
    let jittered = grown.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
    jittered.max(asked.unwrap_or_default())
}

/// `Retry-After` in either of its forms.
pub(super) fn retry_after(header: &str, now: SystemTime) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(header).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// Runs `act` until it works, fails for good, or was tried often enough.
pub(super) async fn retrying<T, Act, Acting>(
    settings: &FetchSettings,
    clock: &dyn Clock,
    mut act: Act,
) -> Result<T, FetchError>
where
    Act: FnMut() -> Acting,
    Acting: Future<Output = Result<T, FetchError>>,
{
    let mut failed = 0;
    loop {
        let error = match act().await {
            Ok(done) => return Ok(done),
            Err(error) if !error.is_transient() => return Err(error),
            Err(error) => error,
        };
        failed += 1;
        let too_long = error.retry_after().is_some_and(|asked| asked > settings.longest_wait);
        if failed >= settings.attempts || too_long {
            return Err(FetchError::GaveUp { attempts: failed, last: Box::new(error) });
        }
        let wait = wait(failed, error.retry_after(), rand::random());
        tracing::warn!(%error, attempt = failed, wait_ms = wait.as_millis() as u64, "fetching again");
        clock.pause(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_are_jittered_bounded_and_respect_what_was_asked() {
        assert_eq!(wait(1, None, 1.0), FIRST);
        assert_eq!(wait(1, None, 0.0), FIRST / 2);
        assert_eq!(wait(3, None, 1.0), FIRST * 4);
        assert_eq!(wait(99, None, 1.0), LONGEST);
        assert_eq!(wait(1, Some(Duration::from_secs(7)), 1.0), Duration::from_secs(7));
        assert_eq!(wait(5, Some(Duration::ZERO), 1.0), FIRST * 16);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Tue, 24 Nov 2026 10:00:00 GMT").unwrap();
        assert_eq!(retry_after(" 12 ", now), Some(Duration::from_secs(12)));
        assert_eq!(retry_after("Tue, 24 Nov 2026 10:00:30 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Tue, 24 Nov 2026 09:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
        assert_eq!(retry_after("-1", now), None);
    }
}
