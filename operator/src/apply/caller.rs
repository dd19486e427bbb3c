use std::future::Future;
use std::time::Duration;

use kube::core::response::StatusDetails;

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

    /// Whether what is on the server is not what this call was meant for. A PATCH that names the UID of another object than the
    /// live one is not refused as a conflict, but as one that would change the UID; and where a JSON patch's test fails, no
    /// object and no field is named.
    pub fn is_conflict(&self) -> bool {
        let Some(status) = self.status() else { return false };
        let elsewhere = |details: &StatusDetails| {
            let StatusDetails { name, causes, .. } = details;
            let untold = name.is_empty() && causes.is_empty();
            untold || causes.iter().any(|cause| cause.field == "metadata.uid")
        };
        status.code == 409 || (status.code == 422 && status.details.as_ref().is_some_and(elsewhere))
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
            Err(error) if error.is_conflict() => WriteOutcome::Conflict,
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

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use kube::core::response::StatusCause;

    use super::*;
    use crate::apply::ApplyError;
    use crate::controller::{Category, ReconcileError};

    /// What the apiserver answers with `code`, naming `fields` of the object `name`.
    fn refused(code: u16, name: &str, fields: &[&str]) -> CallError {
        let cause = |field: &&str| StatusCause {
            reason: "FieldValueInvalid".to_owned(),
            message: "field is immutable".to_owned(),
            field: (*field).to_owned(),
        };
        let details = StatusDetails {
            name: name.to_owned(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            causes: fields.iter().map(cause).collect(),
            retry_after_seconds: 0,
        };
        let status = Status { details: Some(details), ..Status::failure("refused", "").with_code(code) };
        let source = Box::new(kube::Error::Api(Box::new(status)));
        CallError::Api { verb: "apply", kind: "Service".to_owned(), source }
    }

    #[test]
    fn a_write_to_another_object_of_the_name_is_a_conflict_and_no_refusal_of_the_child() {
        for (code, name, fields, conflict) in [
            (409, "m", vec![], true),
            (422, "m", vec!["metadata.uid"], true),
            (422, "m", vec!["spec.clusterIPs[0]", "metadata.uid"], true),
            (422, "m", vec!["spec.selector"], false),
            (422, "m", vec![], false),
            // So a JSON patch is refused whose test fails.
            (422, "", vec![], true),
            (422, "", vec!["spec.selector"], false),
            (400, "m", vec!["metadata.uid"], false),
            (400, "", vec![], false),
        ] {
            let words = format!("{code} {name:?} {fields:?}");
            assert_eq!(refused(code, name, &fields).is_conflict(), conflict, "{words}");
            let error = ApplyError::Call(refused(code, name, &fields));
            assert_eq!(error.refusal().is_none(), conflict, "{words}");
            let category = ReconcileError::Apply(error).category();
            assert_eq!(category == Category::Conflict, conflict, "{words}");
        }
    }
}
