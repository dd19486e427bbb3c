//! `weighbridge rollback`: writes what made an earlier revision back into a model's spec.
//!
//! It edits the spec and nothing else, so that what happens then is a rollout like any other. Which revisions there were, the
//! operator has recorded.

use std::io;

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, RemoveOperation, TestOperation};
use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use weighbridge_crds::{ModelDeployment, PastRevision, labels, newest_first};

use crate::args::RollbackArgs;
use crate::cluster::{ClusterError, Found, api};
use crate::terminal::Terminal;

/// Whose write it is, in `managedFields`.
const FIELD_MANAGER: &str = "weighbridge-rollback";

/// Why nothing was rolled back.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// The model was not found, or not written.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Nothing was superseded yet.
    #[error("{model} has no earlier revision: one is recorded when another takes its place")]
    NoHistory {
        /// The model.
        model: String,
    },
    /// Another revision than there are.
    #[error("--to {asked}: {model} has no such earlier revision; there are {known}")]
    NoRevision {
        /// The model.
        model: String,
        /// What was given.
        asked: String,
        /// What could be.
        known: String,
    },
    /// stdout is gone.
    #[error("can't write to stdout")]
    Print(#[source] io::Error),
}

/// Brings an earlier revision back.
///
/// # Errors
/// No such model or revision, or what the apiserver says.
pub async fn rollback(args: RollbackArgs, terminal: &Terminal) -> Result<(), RollbackError> {
    let found = Found::named(&args.model).await?;
    let title = found.title();
    let Found { client, models, namespace, name, model } = found;
    let of_model = format!("{}={}", labels::MODEL_UID, model.uid().unwrap_or_default());
    let records: Api<ControllerRevision> = Api::namespaced(client, &namespace);
    let records = records.list(&ListParams::default().labels(&of_model)).await;
    let records = records.map_err(api("the model's ControllerRevisions can't be listed"))?.items;
    let (past, part) = chosen(&title, &model, records, args.to.as_deref())?;
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let written = models.patch(&name, &params, &Patch::Json::<()>(edits(&model, &part))).await;
    written.map_err(api("the spec was not changed: it is another one by now, or refused"))?;
    let PastRevision { revision, source, superseded_at: _ } = past;
    let told = format!(
        "{title}: the spec is that of revision {revision} again ({source}); `kubectl get mdep -w` shows it come\n"
    );
    terminal.print(&told).map_err(RollbackError::Print)
}

/// The revision `to`, or the one that was superseded last, and its part of the spec. What the model is now is none.
fn chosen(
    model: &str,
    now: &ModelDeployment,
    mut records: Vec<ControllerRevision>,
    to: Option<&str>,
) -> Result<(PastRevision, Value), RollbackError> {
    newest_first(&mut records);
    let status = now.status.as_ref();
    // While one is on trial, or was aborted, the spec asks for that one, and the one that runs may be what is to come back.
    let on_trial = status.and_then(|status| status.rollout.as_ref()).map(|trial| &*trial.canary);
    let current = on_trial.or(status.and_then(|status| status.revision.as_deref()));
    let mut past = records.into_iter().filter_map(|record| {
        let past = PastRevision::of(&record).filter(|past| current != Some(past.revision.as_str()))?;
        Some((past, record.data?.0))
    });
    let Some(to) = to else {
        return past.next().ok_or_else(|| RollbackError::NoHistory { model: model.to_owned() });
    };
    let past: Vec<_> = past.collect();
    if past.is_empty() {
        return Err(RollbackError::NoHistory { model: model.to_owned() });
    }
    let known = past.iter().map(|(past, _)| past.revision.clone()).collect::<Vec<_>>().join(", ");
    let found = past.into_iter().find(|(past, _)| past.revision == to);
    found.ok_or_else(|| RollbackError::NoRevision { model: model.to_owned(), asked: to.to_owned(), known })
}

