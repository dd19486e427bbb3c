//! Waking: a model of open weights that is scaled to zero is made one replica, once however many ask.
//!
//! [`scale`] is the one write of this crate: guarded, so that it never lowers or overwrites anybody's number. Here is what
//! keeps it from being done twice. Nothing of a request is known here.

#[cfg(test)]
pub(crate) mod fake;
mod scale;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use self::scale::scale_from_zero;
pub(crate) use self::scale::{WakeError, Woken};
use crate::directory::{Deployment, Target};
use crate::metrics::{GatewayMetrics, WakeLabels};

/// How long after a failure nobody tries again: whoever comes meanwhile hears of it at once.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// How long after a success nobody tries again: the watch brings the new number within a moment, and one that is lost may take
/// longer.
const AFTER_SUCCESS: Duration = Duration::from_secs(5);

/// Who may write to the cluster what wakes a model.
#[derive(Clone)]
pub struct Waker(kube::Client);

impl Waker {
    /// One that writes by `client`.
    pub fn new(client: kube::Client) -> Self {
        Self(client)
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Waker").finish_non_exhaustive()
    }
}

/// Every model that is being woken, or was a moment ago.
#[derive(Debug)]
pub(crate) struct Wakes {
    waker: Waker,
    /// At most as many as there are models.
    known: Mutex<HashMap<Deployment, Waking>>,
    metrics: GatewayMetrics,
}

/// One attempt at waking one model; clones are of the same.
#[derive(Clone, Debug)]
pub(crate) struct Waking(watch::Receiver<Option<Ended>>);

/// How an attempt ended, and when there may be another.
#[derive(Clone, Debug)]
struct Ended {
    result: Result<(), Arc<WakeError>>,
    again: Instant,
}

impl Wakes {
    pub(crate) fn new(waker: Waker, metrics: GatewayMetrics) -> Self {
        Self { waker, known: Mutex::default(), metrics }
    }

    /// The attempt at waking `target`'s model: the one under way, the last one where it is too soon for another, or one that
    /// begins now. It goes on when whoever asked has left.
    pub(crate) fn wake(&self, target: &Target) -> Waking {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        known.retain(|_, waking| waking.holds(now));
        let model = &target.deployment;
        if let Some(waking) = known.get(model) {
            return waking.clone();
        }
        let (tell, told) = watch::channel(None);
        let waking = Waking(told);
        known.insert(model.clone(), waking.clone());
        let (waker, metrics, model) = (self.waker.clone(), self.metrics.clone(), model.clone());
        tokio::spawn(async move {
            let result = scale_from_zero(&waker.0, &model).await;
            count(&metrics, &model, &result);
            let wait = if result.is_ok() { AFTER_SUCCESS } else { AFTER_FAILURE };
            let result = result.map(drop).map_err(Arc::new);
            tell.send_replace(Some(Ended { result, again: Instant::now() + wait }));
        });
        waking
    }
}

fn count(metrics: &GatewayMetrics, model: &Deployment, result: &Result<Woken, WakeError>) {
    let Deployment { namespace, name } = model;
    let word = match result {
        Ok(Woken::Written) => {
            tracing::info!(%namespace, model = %name, "a model that slept is woken: scaled from 0 to 1");
            "written"
        }
        Ok(Woken::Before) => "awake",
        Err(error) => {
            let cause = crate::forward::chain(error);
            tracing::warn!(%namespace, model = %name, %cause, "a model that sleeps can't be woken");
            "failed"
        }
    };
    let labels = WakeLabels { namespace: namespace.clone(), model: name.clone(), result: word };
    metrics.wakes.get_or_create(&labels).inc();
}

impl Waking {
    /// Whether it is under way, or so fresh that there is to be no other.
    fn holds(&self, now: Instant) -> bool {
        match &*self.0.borrow() {
            Some(ended) => now < ended.again,
            // Whoever would tell is gone: the runtime is ending.
            None => self.0.has_changed().is_ok(),
        }
    }

    /// Why it failed, if it has.
    pub(crate) fn failure(&self) -> Option<Arc<WakeError>> {
        self.0.borrow().as_ref().and_then(|ended| ended.result.clone().err())
    }

    /// Comes back when it has ended, with the moment from which there may be another.
    ///
    /// # Errors
    /// Why the model is not woken.
    pub(crate) async fn ended(mut self) -> Result<Instant, Arc<WakeError>> {
        let Ok(ended) = self.0.wait_for(Option::is_some).await.map(|ended| ended.clone()) else {
            return Err(Arc::new(WakeError::Stopped));
        };
        match ended {
            Some(Ended { result, again }) => result.map(|()| again),
            None => Err(Arc::new(WakeError::Stopped)),
        }
    }
}

#[cfg(test)]
mod tests;
