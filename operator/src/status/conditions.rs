use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use weighbridge_crds::ExternalProvider;
use weighbridge_crds::condition::{self, Reason};

/// Conditions that the operator writes, in their order. Others' conditions are left alone.
pub const OURS: [&str; 15] = [
    condition::ACCEPTED,
    condition::ARTIFACT_READY,
    condition::SCHEDULED,
    condition::ENGINE_READY,
    condition::ROUTABLE,
    condition::CREDENTIALS_VALID,
    condition::QUOTA_AVAILABLE,
    condition::MODELS_CURRENT,
    condition::RESIDENCY_KEPT,
    condition::ACTIVE,
    condition::ROLLED_OUT,
    condition::HEALTHY,
    condition::MODELS_FOUND,
    condition::KEYS_CURRENT,
    condition::READY,
];

/// Longest message that the API takes is 32 KiB; nobody reads that much.
const LONGEST_MESSAGE: usize = 1024;

/// A condition's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It is so.
    True,
    /// It is not.
    False,
    /// Nobody knows.
    Unknown,
}

impl Truth {
    /// The status as written.
    pub fn as_str(self) -> &'static str {
        match self {
            Truth::True => "True",
            Truth::False => "False",
            Truth::Unknown => "Unknown",
        }
    }

    fn of(status: &str) -> Self {
        match status {
            "True" => Truth::True,
            "False" => Truth::False,
            _ => Truth::Unknown,
        }
    }
}

/// What one condition is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Says {
    /// Its type.
    pub type_: &'static str,
    /// True is the good state.
    pub truth: Truth,
    /// Its reason, as written.
    pub reason: String,
    /// For people.
    pub message: String,
}

impl Says {
    /// The good state.
    pub fn yes(type_: &'static str, reason: Reason, message: impl Into<String>) -> Self {
        Self::new(type_, Truth::True, reason, message)
    }

    /// The bad state.
    pub fn no(type_: &'static str, reason: Reason, message: impl Into<String>) -> Self {
        Self::new(type_, Truth::False, reason, message)
    }

    /// Nobody knows, for this reason.
    pub fn unknown(type_: &'static str, reason: Reason, message: impl Into<String>) -> Self {
        Self::new(type_, Truth::Unknown, reason, message)
    }

    fn new(type_: &'static str, truth: Truth, reason: Reason, message: impl Into<String>) -> Self {
        Says { type_, truth, reason: reason.as_str().to_owned(), message: message.into() }
    }

    /// What `condition` says, as a condition of `type_`.
    pub fn again(type_: &'static str, condition: &Condition) -> Self {
        Says {
            type_,
            truth: Truth::of(&condition.status),
            reason: condition.reason.clone(),
            message: condition.message.clone(),
        }
    }

    /// Whether it is the good state.
    pub fn good(&self) -> bool {
        self.truth == Truth::True
    }

    /// The same, as another condition.
    pub fn as_type(&self, type_: &'static str) -> Self {
        Says { type_, ..self.clone() }
    }
}

/// Puts `says` into conditions. The time of a condition's last change is kept while its status is.
pub fn merge(old: &[Condition], says: Vec<Says>, generation: i64, now: Timestamp) -> Vec<Condition> {
    says.into_iter()
        .map(|Says { type_, truth, reason, message }| {
            let status = truth.as_str();
            let before = old.iter().find(|condition| condition.type_ == type_ && condition.status == status);
            Condition {
                type_: type_.to_owned(),
                status: status.to_owned(),
                reason,
                message: shortened(message),
                observed_generation: Some(generation),
                last_transition_time: before
                    .map_or(Time(now), |condition| condition.last_transition_time.clone()),
            }
        })
        .collect()
}

/// Those of `conditions` that are ours, in our order.
pub fn ours(conditions: &[Condition]) -> Vec<Condition> {
    let find = |type_: &&str| conditions.iter().find(|condition| condition.type_ == *type_).cloned();
    OURS.iter().filter_map(find).collect()
}

fn shortened(mut message: String) -> String {
    if message.len() > LONGEST_MESSAGE {
        let end = (0..=LONGEST_MESSAGE).rev().find(|at| message.is_char_boundary(*at)).unwrap_or_default();
        message.truncate(end);
        message.push('…');
    }
    message
}

/// Whether the provider's proxy answers, as far as its status speaks of its spec.
pub fn is_ready(provider: &ExternalProvider) -> bool {
    current(provider, condition::READY).is_some_and(|condition| condition.status == "True")
}

/// A condition of a provider that speaks of its present spec.
pub fn current<'a>(provider: &'a ExternalProvider, type_: &str) -> Option<&'a Condition> {
    let conditions = &provider.status.as_ref()?.conditions;
    let condition = conditions.iter().find(|condition| condition.type_ == type_)?;
    (condition.observed_generation == provider.metadata.generation).then_some(condition)
}
