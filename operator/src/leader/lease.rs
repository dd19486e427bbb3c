use std::future::Future;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::Instant;

use super::{HOLD_DURATION, LEASE_DURATION, Leadership, Observation, RETRY_PERIOD, Step, decide};
use crate::metrics::{Metrics, WriteOutcome};

/// Longest wait for an answer about the Lease; two fit between a renewal and the end of the hold.
const CALL_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(3);
/// Longest wait at the end of the process: the Lease is given back, or runs out by itself.
const RELEASE_TIMEOUT: std::time::Duration = std::time::Duration::from_millis(500);

/// A look at the Lease, or a write to it, that failed.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The apiserver's answer, or no connection.
    #[error("lease: {0}")]
    Api(#[source] Box<kube::Error>),
    /// No answer in time.
    #[error("lease: no answer within {} s", CALL_TIMEOUT.as_secs())]
    Timeout,
}

/// A process that wants to lead.
///
/// Assumptions: `identity` is unique to this process, also among restarts.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    namespace: String,
    identity: String,
    leadership: Leadership,
    metrics: Metrics,
}

impl Candidate {
    /// A candidate for the Lease `namespace/name`.
    pub fn new(client: Client, namespace: &str, name: &str, identity: String, metrics: Metrics) -> Self {
        Candidate {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            identity,
            leadership: Leadership::none(),
            metrics,
        }
    }

    /// What the rest of the process asks before it writes.
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Takes and renews the Lease until `stop`, then gives it back.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let mut seen = None;
        let mut known = None;
        tokio::pin!(stop);
        loop {
            let began = Instant::now();
            match self.attempt(known.take(), &mut seen).await {
                Ok(Some(held)) => {
                    if !self.leadership.holds() {
                        tracing::info!(identity = %self.identity, "leading");
                    }
                    // From the moment the call began: the server may have stored it right then.
                    self.leadership.extend(began + HOLD_DURATION);
                    known = Some(held);
                }
                Ok(None) => self.leadership.resign(),
                Err(error) => {
                    tracing::warn!(%error, leading = self.leadership.holds(), "the Lease was not renewed")
                }
            }
            self.metrics.leading(self.leadership.holds());
            tokio::select! {
                () = tokio::time::sleep(RETRY_PERIOD) => {}
                () = &mut stop => break,
            }
        }
        let held = self.leadership.holds();
        self.leadership.resign();
        self.metrics.leading(false);
        if held && let Some(lease) = known {
            self.release(lease).await;
        }
    }

    /// One look and at most one write. `known` is our own Lease as last written, which spares the look.
    async fn attempt(
        &self,
        known: Option<Lease>,
        seen: &mut Option<Observation>,
    ) -> Result<Option<Lease>, LeaseError> {
        let lease = match known {
            Some(lease) => Some(lease),
            None => bounded(self.api.get_opt(&self.name)).await?,
        };
        let step = decide(lease.as_ref(), &self.identity, seen, Instant::now());
        let written = match (step, lease) {
            (Step::Wait, _) => return Ok(None),
            (Step::Create, _) | (Step::Renew | Step::Take, None) => {
                let lease = self.held(
                    ObjectMeta {
                        name: Some(self.name.clone()),
                        namespace: Some(self.namespace.clone()),
                        ..ObjectMeta::default()
                    },
                    0,
                    None,
                );
                self.counted("create", bounded(self.api.create(&PostParams::default(), &lease)).await)
            }
            (Step::Renew | Step::Take, Some(lease)) => {
                let spec = lease.spec.unwrap_or_default();
                let transitions = spec.lease_transitions.unwrap_or_default() + i32::from(step == Step::Take);
                let acquired = spec.acquire_time.filter(|_| step == Step::Renew);
                // The resourceVersion in it is the precondition: of two candidates one is refused.
                let lease = self.held(lease.metadata, transitions, acquired);
                self.counted(
                    "update",
                    bounded(self.api.replace(&self.name, &PostParams::default(), &lease)).await,
                )
            }
        };
        match written {
            Ok(lease) => Ok(Some(lease)),
            // Somebody was faster. Nobody holds it for us, so the next look decides.
            Err(LeaseError::Api(error)) if is_conflict(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn held(&self, metadata: ObjectMeta, transitions: i32, acquired: Option<MicroTime>) -> Lease {
        let now = MicroTime(jiff::Timestamp::now());
        Lease {
            metadata,
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: i32::try_from(LEASE_DURATION.as_secs()).ok(),
                acquire_time: acquired.or_else(|| Some(now.clone())),
                renew_time: Some(now),
                lease_transitions: Some(transitions),
                ..LeaseSpec::default()
            }),
        }
    }

    async fn release(&self, mut lease: Lease) {
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
            spec.lease_duration_seconds = Some(1);
        }
        let parameters = PostParams::default();
        match tokio::time::timeout(RELEASE_TIMEOUT, self.api.replace(&self.name, &parameters, &lease)).await {
            Ok(Ok(_)) => {
                self.metrics.api_write("update", "Lease", WriteOutcome::Success);
                tracing::info!("the Lease was given back");
            }
            Ok(Err(error)) => tracing::warn!(%error, "the Lease was not given back and runs out by itself"),
            Err(_) => tracing::warn!("the Lease was not given back in time and runs out by itself"),
        }
    }

    fn counted(&self, verb: &str, result: Result<Lease, LeaseError>) -> Result<Lease, LeaseError> {
        let outcome = match &result {
            Ok(_) => WriteOutcome::Success,
            Err(LeaseError::Timeout) => WriteOutcome::Timeout,
            Err(LeaseError::Api(error)) if is_conflict(error) => WriteOutcome::Conflict,
            Err(LeaseError::Api(_)) => WriteOutcome::Error,
        };
        self.metrics.api_write(verb, "Lease", outcome);
        result
    }
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

async fn bounded<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, LeaseError> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(LeaseError::Api(Box::new(error))),
        Err(_) => Err(LeaseError::Timeout),
    }
}
