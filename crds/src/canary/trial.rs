//! How far a trial is, as a status says it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::TrialKey;

/// A revision on trial beside the one that runs. Gateways split requests by it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// What is done with the new revision now.
    pub phase: RolloutPhase,
    /// The revision that runs, and goes on where the other is aborted.
    pub stable: String,
    /// The revision on trial.
    pub canary: String,
    /// Which of the steps it is at, the first being 1.
    pub step: i32,
    /// Percent of requests that go to it now.
    pub traffic: i32,
    /// The same in a few words.
    pub progress: String,
    /// When its step began to be measured: its pods were ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begun_at: Option<Time>,
    /// Why it waits or was aborted, with the figures that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What is done with a revision on trial.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum RolloutPhase {
    /// The pods of its step are made.
    Preparing,
    /// Its step is measured.
    Measuring,
    /// Its step is over, and waits for a person or for more requests.
    Paused,
    /// Every step is passed: it gets all pods, and then all requests.
    Promoting,
    /// It was worse than the one that runs, and is not tried again.
    Aborted,
    /// The spec does not ask for it any more, and its pods go.
    Withdrawn,
}

impl RolloutPhase {
    /// Whether the revision may still come to run, but for what a person says.
    pub fn is_on_trial(self) -> bool {
        match self {
            Self::Preparing | Self::Measuring | Self::Paused => true,
            Self::Promoting | Self::Aborted | Self::Withdrawn => false,
        }
    }
}

impl RolloutStatus {
    /// What gateways count by; none where nothing is measured.
    pub fn key(&self) -> Option<TrialKey> {
        let Self { phase, stable, canary, step, begun_at, traffic: _, progress: _, message: _ } = self;
        match phase {
            RolloutPhase::Measuring | RolloutPhase::Paused => Some(TrialKey {
                stable: stable.clone(),
                canary: canary.clone(),
                step: *step,
                begun_at: begun_at.clone()?,
            }),
            RolloutPhase::Preparing
            | RolloutPhase::Promoting
            | RolloutPhase::Aborted
            | RolloutPhase::Withdrawn => None,
        }
    }
}

/// What a person has said of a revision on trial, by the annotation [`crate::labels::PROMOTE`]. It names what it is of, so that
/// one from before does nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promotion {
    /// The revision.
    pub revision: String,
    /// The step that is passed; none for all of them.
    pub step: Option<i32>,
}

/// The word for every step.
const ALL: &str = "all";

impl Promotion {
    /// What the annotation `text` says: `REVISION:STEP`, or `REVISION:all`. None where it says neither.
    pub fn of(text: &str) -> Option<Self> {
        let (revision, step) = text.split_once(':')?;
        let step = if step == ALL { None } else { Some(step.parse().ok()?) };
        Some(Self { revision: revision.to_owned(), step })
    }

    /// Whether it passes `step` of `revision`.
    pub fn passes(&self, revision: &str, step: i32) -> bool {
        self.revision == revision && self.step.is_none_or(|passed| passed == step)
    }

    /// Whether it passes every step of `revision`.
    pub fn passes_all(&self, revision: &str) -> bool {
        self.revision == revision && self.step.is_none()
    }
}

impl std::fmt::Display for Promotion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { revision, step } = self;
        match step {
            Some(step) => write!(f, "{revision}:{step}"),
            None => write!(f, "{revision}:{ALL}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_said_is_of_one_revision_and_one_step_or_all() {
        for (text, step) in [("abc:2", Some(2)), ("abc:all", None)] {
            let said = Promotion::of(text).unwrap();
            assert_eq!((said.revision.as_str(), said.step, said.to_string()), ("abc", step, text.to_owned()));
        }
        for text in ["", "abc", "abc:", "abc:two", "abc:1.5"] {
            assert_eq!(Promotion::of(text), None, "{text}");
        }
        let passes = |text: &str| {
            let said = Promotion::of(text).unwrap();
            [said.passes("abc", 2), said.passes("abc", 3), said.passes("new", 2), said.passes_all("abc")]
        };
        assert_eq!(passes("abc:2"), [true, false, false, false]);
        assert_eq!(passes("abc:all"), [true, true, false, true]);
    }
}
