//! How one revision follows another: what a plan does with what is there of old ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A fixture that can't be read fails the test.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Value, json};
use weighbridge_crds::{ModelDeployment, ResourceProfile};
use weighbridge_operator::plan::{
    self, Bounds, Guard, Images, ModelPlan, ObservedModel, PullPolicy, Revision,
};
use weighbridge_operator::validate::{self, KeyLookup, ModelReferences, Named, Place, ProfileSeen};

fn images() -> Images {
    Images {
        inference_server: "a".into(),
        gateway: "b".into(),
        pull_policy: PullPolicy::IfNotPresent,
        pull_secrets: Vec::new(),
        gateway_namespace: "c".into(),
        operator_namespace: "c".into(),
        bounds: Bounds::default(),
    }
}

fn profile() -> ResourceProfile {
    serde_json::from_value(
        json!({"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ResourceProfile",
        "metadata": {"name": "p", "uid": "q", "generation": 4}, "spec": {"cpu": "1", "memory": "1Gi"}}),
    )
    .unwrap()
}

/// The plan for a model whose spec has these fields beside its source.
fn plan(fields: Value, observed: &ObservedModel) -> ModelPlan {
    let mut spec = json!({"openWeights": {"source": "hf://o/r/f.gguf"}});
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let named = spec["openWeights"]["resources"].is_object();
    let model: ModelDeployment =
        serde_json::from_value(json!({"apiVersion": "serving.weighbridge.dev/v1alpha1",
        "kind": "ModelDeployment", "metadata": {"name": "m", "namespace": "n", "uid": "u", "generation": 1}, "spec": spec}))
        .unwrap();
    let references = ModelReferences {
        profile: if named { Named::Found(profile()) } else { Named::Unnamed },
        token: KeyLookup::Unnamed,
        provider: Named::Unnamed,
    };
    plan::model(&validate::model(&model, &references, Place::Cluster).unwrap(), observed, &images())
}

fn replace() -> Value {
    json!({"rollout": {"strategy": "Replace"}})
}

/// Name and revision of what the fields give where nothing is there yet.
fn current(fields: Value) -> (String, Revision) {
    let plan = plan(fields, &ObservedModel::default());
    (plan.children.deployment.expect("nothing is waited for").name_any(), plan.revision.unwrap())
}

fn deployment(name: &str, ready: i32) -> Arc<Deployment> {
    let meta = json!({"name": name, "namespace": "n", "uid": format!("uid of {name}"), "generation": 1});
    let status = json!({"observedGeneration": 1, "readyReplicas": ready, "updatedReplicas": ready});
    Arc::new(
        serde_json::from_value(
            json!({"metadata": meta, "spec": {"selector": {}, "template": {}}, "status": status}),
        )
        .unwrap(),
    )
}

/// A pod of a revision, with these fields of its metadata, in this phase.
fn pod(name: &str, revision: &str, fields: Value, phase: &str) -> Arc<Pod> {
    let mut meta = json!({"name": name, "labels": {"serving.weighbridge.dev/revision": revision}});
    meta.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    Arc::new(serde_json::from_value(json!({"metadata": meta, "status": {"phase": phase}})).unwrap())
}

fn going() -> Value {
    json!({"deletionTimestamp": "2026-01-01T00:00:00Z"})
}

fn names(plan: &ModelPlan) -> Vec<&str> {
    plan.removals.iter().map(|removal| removal.name.as_str()).collect()
}

