//! How one revision follows another: what a plan does with what is there of old ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A fixture that can't be read fails the test.

mod canary;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Value, json};
use weighbridge_crds::{ExternalProvider, ModelDeployment, ResourceProfile, World};
use weighbridge_operator::plan::{
    self, Bounds, ChildKind, Guard, Images, ModelPlan, ObservedModel, Proxies, PullPolicy, Revision,
};
use weighbridge_operator::validate::{self, ModelReferences, Named, Place, ProfileSeen};

fn images() -> Images {
    Images {
        inference_server: "a".into(),
        gateway: "b".into(),
        pull_policy: PullPolicy::IfNotPresent,
        pull_secrets: Vec::new(),
        gateway_namespace: "c".into(),
        operator_namespace: "c".into(),
        bounds: Bounds::default(),
        proxies: Proxies::default(),
    }
}

fn profile() -> ResourceProfile {
    serde_json::from_value(
        json!({"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ResourceProfile",
        "metadata": {"name": "p", "uid": "q", "generation": 4}, "spec": {"cpu": "1", "memory": "1Gi"}}),
    )
    .unwrap()
}

fn provider() -> ExternalProvider {
    serde_json::from_value(
        json!({"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ExternalProvider",
        "metadata": {"name": "p", "namespace": "n", "uid": "x"}, "spec": {"kind": "OpenAI",
            "apiKeys": [{"name": "s", "key": "k"}]}}),
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
        provider: if spec["external"].is_object() { Named::Found(provider()) } else { Named::Unnamed },
        ..ModelReferences::NOTHING
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

/// The Deployment that a plan makes, as it is there afterwards.
fn made(plan: ModelPlan) -> Arc<Deployment> {
    let mut made = plan.children.deployment.expect("nothing is waited for");
    made.metadata.uid = Some(format!("uid of {}", made.name_any()));
    made.status = serde_json::from_value(json!({"readyReplicas": 1})).unwrap();
    Arc::new(made)
}

fn context(length: i32, more: Value) -> Value {
    let mut fields =
        json!({"openWeights": {"source": "hf://o/r/f.gguf", "engine": {"contextLength": length}}});
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fields
}

/// The record that `plan` makes, as it is there afterwards.
fn recorded(plan: &ModelPlan) -> Arc<ControllerRevision> {
    let [record] = plan.records.as_slice() else { panic!("{:?}", plan.records) };
    let mut record = record.clone();
    record.metadata.uid = Some(format!("uid of record {}", record.name_any()));
    Arc::new(record)
}

#[test]
fn a_revision_is_recorded_when_another_one_is_asked_for_and_not_before() {
    for more in [json!({}), replace()] {
        let first = plan(context(64, more.clone()), &ObservedModel::default());
        assert!(first.records.is_empty(), "nothing more is written before there is a second one");
        let old = made(first);
        let mut observed = ObservedModel { deployments: vec![Arc::clone(&old)], ..ObservedModel::default() };
        assert!(plan(context(64, more.clone()), &observed).records.is_empty());
        let second = plan(context(128, more.clone()), &observed);
        let record = recorded(&second);
        assert_eq!((record.name_any(), record.revision), (old.name_any(), 1));
        let data = record.data.as_ref().expect("data").0.clone();
        assert_eq!(data, json!({"spec": {"openWeights": context(64, json!({}))["openWeights"]}}));
        // It is there, and nothing is written again.
        observed.history = vec![record];
        assert!(plan(context(128, more), &observed).records.is_empty());
    }
}

#[test]
fn what_is_asked_for_again_is_history_no_more() {
    let (old, new) = (context(64, json!({})), context(128, json!({})));
    let first = made(plan(old.clone(), &ObservedModel::default()));
    let mut observed = ObservedModel { deployments: vec![Arc::clone(&first)], ..ObservedModel::default() };
    let rolled = plan(new, &observed);
    observed.history = vec![recorded(&rolled)];
    observed.deployments.push(made(rolled));
    let back = plan(old.clone(), &observed);
    let second = recorded(&back);
    assert!(second.name_any() != first.name_any(), "the other one is over now");
    let forgotten: Vec<_> =
        back.removals.iter().filter(|removal| removal.kind == ChildKind::ControllerRevision).collect();
    assert_eq!(forgotten.iter().map(|gone| &gone.name).collect::<Vec<_>>(), [&first.name_any()]);
    // By Replace it is kept until it is there again: what is asked for meanwhile may be another one.
    let mut waiting = old;
    waiting["rollout"] = json!({"strategy": "Replace"});
    observed.deployments.remove(0);
    observed.pods = vec![pod("x", "other", going(), "Running")];
    let waiting = plan(waiting, &observed);
    assert!(waiting.waiting.is_some());
    assert!(!waiting.removals.iter().any(|removal| removal.kind == ChildKind::ControllerRevision));
}

#[test]
fn the_oldest_records_go_and_never_one_whose_pods_are_there() {
    let old = made(plan(context(64, json!({})), &ObservedModel::default()));
    let mut observed = ObservedModel { deployments: vec![Arc::clone(&old)], ..ObservedModel::default() };
    let template = recorded(&plan(context(128, json!({})), &observed));
    let record = |name: &str, generation: i64| {
        let mut record = (*template).clone();
        (record.metadata.name, record.metadata.uid) = (Some(name.to_owned()), Some(name.to_owned()));
        record.revision = generation;
        Arc::new(record)
    };
    // The oldest of twelve still has its pods.
    observed.history = (1..12).map(|number| record(&format!("m-{number}"), number)).collect();
    observed.history.push(record(&old.name_any(), 0));
    let plan = plan(context(128, json!({})), &observed);
    let gone: Vec<_> =
        plan.removals.iter().filter(|removal| removal.kind == ChildKind::ControllerRevision).collect();
    assert_eq!(gone.iter().map(|gone| gone.name.as_str()).collect::<Vec<_>>(), ["m-1"]);
    assert!(plan.records.is_empty());
}

/// With the arm in the spec, `serve` brings it back.
#[test]
fn a_swap_records_what_the_spec_does_not_hold_any_more() {
    let old = made(plan(context(64, json!({})), &ObservedModel::default()));
    let observed = ObservedModel {
        deployments: vec![old],
        provider_ready: true,
        told: Some(World::External),
        ..ObservedModel::default()
    };
    let external = json!({"provider": "p", "model": "x"});
    for (length, records) in [(64, 0), (128, 1)] {
        let swapped = json!({"serve": "External", "external": external});
        let swap = plan(context(length, swapped), &observed);
        assert_eq!((swap.records.len(), swap.removals.len()), (records, 1), "{length}");
    }
    let alone = plan(json!({"openWeights": null, "external": external}), &observed);
    assert_eq!(alone.records.len(), 1);
}

/// It would be brought back by the spec that there is.
#[test]
fn a_revision_of_the_same_spec_is_no_history() {
    let mut old = (*made(plan(context(64, json!({})), &ObservedModel::default()))).clone();
    old.metadata.name = Some("m-of-an-earlier-image".to_owned());
    let observed = ObservedModel { deployments: vec![Arc::new(old)], ..ObservedModel::default() };
    let same = plan(context(64, json!({})), &observed);
    assert!(same.records.is_empty() && same.children.deployment.is_some());
    assert_eq!(plan(context(128, json!({})), &observed).records.len(), 1);
}
