//! Futures of one task that are polled in turns, without waking the task that polls them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Wake, Waker};

use futures::task::AtomicWaker;

/// The task polls.
const POLLING: u8 = 1;
/// Something is to be looked at again.
const WOKEN: u8 = 2;

/// The waker of futures that wake each other. A runtime puts a task that is woken while it runs back into its queue, and
/// rouses another thread to take it; here such a call costs one more turn instead.
#[derive(Debug, Default)]
pub(super) struct Turns {
    state: AtomicU8,
    task: AtomicWaker,
}

impl Turns {
    /// The task of `waker` polls.
    pub(super) fn begin(&self, waker: &Waker) {
        self.task.register(waker);
        self.again();
    }

    /// Whether the task may rest: it has polled all, and nothing woke meanwhile. If not, all is to be polled again.
    pub(super) fn end(&self) -> bool {
        let rests = self.state.compare_exchange(POLLING, 0, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if !rests {
            self.again();
        }
        rests
    }

    /// The task does something else first; it will come back by itself.
    pub(super) fn leave(&self) {
        self.state.store(0, Ordering::Release);
    }

    /// Nobody is to be woken until [`Self::begin`].
    pub(super) fn forget(&self) {
        self.task.take();
        self.leave();
    }

    /// An exchange and no store: whoever woke before it is seen by the polls after it, and whoever comes after it sees
    /// that the task polls.
    fn again(&self) {
        self.state.swap(POLLING, Ordering::AcqRel);
    }
}

impl Wake for Turns {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.fetch_or(WOKEN, Ordering::AcqRel) & POLLING == 0 {
            self.task.wake();
        }
    }
}

/// Counts how often a task is woken.
#[cfg(test)]
#[derive(Default)]
pub(super) struct Count(std::sync::atomic::AtomicUsize);

#[cfg(test)]
impl Count {
    pub(super) fn woken(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_task_is_woken_only_while_it_rests() {
        let (turns, task) = (Arc::new(Turns::default()), Arc::new(Count::default()));
        let (inner, waker) = (Waker::from(Arc::clone(&turns)), Waker::from(Arc::clone(&task)));
        turns.begin(&waker);
        inner.wake_by_ref();
        assert!(!turns.end(), "there is another turn to take");
        assert!(turns.end());
        assert_eq!(task.woken(), 0);
        inner.wake_by_ref();
        inner.wake_by_ref();
        assert_eq!(task.woken(), 1, "once, for the task polls all");
        turns.begin(&waker);
        assert!(turns.end(), "what woke before is done with");
        turns.forget();
        inner.wake_by_ref();
        assert_eq!(task.woken(), 1);
    }
}
