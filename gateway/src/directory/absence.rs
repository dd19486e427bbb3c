//! Why a model has no endpoint.

/// Why a model has no endpoint, and with it what becomes of a request for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absence {
    /// One is to come: a request waits for it. Why there is none yet, in words that end a sentence.
    Expected(String),
    /// It sleeps: a request wakes it, and waits.
    Asleep,
    /// Its owner has taken it out of service: a request is refused, and told not to come again by itself.
    Suspended,
    /// None comes before somebody changes something: a request is refused.
    Lasting {
        /// For programs.
        code: &'static str,
        /// In words that end a sentence.
        why: String,
    },
}

impl Absence {
    /// One is to come, and nobody knows why it is not there.
    pub fn expected() -> Self {
        Self::Expected("none of its replicas is ready".to_owned())
    }

    /// None comes by itself, for this reason.
    pub fn lasting(code: &'static str, why: impl Into<String>) -> Self {
        Self::Lasting { code, why: why.into() }
    }

    /// Why, in words that end a sentence.
    pub(crate) fn why(&self) -> &str {
        match self {
            Self::Expected(why) | Self::Lasting { why, .. } => why,
            Self::Asleep => "it sleeps, and is being woken",
            Self::Suspended => "it is suspended",
        }
    }
}