/// What makes the spec of `model` that of `part` where pods are concerned, unless it was changed since it was looked at.
fn edits(model: &ModelDeployment, part: &Value) -> json_patch::Patch {
    let at = |parts: [&str; 2]| PointerBuf::from_tokens(parts);
    let is = |name, value| PatchOperation::Test(TestOperation { path: at(["metadata", name]), value });
    // It puts a field there, and in the place of another.
    let set = |name, value| PatchOperation::Add(AddOperation { path: at(["spec", name]), value });
    let spec = &part["spec"];
    let mut edits = vec![
        is("uid", json!(model.uid())),
        is("generation", json!(model.metadata.generation)),
        set("openWeights", spec["openWeights"].clone()),
    ];
    match (&spec["drainTimeout"], &model.spec.drain_timeout) {
        (Value::Null, Some(_)) => {
            edits.push(PatchOperation::Remove(RemoveOperation { path: at(["spec", "drainTimeout"]) }));
        }
        (Value::Null, None) => {}
        (wanted, _) => edits.push(set("drainTimeout", wanted.clone())),
    }
    json_patch::Patch(edits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(spec: Value) -> ModelDeployment {
        serde_json::from_value(
            json!({"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ModelDeployment",
            "metadata": {"name": "m", "namespace": "n", "uid": "u", "generation": 7}, "spec": spec,
            "status": {"revision": "now"}}),
        )
        .unwrap()
    }

    fn records(names: &[(&str, i64)]) -> Vec<ControllerRevision> {
        let record = |(name, generation): &(&str, i64)| {
            let labels = json!({"serving.weighbridge.dev/revision": name});
            let data = json!({"spec": {"openWeights": {"source": format!("hf://o/{name}/f")}}});
            serde_json::from_value(json!({"metadata": {"name": format!("m-{name}"), "labels": labels},
                "revision": generation, "data": data}))
            .unwrap()
        };
        names.iter().map(record).collect()
    }

    #[test]
    fn the_one_that_was_superseded_last_comes_back_or_the_one_that_is_named() {
        let now = model(json!({"openWeights": {"source": "hf://o/r/f"}}));
        let all = || records(&[("a", 2), ("c", 9), ("b", 4), ("now", 11)]);
        let chosen = |to| chosen("n/m", &now, all(), to).map(|(past, part)| (past.revision, part));
        let source = |name: &str| json!({"spec": {"openWeights": {"source": format!("hf://o/{name}/f")}}});
        assert_eq!(chosen(None).unwrap(), ("c".to_owned(), source("c")));
        assert_eq!(chosen(Some("a")).unwrap(), ("a".to_owned(), source("a")));
        let unknown = chosen(Some("x")).unwrap_err().to_string();
        assert!(unknown.contains("--to x") && unknown.contains("c, b, a"), "{unknown}");
        for to in [None, Some("a")] {
            let none = super::chosen("n/m", &now, records(&[("now", 1)]), to).unwrap_err().to_string();
            assert!(none.contains("n/m has no earlier revision"), "{none}");
        }
        // The one that runs comes back in place of the one on trial.
        let mut tried = now.clone();
        tried.status =
            serde_json::from_value(json!({"revision": "c", "rollout": {"phase": "Aborted", "stable": "c",
            "canary": "now", "step": 1, "traffic": 0, "progress": "aborted"}}))
            .unwrap();
        assert_eq!(super::chosen("n/m", &tried, all(), None).unwrap().0.revision, "c");
    }

    #[test]
    fn what_makes_pods_is_written_and_nothing_else_and_only_over_what_was_seen() {
        let part = |more: Value| {
            let mut spec = json!({"openWeights": {"source": "hf://o/a/f"}});
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"spec": spec})
        };
        let with = model(json!({"openWeights": {"source": "x"}, "drainTimeout": "9s", "replicas": 3}));
        let without = model(json!({"openWeights": {"source": "x"}}));
        let drain = json!({"drainTimeout": "90s"});
        for (model, part, last) in [
            (&with, part(json!({})), Some(json!({"op": "remove", "path": "/spec/drainTimeout"}))),
            (
                &with,
                part(drain.clone()),
                Some(json!({"op": "add", "path": "/spec/drainTimeout", "value": "90s"})),
            ),
            (&without, part(drain), Some(json!({"op": "add", "path": "/spec/drainTimeout", "value": "90s"}))),
            (&without, part(json!({})), None),
        ] {
            let edits = serde_json::to_value(edits(model, &part)).unwrap();
            let edits = edits.as_array().unwrap();
            assert_eq!(edits[0], json!({"op": "test", "path": "/metadata/uid", "value": "u"}));
            assert_eq!(edits[1], json!({"op": "test", "path": "/metadata/generation", "value": 7}));
            let weights = json!({"source": "hf://o/a/f"});
            assert_eq!(edits[2], json!({"op": "add", "path": "/spec/openWeights", "value": weights}));
            assert_eq!(edits.get(3).cloned(), last);
        }
    }
}
