//! Revisions that a model had before, and what brings one of them back.

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{KubeSchema, ResourceExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{ModelDeploymentSpec, labels};

/// A revision that another one has taken the place of. The ControllerRevision `NAME-REVISION` holds its part of the spec.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PastRevision {
    /// Hash of its pod template.
    pub revision: String,
    /// Source of its weights.
    pub source: String,
    /// When the next one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub superseded_at: Option<Time>,
}

impl PastRevision {
    /// What `record` is of; `None` where it is none of ours.
    pub fn of(record: &ControllerRevision) -> Option<Self> {
        let data = &record.data.as_ref()?.0;
        Some(PastRevision {
            revision: record.labels().get(labels::REVISION)?.clone(),
            source: data["spec"]["openWeights"]["source"].as_str()?.to_owned(),
            superseded_at: record.creation_timestamp(),
        })
    }
}

impl ModelDeploymentSpec {
    /// The part of the spec that makes a revision, as a part of an object; `None` where no weights are named.
    pub fn of_revision(&self) -> Option<Value> {
        let weights = self.open_weights.as_ref()?;
        let mut spec = json!({ "openWeights": weights });
        if let Some(drain_timeout) = &self.drain_timeout {
            spec["drainTimeout"] = json!(drain_timeout);
        }
        Some(json!({ "spec": spec }))
    }
}

/// The newest first: the one that was superseded last. Of one generation, by time and name.
pub fn newest_first<R: std::borrow::Borrow<ControllerRevision>>(records: &mut [R]) {
    records.sort_by_key(|record| {
        let record: &ControllerRevision = record.borrow();
        let made = record.metadata.creation_timestamp.as_ref().map(|time| time.0);
        std::cmp::Reverse((record.revision, made, record.name_any()))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, number: i64, data: Value) -> ControllerRevision {
        let labels = json!({"serving.weighbridge.dev/revision": name});
        serde_json::from_value(
            json!({"metadata": {"name": format!("m-{name}"), "labels": labels}, "revision": number, "data": data}),
        )
        .unwrap()
    }

    #[test]
    fn what_makes_a_revision_comes_back_as_it_was_and_nothing_else_of_the_spec() {
        let arm = json!({"source": "hf://o/r/f", "engine": {"contextLength": 64}});
        let spec = json!({"openWeights": arm, "drainTimeout": "90s", "replicas": 3, "suspend": true,
            "hold": {"maxWait": "5m"}, "rollout": {"strategy": "Replace"}});
        let spec: ModelDeploymentSpec = serde_json::from_value(spec).unwrap();
        let made = spec.of_revision().unwrap();
        assert_eq!(made, json!({"spec": {"openWeights": arm, "drainTimeout": "90s"}}));
        let closed: ModelDeploymentSpec =
            serde_json::from_value(json!({"external": {"provider": "p", "model": "x"}})).unwrap();
        assert_eq!(closed.of_revision(), None);
        let past = PastRevision::of(&record("a", 1, made)).unwrap();
        assert_eq!((past.revision.as_str(), past.source.as_str()), ("a", "hf://o/r/f"));
    }

    #[test]
    fn the_one_that_was_superseded_last_comes_first_and_others_records_are_none() {
        let data = |source: &str| json!({"spec": {"openWeights": {"source": source}}});
        let mut all = [record("b", 2, data("x")), record("c", 3, data("y")), record("a", 3, data("z"))];
        newest_first(&mut all);
        assert_eq!(all.map(|record| record.name_any()), ["m-c", "m-a", "m-b"]);
        assert_eq!(PastRevision::of(&record("d", 1, json!({"spec": {"template": {}}}))), None);
    }
}
