//! Whether the provider answers: a state machine that is told how requests ended.

use weighbridge_crds::UpstreamHealth;
use weighbridge_wire::canonical::FailureClass;

/// Failures in a row that are no accident any more. While nobody calls, a probe is the next request, and after a failure
/// the next probe is near.
const FAILING: u32 = 3;

/// Failures in a row, whoever's requests they were.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Health {
    asked: bool,
    failures: u32,
    /// Failures that the last answer made up for.
    forgiven: u32,
}

impl Health {
    /// The provider answered, whatever it said. Says whether that is news.
    pub(super) fn answered(&mut self) -> bool {
        let before = std::mem::replace(self, Self { asked: true, failures: 0, forgiven: self.failures });
        before.upstream() != UpstreamHealth::Answering
    }

    /// The provider did not answer, or said that it can't.
    pub(super) fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// The last answer was none: it began as one.
    pub(super) fn retract(&mut self) {
        self.failures = self.failures.max(std::mem::take(&mut self.forgiven));
        self.failed();
    }

    pub(super) fn upstream(self) -> UpstreamHealth {
        match self {
            Self { failures: FAILING.., asked: _, forgiven: _ } => UpstreamHealth::Failing,
            Self { failures: _, asked: true, forgiven: _ } => UpstreamHealth::Answering,
            Self { failures: _, asked: false, forgiven: _ } => UpstreamHealth::Unknown,
        }
    }
}

/// Whether an error of this class is the provider's own trouble, and not what was asked of it or with which key.
pub(super) fn is_the_providers(class: FailureClass) -> bool {
    match class {
        FailureClass::Upstream
        | FailureClass::Overloaded
        | FailureClass::Timeout
        | FailureClass::TruncatedStream
        | FailureClass::Internal => true,
        FailureClass::BadRequest
        | FailureClass::ContextTooLong
        | FailureClass::TooLarge
        | FailureClass::Credential
        | FailureClass::Forbidden
        | FailureClass::NotFound
        | FailureClass::QuotaExhausted
        | FailureClass::RateLimited
        | FailureClass::ContentBlocked
        | FailureClass::ResidencyUnsatisfiable => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_failures_in_a_row_are_an_outage_and_one_answer_ends_it() {
        let mut health = Health::default();
        assert_eq!(health.upstream(), UpstreamHealth::Unknown);
        assert!(health.answered() && !health.answered());
        for failures in 1..=4 {
            health.failed();
            let down = health.upstream() == UpstreamHealth::Failing;
            assert_eq!(down, failures >= FAILING, "{failures}");
        }
        assert!(health.answered());
        assert_eq!(health.upstream(), UpstreamHealth::Answering);
        for failures in 1..=4 {
            health.answered();
            health.retract();
            let down = health.upstream() == UpstreamHealth::Failing;
            assert_eq!(down, failures >= FAILING, "{failures} answers that were none");
        }
        let mut never = Health::default();
        (0..FAILING).for_each(|_| never.failed());
        assert_eq!(never.upstream(), UpstreamHealth::Failing);
    }
}
