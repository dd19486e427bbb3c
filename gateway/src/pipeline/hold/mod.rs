//! Hold: a request whose model has no endpoint waits for one, in the order of arrival, within bounds.
//!
//! Of each model's line the one at its head looks at the directory whenever that changes, and takes a place at an endpoint
//! before the next one looks: a thousand that wait cost what one does. Nothing goes to the caller meanwhile, for then a
//! failure could not be a status any more. Who waits and how many is `lines`' affair, waking is [`crate::wake`]'s.

mod lines;

use std::sync::Arc;
use std::time::Duration;

use futures::future::select_all;
use tokio::time::Instant;
use weighbridge_wire::canonical::Failure;

use self::lines::{Comer, Full, Lines, Place};
use super::Pipeline;
use super::admit::Call;
use super::record::Record;
use super::route::{NoPlace, current, least_busy, place};
use crate::Limits;
use crate::directory::{Absence, Directory, Lease, Target};
use crate::failure;
use crate::metrics::{GatewayMetrics, HoldEnd};
use crate::server::Shutdown;
use crate::wake::{WakeError, Wakes, Waking};

/// Requests open at one endpoint, over all gateways, up to which those that waited are let go: as many as an engine lets wait
/// in its own queue. The rest would be refused there, after all that time.
const LET_GO: usize = 256;
/// `Retry-After` while nothing is ready: a replica that starts takes some seconds.
const SOON_SECONDS: u32 = 5;
/// The same where this gateway ends: another one answers at once.
const ELSEWHERE_SECONDS: u32 = 1;
/// The same where somebody has to change something first. Clients are told not to try by themselves.
const LASTING_SECONDS: u32 = 300;

/// What holding takes.
#[derive(Debug)]
pub(super) struct Holding {
    directory: Directory,
    lines: Arc<Lines>,
    wakes: Option<Wakes>,
    shutdown: Shutdown,
}

/// A request that may wait.
struct Waiter<'a> {
    target: &'a Arc<Target>,
    bytes: usize,
    /// When its time is up in any case.
    ends: Instant,
}

/// What a look at the directory shows.
enum Look {
    /// A place at an endpoint, which is taken.
    Place(Lease),
    /// Endpoints that have as many requests as they are to have at once.
    Busy(Arc<Target>),
    /// None yet.
    Expected,
    /// None, and none comes unless the model is woken, which is under way.
    Asleep(Waking),
}

impl Holding {
    pub(super) fn new(
        directory: Directory,
        wakes: Option<Wakes>,
        limits: &Limits,
        metrics: GatewayMetrics,
        shutdown: Shutdown,
    ) -> Self {
        Self { directory, lines: Lines::new(limits, metrics), wakes, shutdown }
    }

    /// A place at an endpoint, once there is one.
    async fn hold(&self, waiter: Waiter<'_>) -> Result<Lease, NoPlace> {
        let Waiter { target, bytes, ends } = waiter;
        let labels = target.deployment_labels();
        if self.shutdown.is_draining() {
            self.lines.count(labels, HoldEnd::draining);
            return Err(draining(target).into());
        }
        if let Look::Place(lease) = self.look(target)? {
            return Ok(lease);
        }
        let most = target.hold.share(self.directory.gateways());
        let max_wait = target.hold.max_wait.get();
        if max_wait.is_zero() || most.requests == 0 {
            return Err(self.not_ready(target, None).into());
        }
        let began = Instant::now();
        let comer = Comer { model: &target.deployment, labels, bytes, most };
        let mut place = self.lines.enter(comer).map_err(|full| self.full(target, full))?;
        let until = began.checked_add(max_wait).map_or(ends, |until| until.min(ends));
        let (end, held) = tokio::select! {
            biased;
            came = self.come(&place, target) => match came {
                Ok(lease) => (HoldEnd::released, Ok(lease)),
                Err(none @ NoPlace::Refused(_)) => (HoldEnd::refused, Err(none)),
                Err(none @ NoPlace::Changed(_)) => (HoldEnd::changed, Err(none)),
            },
            () = self.shutdown.draining() => (HoldEnd::draining, Err(draining(target).into())),
            () = tokio::time::sleep_until(until) => {
                (HoldEnd::timed_out, Err(self.not_ready(target, Some(began.elapsed())).into()))
            }
        };
        place.ends(end);
        held
    }

