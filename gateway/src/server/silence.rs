//! How long nothing has come.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Counts the silences of one stream. Its timer is set once for many: whatever breaks a silence costs nothing, and a
/// timer that ends with a silence that began after it is set anew.
#[derive(Debug)]
pub(crate) struct Silence {
    bound: Duration,
    /// When the present one began; nobody knows before it is asked for.
    began: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl Silence {
    /// One is too long when it has lasted `bound`.
    pub(crate) fn new(bound: Duration) -> Self {
        Self { bound, began: None, timer: Box::pin(tokio::time::sleep(bound)) }
    }

    pub(crate) fn bound(&self) -> Duration {
        self.bound
    }

    /// Changes the bound, from the next silence on.
    pub(crate) fn set_bound(&mut self, bound: Duration) {
        self.bound = bound;
        self.began = None;
    }

    /// Something came.
    pub(crate) fn broken(&mut self) {
        self.began = None;
    }

    /// Nothing is there: ready once that has lasted too long.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let ends = self.ends();
        self.poll_until(ends, context)
    }

    /// As [`Silence::poll`], and ready at `latest` however short it was.
    pub(crate) fn poll_before(&mut self, latest: Instant, context: &mut Context<'_>) -> Poll<()> {
        let ends = self.ends().min(latest);
        self.poll_until(ends, context)
    }

    fn ends(&mut self) -> Instant {
        *self.began.get_or_insert_with(Instant::now) + self.bound
    }

    fn poll_until(&mut self, ends: Instant, context: &mut Context<'_>) -> Poll<()> {
        if self.timer.deadline() > ends {
            self.timer.as_mut().reset(ends);
        }
        loop {
            ready!(self.timer.as_mut().poll(context));
            if self.timer.deadline() >= ends {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(ends);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_secs(10);

    async fn lasted(silence: &mut Silence) -> Duration {
        let began = Instant::now();
        std::future::poll_fn(|context| silence.poll(context)).await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn each_silence_is_counted_from_its_own_beginning() {
        let mut silence = Silence::new(BOUND);
        tokio::time::advance(BOUND / 2).await;
        assert!(futures::poll!(std::future::poll_fn(|context| silence.poll(context))).is_pending());
        tokio::time::advance(BOUND / 2).await;
        silence.broken();
        let tolerance = Duration::from_millis(2);
        assert!(lasted(&mut silence).await.abs_diff(BOUND) < tolerance);
        silence.broken();
        assert!(lasted(&mut silence).await.abs_diff(BOUND) < tolerance);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_moment_comes_before_a_silence_ends() {
        let mut silence = Silence::new(BOUND);
        let (began, latest) = (Instant::now(), Instant::now() + BOUND / 4);
        std::future::poll_fn(|context| silence.poll_before(latest, context)).await;
        assert!(began.elapsed().abs_diff(BOUND / 4) < Duration::from_millis(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_bound_may_become_shorter() {
        let mut silence = Silence::new(BOUND);
        assert!(futures::poll!(std::future::poll_fn(|context| silence.poll(context))).is_pending());
        silence.set_bound(BOUND / 10);
        assert!(lasted(&mut silence).await.abs_diff(BOUND / 10) < Duration::from_millis(2));
    }
}
