use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

/// Whether this process may write, until when. Cheap to clone.
///
/// Guarantees: [`Leadership::holds`] turns false by itself when the time of the last renewal has run out, also
/// in a process that was stopped meanwhile and could not be told.
#[derive(Clone)]
pub struct Leadership(Arc<watch::Sender<Hold>>);

/// One hold of the Lease.
#[derive(Clone, Copy, Debug, Default)]
struct Hold {
    /// Until when; none where it was given back, or never had.
    until: Option<Instant>,
    /// Which one it is: a hold that ran out and was had again is another, for what was dropped meanwhile is not known.
    term: u64,
}

impl Hold {
    fn holds(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }
}

impl Leadership {
    /// Nobody leads yet.
    pub fn none() -> Self {
        Leadership(Arc::new(watch::Sender::new(Hold::default())))
    }

    /// Whether this process may write now.
    pub fn holds(&self) -> bool {
        self.0.borrow().holds()
    }

    /// Waits until this process may write.
    pub async fn gained(&self) {
        let mut changes = self.0.subscribe();
        // The sender lives as long as self, so that this ends only with the wait.
        let _ = changes.wait_for(Hold::holds).await;
    }

    /// Waits until this process may not write any more, or could not for a moment since this was called.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut changes = self.0.subscribe();
        let begun = changes.borrow_and_update().term;
        async move {
            loop {
                let Hold { until, term } = *changes.borrow_and_update();
                match until {
                    Some(until) if term == begun && Instant::now() < until => {
                        tokio::select! {
                            () = tokio::time::sleep_until(until) => {}
                            changed = changes.changed() => {
                                if changed.is_err() {
                                    return;
                                }
                            }
                        }
                    }
                    Some(_) | None => return,
                }
            }
        }
    }

    pub(super) fn extend(&self, until: Instant) {
        self.0.send_modify(|hold| {
            hold.term += u64::from(!hold.holds());
            hold.until = Some(until);
        });
    }

    pub(super) fn resign(&self) {
        self.0.send_modify(|hold| hold.until = None);
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

    #[tokio::test(start_paused = true)]
    async fn a_hold_that_ran_out_and_is_had_again_is_another_one() {
        let leadership = Leadership::none();
        leadership.extend(Instant::now() + Duration::from_secs(10));
        let lost = leadership.lost();
        // As in a process that was stopped: nobody was told of the end before the Lease was had again.
        tokio::time::advance(Duration::from_secs(11)).await;
        leadership.extend(Instant::now() + Duration::from_secs(10));
        assert!(leadership.holds());
        lost.await;
        assert!(tokio::time::timeout(Duration::from_secs(9), leadership.lost()).await.is_err());
    }
}
