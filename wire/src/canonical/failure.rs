//! What went wrong, in words that every dialect, the retry rules and the metrics share.

use super::Dialect;

/// The longest wait that is told to a client: OpenAI's gives up above 120 s, and Anthropic's sleeps it all.
pub const MAX_RETRY_AFTER_SECONDS: u32 = 60;

/// Why a request was not answered, or an answer broke off.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", class.as_str())]
pub struct Failure {
    /// The class, which decides status, retry and metric.
    pub class: FailureClass,
    /// What went wrong and what to do, for a person.
    pub message: String,
    /// The status that the upstream answered with, where there was one. A failure of our own, which has no `origin`, is
    /// answered with this status where the class's own is too coarse (405, 408).
    pub status: Option<u16>,
    /// The request's field at fault.
    pub param: Option<String>,
    /// A fixed word for programs, as the upstream wrote it (OpenAI's `code`, Gemini's `status`).
    pub code: Option<String>,
    /// How long to wait, in seconds, as the upstream wrote it; writers cap it ([`Failure::retry_hint`]).
    pub retry_after_seconds: Option<u32>,
    /// The upstream's name of the request, for its support.
    pub request_id: Option<String>,
    /// The dialect that it was read from; `None` where it is our own.
    pub origin: Option<Dialect>,
}

/// The classes of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// The request is wrong; sending it again changes nothing.
    BadRequest,
    /// Prompt and answer do not fit the context; a larger model may take it.
    ContextTooLong,
    /// The body is too large.
    TooLarge,
    /// The key is missing, wrong or dead.
    Credential,
    /// The key is good and may not do this.
    Forbidden,
    /// No such model, or no such path.
    NotFound,
    /// Credit or budget is used up; waiting does not help.
    QuotaExhausted,
    /// Too many requests or tokens for now.
    RateLimited,
    /// The upstream has no room now.
    Overloaded,
    /// It took too long.
    Timeout,
    /// The answer broke off without its end.
    TruncatedStream,
    /// A filter withheld prompt or answer.
    ContentBlocked,
    /// No allowed place may answer this.
    ResidencyUnsatisfiable,
    /// The upstream failed, or answered what nobody can read.
    Upstream,
    /// A fault of ours.
    Internal,
}

impl FailureClass {
    /// Every class.
    pub const ALL: [Self; 15] = [
        Self::BadRequest,
        Self::ContextTooLong,
        Self::TooLarge,
        Self::Credential,
        Self::Forbidden,
        Self::NotFound,
        Self::QuotaExhausted,
        Self::RateLimited,
        Self::Overloaded,
        Self::Timeout,
        Self::TruncatedStream,
        Self::ContentBlocked,
        Self::ResidencyUnsatisfiable,
        Self::Upstream,
        Self::Internal,
    ];

    /// The word in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::ContextTooLong => "context_too_long",
            Self::TooLarge => "too_large",
            Self::Credential => "credential",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::QuotaExhausted => "quota_exhausted",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::TruncatedStream => "truncated_stream",
            Self::ContentBlocked => "content_blocked",
            Self::ResidencyUnsatisfiable => "residency_unsatisfiable",
            Self::Upstream => "upstream",
            Self::Internal => "internal",
        }
    }

    /// The class of an HTTP status, for bodies that say no more.
    pub fn from_status(status: u16) -> Self {
        match status {
            401 => Self::Credential,
            402 => Self::QuotaExhausted,
            403 => Self::Forbidden,
            404 => Self::NotFound,
            408 | 504 => Self::Timeout,
            413 => Self::TooLarge,
            429 => Self::RateLimited,
            503 | 529 => Self::Overloaded,
            400..=499 => Self::BadRequest,
            _ => Self::Upstream,
        }
    }

    /// Whether the same request may be answered at another time or another place of the same kind.
    pub fn may_pass(self) -> bool {
        match self {
            Self::RateLimited
            | Self::Overloaded
            | Self::Timeout
            | Self::TruncatedStream
            | Self::Upstream
            | Self::Internal => true,
            Self::BadRequest
            | Self::ContextTooLong
            | Self::TooLarge
            | Self::Credential
            | Self::Forbidden
            | Self::NotFound
            | Self::QuotaExhausted
            | Self::ContentBlocked
            | Self::ResidencyUnsatisfiable => false,
        }
    }
}

impl Failure {
    /// A failure of `class`.
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            status: None,
            param: None,
            code: None,
            retry_after_seconds: None,
            request_id: None,
            origin: None,
        }
    }

    /// The status to answer with in place of the class's, where the failure is our own and says one.
    pub(crate) fn own_status(&self) -> Option<u16> {
        self.status.filter(|_| self.origin.is_none())
    }

    /// The stream of `dialect` ended without its end.
    pub fn truncated(dialect: Dialect) -> Self {
        Self::new(
            FailureClass::TruncatedStream,
            format!("the upstream's {dialect} stream ended before the answer did"),
        )
    }

    /// The wait to tell a client.
    pub fn retry_hint(&self) -> Option<u32> {
        self.retry_after_seconds.map(|seconds| seconds.min(MAX_RETRY_AFTER_SECONDS))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn classes_have_words_of_their_own() {
        let words: BTreeSet<&str> = FailureClass::ALL.iter().map(|class| class.as_str()).collect();
        assert_eq!(words.len(), FailureClass::ALL.len());
    }

    #[test]
    fn a_status_alone_has_a_class() {
        for (status, class) in [
            (400, FailureClass::BadRequest),
            (409, FailureClass::BadRequest),
            (402, FailureClass::QuotaExhausted),
            (429, FailureClass::RateLimited),
            (500, FailureClass::Upstream),
            (503, FailureClass::Overloaded),
            (504, FailureClass::Timeout),
            (529, FailureClass::Overloaded),
        ] {
            assert_eq!(FailureClass::from_status(status), class, "{status}");
        }
        assert!(FailureClass::from_status(529).may_pass() && !FailureClass::from_status(402).may_pass());
    }

    #[test]
    fn a_wait_is_kept_where_clients_obey_it() {
        let mut failure = Failure::new(FailureClass::RateLimited, "x");
        failure.retry_after_seconds = Some(600);
        assert_eq!(failure.retry_hint(), Some(60));
    }
}