#[test]
fn by_replace_the_old_revision_goes_first_and_the_new_one_is_made_when_its_pods_are_gone() {
    let (name, _) = current(replace());
    let running = |meta: Value| pod("m-old-x", "old", meta, "Running");
    // It answers, and goes all the same.
    let mut observed = ObservedModel {
        deployments: vec![deployment("m-old", 1)],
        pods: vec![running(json!({}))],
        ..ObservedModel::default()
    };
    let first = plan(replace(), &observed);
    assert_eq!((names(&first), first.revision.is_none()), (vec!["m-old"], true));
    assert_eq!(first.removals[0].guard, Guard::SpecOnly);
    assert!(first.children.deployment.is_none() && first.children.service.is_some());
    let waiting = first.waiting.expect("the old pod").to_string();
    assert_eq!(waiting, "1 pod of an old revision is not gone yet: m-old-x");
    let told = |decision: &plan::Decision| decision.what == format!("Deployment {name} is not made yet");
    assert!(first.decisions.iter().any(told), "{:?}", first.decisions);
    // Its Deployment is gone, and its pod drains.
    observed.deployments = vec![];
    observed.pods = vec![running(going())];
    let second = plan(replace(), &observed);
    assert!(second.removals.is_empty() && second.children.deployment.is_none());
    assert!(second.waiting.is_some());
    // It is gone; what has ended holds no hardware.
    observed.pods = vec![pod("m-old-y", "old", json!({}), "Failed")];
    let third = plan(replace(), &observed);
    assert_eq!(third.children.deployment.map(|made| made.name_any()), Some(name));
    assert!(third.waiting.is_none() && third.revision.is_some());
}

#[test]
fn by_surge_the_same_old_revision_stays_and_the_new_one_comes_at_once() {
    let observed = ObservedModel {
        deployments: vec![deployment("m-old", 1)],
        pods: vec![pod("m-old-x", "old", json!({}), "Running")],
        ..ObservedModel::default()
    };
    for fields in [json!({}), json!({"rollout": {"strategy": "Surge"}})] {
        let plan = plan(fields, &observed);
        assert!(plan.removals.is_empty() && plan.waiting.is_none(), "{plan:?}");
        assert!(plan.children.deployment.is_some() && plan.revision.is_some());
    }
}

/// What is stuck for want of hardware goes on once the spec says Replace.
#[test]
fn a_new_revision_that_is_made_already_waits_for_nothing() {
    let (name, revision) = current(replace());
    let observed = ObservedModel {
        deployments: vec![deployment("m-old", 1), deployment(&name, 0)],
        pods: vec![
            pod("m-old-x", "old", json!({}), "Running"),
            pod("m-new-x", revision.as_str(), json!({}), "Pending"),
        ],
        ..ObservedModel::default()
    };
    let plan = plan(replace(), &observed);
    assert_eq!(names(&plan), ["m-old"]);
    assert!(plan.waiting.is_none() && plan.children.deployment.is_some());
}

/// Back to what was, before the last of its pods is gone; and a Deployment that somebody deleted and left the pods.
#[test]
fn pods_of_the_same_revision_are_waited_for_only_on_their_way_out() {
    let (name, revision) = current(replace());
    for (meta, waits) in [(json!({}), false), (going(), true)] {
        let pods = vec![pod("m-x", revision.as_str(), meta, "Running")];
        let plan = plan(replace(), &ObservedModel { pods, ..ObservedModel::default() });
        let made = plan.children.deployment.map(|made| made.name_any());
        assert_eq!((plan.waiting.is_some(), made), (waits, (!waits).then(|| name.clone())));
    }
}

#[test]
fn a_profile_that_makes_the_revision_is_held_against_the_server_before_the_old_one_goes() {
    let mut fields = replace();
    fields["openWeights"] = json!({"source": "hf://o/r/f.gguf", "resources": {"profile": "p"}});
    let observed = ObservedModel { deployments: vec![deployment("m-old", 1)], ..ObservedModel::default() };
    let seen = ProfileSeen { name: "p".into(), uid: Some("q".into()), generation: Some(4) };
    assert_eq!(plan(fields, &observed).removals[0].guard, Guard::ProfileUnchanged(seen));
}

#[test]
fn many_old_pods_are_counted_and_a_few_named() {
    let pods: Vec<_> = ["d", "b", "c", "a"].map(|name| pod(name, "old", json!({}), "Running")).into();
    let plan = plan(replace(), &ObservedModel { pods, ..ObservedModel::default() });
    let waiting = plan.waiting.expect("four").to_string();
    assert_eq!(waiting, "4 pods of an old revision are not gone yet: a, b, c, …");
}
