use std::future::Future;
use std::time::Duration;

use crate::leader::Leadership;
use crate::metrics::{Metrics, WriteOutcome};

/// Longest wait for one answer of the apiserver. Well below the time between the end of our own
/// leadership and another's beginning, so that a write sent in time also arrives in time.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(4);

/// A call to the apiserver that did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// This process does not hold the Lease, so that it may not write.
    #[error("not the leader: nothing was written")]
    NotLeading,
    /// No answer in time: the write may have happened.
    #[error("no answer to {verb} {kind} within {} s", CALL_TIMEOUT.as_secs())]
    Timeout {
        /// What was asked.
        verb: &'static str,
        /// Of which kind.
        kind: String,
    },
    /// The apiserver's own answer, or no connection.
    #[error("{verb} {kind}: {source}")]
    Api {
        /// What was asked.
        verb: &'static str,
        /// Of which kind.
        kind: String,
        /// The answer.
        #[source]
        source: Box<kube::Error>,
    },
}

impl CallError {
    /// The apiserver's answer, if it gave one.
    pub fn status(&self) -> Option<&kube::core::Status> {
        match self {
            CallError::Api { source, .. } => match &**source {
                kube::Error::Api(status) => Some(status),
                _ => None,
            },
            CallError::NotLeading | CallError::Timeout { .. } => None,
        }
    }
}

/// The one way to the apiserver for everything that reconcile reads and writes.
///
/// Guarantees: every call ends within [`CALL_TIMEOUT`]; every write is counted, and none is sent by a process
/// that does not hold the Lease.
#[derive(Clone)]
pub struct Caller {
    leadership: Leadership,
    metrics: Metrics,
}

impl Caller {
    /// A way that asks `leadership` before each write.
    pub fn new(leadership: Leadership, metrics: Metrics) -> Self {
        Caller { leadership, metrics }
    }

    /// Reads.
    ///
    /// # Errors
    /// The apiserver's answer, or none in time.
    pub async fn read<T>(
        &self,
        kind: &str,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, CallError> {
        bounded("get", kind, call).await
    }

    /// Writes.
    ///
    /// # Errors
    /// Not leading, the apiserver's answer, or none in time.
    pub async fn write<T>(
        &self,
        verb: &'static str,
        kind: &str,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, CallError> {
        if !self.leadership.holds() {
            return Err(CallError::NotLeading);
        }
        let result = bounded(verb, kind, call).await;
        let outcome = match &result {
            Ok(_) => WriteOutcome::Success,
            Err(CallError::Timeout { .. }) => WriteOutcome::Timeout,
            Err(error) if error.status().is_some_and(|status| status.code == 409) => WriteOutcome::Conflict,
            Err(_) => WriteOutcome::Error,
        };
        self.metrics.api_write(verb, kind, outcome);
        result
    }
}

async fn bounded<T>(
    verb: &'static str,
    kind: &str,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(CallError::Api { verb, kind: kind.to_owned(), source: Box::new(source) }),
        Err(_) => Err(CallError::Timeout { verb, kind: kind.to_owned() }),
    }
}
