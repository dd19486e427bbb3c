use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

/// Whether this process may write, until when. Cheap to clone.
///
/// Guarantees: [`Leadership::holds`] turns false by itself when the time of the last renewal has run out, also
/// in a process that was stopped meanwhile and could not be told.
#[derive(Clone)]
pub struct Leadership(Arc<watch::Sender<Option<Instant>>>);

impl Leadership {
    /// Nobody leads yet.
    pub fn none() -> Self {
        Leadership(Arc::new(watch::Sender::new(None)))
    }

    /// Whether this process may write now.
    pub fn holds(&self) -> bool {
        self.0.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Waits until this process may write.
    pub async fn gained(&self) {
        let mut changes = self.0.subscribe();
        // The sender lives as long as self, so that this ends only with the wait.
        let _ = changes.wait_for(|until| until.is_some_and(|until| Instant::now() < until)).await;
    }

    /// Waits until this process may not write any more.
    pub async fn lost(&self) {
        let mut changes = self.0.subscribe();
        loop {
            let until = *changes.borrow_and_update();
            match until {
                Some(until) if Instant::now() < until => {
                    tokio::select! {
                        () = tokio::time::sleep_until(until) => {}
                        _ = changes.changed() => {}
                    }
                }
                Some(_) | None => return,
            }
        }
    }

    pub(super) fn extend(&self, until: Instant) {
        self.0.send_replace(Some(until));
    }

    pub(super) fn resign(&self) {
        self.0.send_replace(None);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_hold_runs_out_by_itself() {
        let leadership = Leadership::none();
        assert!(!leadership.holds());
        leadership.extend(Instant::now() + Duration::from_secs(10));
        leadership.gained().await;
        let lost = tokio::spawn({
            let leadership = leadership.clone();
            async move { leadership.lost().await }
        });
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(leadership.holds());
        leadership.extend(Instant::now() + Duration::from_secs(10));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(leadership.holds() && !lost.is_finished(), "a renewal counts");
        // Nobody tells a process that was stopped: the clock alone does.
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!leadership.holds());
        assert!(lost.await.is_ok());
    }
}
