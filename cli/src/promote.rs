//! `weighbridge promote`: says that a step of a model's trial is passed, or all of them.
//!
//! It writes an annotation that names the revision and the step, so that what is said too late does nothing. What comes of it
//! is the operator's affair.

use std::io;

use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use weighbridge_crds::{ModelDeployment, Promotion, RolloutPhase, RolloutStatus, labels};

use crate::args::PromoteArgs;
use crate::cluster::{ClusterError, Found, api};
use crate::terminal::Terminal;

/// Whose write it is, in `managedFields`.
const FIELD_MANAGER: &str = "weighbridge-promote";

/// Why nothing was promoted.
#[derive(Debug, thiserror::Error)]
pub enum PromoteError {
    /// The model was not found, or not written.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Nothing is on trial.
    #[error("{model} has no revision on trial: rollout.strategy: Canary brings one when the spec changes")]
    NoTrial {
        /// The model.
        model: String,
    },
    /// The step has no pods yet.
    #[error(
        "{model}: the pods of step {step} are not ready yet, and nothing was measured: wait, or pass every step by --all"
    )]
    NotMeasured {
        /// The model.
        model: String,
        /// The step.
        step: i32,
    },
    /// The trial is over.
    #[error(
        "{model}: every step is passed already, and revision {revision} comes whole: `kubectl get mdep -w` shows it"
    )]
    Promoting {
        /// The model.
        model: String,
        /// The revision on trial.
        revision: String,
    },
    /// It was worse.
    #[error(
        "{model}: revision {revision} was aborted ({why}): apply a better spec, or take it all the same by --all"
    )]
    Aborted {
        /// The model.
        model: String,
        /// The revision on trial.
        revision: String,
        /// The figures that decided.
        why: String,
    },
    /// stdout is gone.
    #[error("can't write to stdout")]
    Print(#[source] io::Error),
}

/// Passes a step.
///
/// # Errors
/// No such model, no trial that could go on, or what the apiserver says.
pub async fn promote(args: PromoteArgs, terminal: &Terminal) -> Result<(), PromoteError> {
    let PromoteArgs { model, all } = args;
    let found = Found::named(&model).await?;
    let title = found.title();
    let promotion = promotion(&title, &found.model, all)?;
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let annotations = json!({ labels::PROMOTE: promotion.to_string() });
    // The UID is the precondition: a model of the same name made anew is not meant.
    let patch = json!({"metadata": {"uid": found.model.uid(), "annotations": annotations}});
    let written = found.models.patch(&found.name, &params, &Patch::Merge(patch)).await;
    written.map_err(api("the annotation was not written"))?;
    let Promotion { revision, step } = promotion;
    let what = step.map_or_else(|| "every step".to_owned(), |step| format!("step {step}"));
    let told = format!(
        "{title}: {what} of revision {revision} is passed; `kubectl get mdep -w` shows what follows\n"
    );
    terminal.print(&told).map_err(PromoteError::Print)
}

/// What is to be said of the model's trial.
fn promotion(title: &str, model: &ModelDeployment, all: bool) -> Result<Promotion, PromoteError> {
    let trial = model.status.as_ref().and_then(|status| status.rollout.as_ref());
    let model = title.to_owned();
    let Some(RolloutStatus { phase, canary, step, message, .. }) = trial else {
        return Err(PromoteError::NoTrial { model });
    };
    let revision = canary.clone();
    match phase {
        RolloutPhase::Withdrawn => Err(PromoteError::NoTrial { model }),
        RolloutPhase::Promoting => Err(PromoteError::Promoting { model, revision }),
        RolloutPhase::Preparing | RolloutPhase::Measuring | RolloutPhase::Paused | RolloutPhase::Aborted
            if all =>
        {
            Ok(Promotion { revision, step: None })
        }
        RolloutPhase::Measuring | RolloutPhase::Paused => Ok(Promotion { revision, step: Some(*step) }),
        RolloutPhase::Preparing => Err(PromoteError::NotMeasured { model, step: *step }),
        RolloutPhase::Aborted => {
            Err(PromoteError::Aborted { model, revision, why: message.clone().unwrap_or_default() })
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn said(phase: &str, all: bool) -> Result<String, String> {
        let rollout = match phase {
            "" => Value::Null,
            phase => json!({"phase": phase, "stable": "old", "canary": "new", "step": 2, "traffic": 10,
                "progress": "", "message": "error rate 7.1 %"}),
        };
        let model = serde_json::from_value(json!({"apiVersion": "serving.weighbridge.dev/v1alpha1",
            "kind": "ModelDeployment", "metadata": {"name": "m"}, "spec": {"openWeights": {"source": "s"}},
            "status": {"rollout": rollout}}))
        .unwrap();
        promotion("n/m", &model, all).map(|said| said.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_passed_is_named_and_what_can_t_be_is_refused_with_what_can() {
        for phase in ["Measuring", "Paused"] {
            assert_eq!(said(phase, false), Ok("new:2".to_owned()), "{phase}");
        }
        for phase in ["Preparing", "Measuring", "Paused", "Aborted"] {
            assert_eq!(said(phase, true), Ok("new:all".to_owned()), "{phase}");
        }
        for (phase, all, words) in [
            ("", false, "no revision on trial"),
            ("", true, "no revision on trial"),
            ("Withdrawn", true, "no revision on trial"),
            ("Promoting", false, "comes whole"),
            ("Preparing", false, "not ready yet"),
            (
                "Aborted",
                false,
                "was aborted (error rate 7.1 %): apply a better spec, or take it all the same by --all",
            ),
        ] {
            let refused = said(phase, all).unwrap_err();
            assert!(refused.contains(words), "{phase}: {refused}");
        }
    }
}