    /// A place at an endpoint, once everybody before has left the line and there is one.
    async fn come(&self, place: &Place, target: &Arc<Target>) -> Result<Lease, NoPlace> {
        let _turn = place.turn().await;
        let mut changes = self.directory.changes();
        loop {
            match self.look(target)? {
                Look::Place(lease) => return Ok(lease),
                Look::Busy(busy) => {
                    let freed = busy.endpoints.iter().map(|endpoint| Box::pin(endpoint.freed()));
                    let freed: Vec<_> = freed.collect();
                    // One may have been freed before anybody listened.
                    if let Look::Place(lease) = self.look(target)? {
                        return Ok(lease);
                    }
                    tokio::select! {
                        () = changes.next() => {}
                        _ = select_all(freed) => {}
                    }
                }
                Look::Expected => changes.next().await,
                Look::Asleep(waking) => tokio::select! {
                    () = changes.next() => {}
                    ended = waking.ended() => {
                        let again = ended.map_err(|error| unwakeable(target, &error))?;
                        // The watch brings what was written. Where it does not, it is written again.
                        tokio::time::timeout_at(again, changes.next()).await.ok();
                    }
                },
            }
        }
    }

    /// What there is for who asked for `target`.
    ///
    /// # Errors
    /// Where nothing is to come for it.
    fn look(&self, target: &Arc<Target>) -> Result<Look, NoPlace> {
        let now = current(&self.directory, target)?;
        if let Some(endpoint) = least_busy(&now.endpoints, &[], |_| true) {
            let most = (LET_GO / self.directory.gateways()).max(1);
            let room = (endpoint.in_flight() < most).then(|| place(&now, &[])).flatten();
            return Ok(room.map_or(Look::Busy(now), Look::Place));
        }
        match (&now.absence, self.wakes.as_ref()) {
            (Absence::Expected(_), _) => Ok(Look::Expected),
            (Absence::Asleep, Some(wakes)) => {
                let waking = wakes.wake(&now);
                match waking.failure() {
                    Some(error) => Err(unwakeable(target, &error).into()),
                    None => Ok(Look::Asleep(waking)),
                }
            }
            (Absence::Asleep, None) => Err(lasting(
                target,
                "model_out_of_service",
                "it is scaled to zero, and nobody here can wake it",
            )
            .into()),
            (Absence::Suspended, _) => Err(failure::suspended(&target.canonical).into()),
            (Absence::Lasting { code, why }, _) => Err(lasting(target, code, why).into()),
        }
    }

    fn full(&self, target: &Target, full: Full) -> Failure {
        let who = match full {
            Full::Line => "as much as may wait for it waits already (hold.maxQueued, hold.maxBytes)",
            Full::Gateway => "as many requests as may wait at this gateway wait already",
        };
        let message = format!("The model `{}` can't answer now, and {who}.", target.canonical);
        failure::overloaded("hold_full", message, SOON_SECONDS)
    }

    /// Nothing is ready, after the request waited so long.
    fn not_ready(&self, target: &Arc<Target>, held: Option<Duration>) -> Failure {
        let waited = match held {
            Some(held) => format!(" The request waited {} s.", held.as_secs()),
            None => String::new(),
        };
        let now = current(&self.directory, target);
        let why = match &now {
            Ok(now) if now.endpoints.is_empty() => now.absence.why(),
            Ok(_) => "its replicas have as many requests as they take",
            Err(_) => target.absence.why(),
        };
        let message = format!("The model `{}` can't answer now: {why}.{waited}", target.canonical);
        failure::overloaded("model_not_ready", message, SOON_SECONDS)
    }
}

impl Pipeline {
    /// A place at an endpoint of the call's model, which has none now, once there is one.
    ///
    /// # Errors
    /// 503 where the model has none in time, no more requests may wait for it, nothing is to come, or this gateway ends; 404
    /// where the model goes away; or another upstream answers for it.
    pub(super) async fn hold(
        &self,
        call: &Call,
        ends: Instant,
        record: &mut Record,
    ) -> Result<Lease, NoPlace> {
        let began = Instant::now();
        let held = self.holding.hold(Waiter { target: &call.target, bytes: call.bytes, ends }).await;
        record.held(began.elapsed());
        held
    }
}

fn lasting(target: &Target, code: &'static str, why: &str) -> Failure {
    let message = format!("The model `{}` can't answer: {why}.", target.canonical);
    failure::overloaded(code, message, LASTING_SECONDS)
}

fn unwakeable(target: &Target, error: &WakeError) -> Failure {
    let why = error.why();
    let message = format!("The model `{}` sleeps, and can't be woken now: {why}.", target.canonical);
    failure::overloaded("wake_failed", message, SOON_SECONDS)
}

fn draining(target: &Target) -> Failure {
    let message = format!(
        "The model `{}` can't answer now, and this gateway ends before it can. Another one answers at once.",
        target.canonical
    );
    failure::overloaded("gateway_draining", message, ELSEWHERE_SECONDS)
}

#[cfg(test)]
mod tests;
