//! The children of a trial: what a plan makes and takes away at each place of it.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use serde_json::{Value, json};
use weighbridge_crds::{RolloutPhase, RolloutStatus, World, labels};
use weighbridge_operator::plan::{ChildKind, Guard, ModelPlan, ObservedModel};

use super::{Arc, context, made, plan};

/// Four pods, and a second step that takes half of them.
fn tried(length: i32, more: Value) -> Value {
    let steps = json!([{"capacity": 1, "traffic": 10, "pause": "60s"}, {"capacity": "50%", "traffic": 50, "pause": "60s"}]);
    let mut fields = json!({"replicas": 4, "rollout": {"strategy": "Canary", "canary": {"steps": steps}}});
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    context(length, fields)
}

/// With so many pods ready of the plan's own Deployment.
fn with_ready(plan: ModelPlan, ready: i32) -> Arc<Deployment> {
    let mut made = (*made(plan)).clone();
    made.metadata.generation = Some(1);
    made.status = serde_json::from_value(
        json!({"observedGeneration": 1, "readyReplicas": ready, "updatedReplicas": ready}),
    )
    .unwrap();
    Arc::new(made)
}

/// A model of which one revision runs and another is asked for.
struct Bed {
    observed: ObservedModel,
    stable: String,
    fields: Value,
}

impl Bed {
    fn new() -> Self {
        let fields = tried(64, json!({}));
        let first = plan(fields.clone(), &ObservedModel::default());
        assert!(first.rollout.is_none(), "where nothing runs there is nothing to compare with");
        let old = with_ready(first, 4);
        assert_eq!(replicas(&old), 4);
        let stable = old.labels()[labels::REVISION].clone();
        let observed = ObservedModel { deployments: vec![old], ..ObservedModel::default() };
        Self { observed, stable, fields: tried(128, json!({})) }
    }

    fn plan(&self) -> ModelPlan {
        plan(self.fields.clone(), &self.observed)
    }

    /// The trial is there, as gateways are told of it: at this place, with so many pods of its own ready.
    fn at(mut self, phase: RolloutPhase, step: i32, traffic: i32, ready: i32) -> Self {
        self.observed.rollout = self.plan().rollout;
        let made = with_ready(self.plan(), ready);
        self.observed.deployments.push(made);
        let trial = self.trial();
        (trial.phase, trial.step, trial.traffic) = (phase, step, traffic);
        trial.begun_at = serde_json::from_value(json!("1970-01-01T00:00:00Z")).unwrap();
        trial.message = Some("the figures".to_owned());
        self
    }

    fn trial(&mut self) -> &mut RolloutStatus {
        self.observed.rollout.as_mut().expect("a trial")
    }
}

fn replicas(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap()
}

/// Pods of the revision on trial and of the one that runs, as planned.
fn pods(plan: &ModelPlan) -> (Option<i32>, Option<i32>) {
    (plan.children.deployment.as_ref().map(replicas), plan.children.stable.as_deref().map(replicas))
}

fn is_marked(plan: &ModelPlan) -> bool {
    plan.children.deployment.as_ref().is_some_and(|there| there.annotations().contains_key(labels::CANARY_OF))
}

#[test]
fn gateways_are_told_of_a_revision_on_trial_before_it_has_a_pod() {
    let mut bed = Bed::new();
    let first = bed.plan();
    assert_eq!(pods(&first), (None, Some(4)));
    assert!(first.removals.is_empty());
    assert_eq!(first.revision.as_ref().map(ToString::to_string), Some(bed.stable.clone()));
    assert_eq!(
        first.rollout.as_ref().map(|trial| (trial.phase, trial.traffic)),
        Some((RolloutPhase::Preparing, 0))
    );
    bed.observed.rollout = first.rollout;
    let told = bed.plan();
    assert_eq!((pods(&told), is_marked(&told)), ((Some(1), Some(4)), true));
    assert_eq!(told.records.len(), 1, "the one that runs can be brought back");
}

#[test]
fn the_revision_that_runs_keeps_every_pod_and_the_other_has_those_of_its_step() {
    for (phase, step, own) in [
        (RolloutPhase::Preparing, 1, 1),
        (RolloutPhase::Measuring, 1, 1),
        (RolloutPhase::Preparing, 2, 2),
        (RolloutPhase::Paused, 2, 2),
    ] {
        let bed = Bed::new().at(phase, step, 10, 1);
        let planned = bed.plan();
        assert_eq!((pods(&planned), is_marked(&planned)), ((Some(own), Some(4)), true), "{phase:?} {step}");
        assert!(planned.removals.is_empty(), "{:?}", planned.removals);
        assert_eq!(planned.revision.map(|revision| revision.to_string()), Some(bed.stable));
    }
}

#[test]
fn what_runs_is_written_as_it_is_but_for_the_number_of_its_pods() {
    let mut bed = Bed::new().at(RolloutPhase::Measuring, 2, 50, 2);
    let old = Arc::clone(&bed.observed.deployments[0]);
    for (asked, own) in [(4, 2), (10, 5), (1, 1)] {
        bed.fields["replicas"] = json!(asked);
        let planned = bed.plan();
        assert_eq!(pods(&planned), (Some(own), Some(asked)));
        let stable = planned.children.stable.expect("it runs");
        assert_eq!(stable.spec.map(|spec| spec.template), old.spec.clone().map(|spec| spec.template));
        assert_eq!(stable.metadata.annotations, old.metadata.annotations);
        assert_eq!(stable.metadata.labels, old.metadata.labels);
    }
    // Suspended, or asleep: both have none, and both are there afterwards.
    for out in [json!({"suspend": true}), json!({"replicas": 0})] {
        bed.fields = tried(128, out);
        let planned = bed.plan();
        assert_eq!((pods(&planned), planned.removals.len()), ((Some(0), Some(0)), 0));
        assert_eq!(
            planned.rollout.map(|trial| (trial.phase, trial.traffic)),
            Some((RolloutPhase::Preparing, 0))
        );
    }
}

#[test]
fn what_has_passed_gets_every_pod_then_every_request_and_then_the_old_one_goes() {
    let bed = Bed::new().at(RolloutPhase::Promoting, 2, 50, 2);
    let planned = bed.plan();
    assert_eq!((pods(&planned), is_marked(&planned)), ((Some(4), Some(4)), false));
    assert!(planned.removals.is_empty());
    // All of its pods are ready, and gateways are told before the old ones go.
    let bed = Bed::new().at(RolloutPhase::Promoting, 2, 50, 4);
    let planned = bed.plan();
    assert_eq!(planned.rollout.as_ref().map(|trial| trial.traffic), Some(100));
    assert!(planned.removals.is_empty());
    let bed = Bed::new().at(RolloutPhase::Promoting, 2, 100, 4);
    let planned = bed.plan();
    let [gone] = planned.removals.as_slice() else { panic!("{:?}", planned.removals) };
    assert_eq!(gone.name, format!("m-{}", bed.stable));
    let current = planned.children.deployment.as_ref().map(ResourceExt::name_any).unwrap();
    assert_eq!(gone.guard, Guard::ReplacedBy { name: current, ready: 4 });
    assert_eq!(pods(&planned), (Some(4), None), "what goes is not written to");
    // Not ready any more: the old one stays.
    let planned = Bed::new().at(RolloutPhase::Promoting, 2, 100, 3).plan();
    assert_eq!((pods(&planned), planned.removals.len()), ((Some(4), Some(4)), 0));
}

#[test]
fn what_was_aborted_loses_its_pods_and_only_while_the_other_answers() {
    let mut bed = Bed::new().at(RolloutPhase::Aborted, 1, 0, 1);
    let planned = bed.plan();
    assert_eq!(pods(&planned), (None, Some(4)));
    let [gone] = planned.removals.as_slice() else { panic!("{:?}", planned.removals) };
    assert_eq!((gone.kind, gone.why.as_str()), (ChildKind::Deployment, "the figures"));
    assert_eq!(gone.guard, Guard::ReplacedBy { name: format!("m-{}", bed.stable), ready: 1 });
    assert_eq!(planned.rollout, bed.observed.rollout, "and it is not tried again");
    let mut silent = (*bed.observed.deployments[0]).clone();
    silent.status = None;
    bed.observed.deployments[0] = Arc::new(silent);
    assert!(bed.plan().removals.is_empty());
    // A new spec is tried beside the one that runs, and is told of first.
    bed.fields = tried(256, json!({}));
    let planned = bed.plan();
    assert_eq!((pods(&planned), planned.removals.len()), ((None, Some(4)), 0));
    assert_eq!(planned.records.len(), 1, "what was only on trial is no history");
}

#[test]
fn the_spec_of_the_revision_that_runs_ends_a_trial() {
    let mut bed = Bed::new().at(RolloutPhase::Measuring, 1, 10, 1);
    bed.fields = tried(64, json!({}));
    let planned = bed.plan();
    // Gateways first.
    assert_eq!((pods(&planned), is_marked(&planned), planned.removals.len()), ((Some(4), None), false, 0));
    bed.observed.rollout = planned.rollout;
    assert_eq!(bed.trial().phase, RolloutPhase::Withdrawn);
    let planned = bed.plan();
    let guard = Guard::ReplacedBy { name: format!("m-{}", bed.stable), ready: 1 };
    assert_eq!(planned.removals.iter().map(|gone| &gone.guard).collect::<Vec<_>>(), [&guard]);
    bed.observed.deployments.truncate(1);
    let planned = bed.plan();
    assert_eq!((pods(&planned), planned.rollout), ((Some(4), None), None));
}

#[test]
fn a_third_revision_takes_the_place_of_the_one_on_trial() {
    let mut bed = Bed::new().at(RolloutPhase::Measuring, 2, 50, 2);
    bed.fields = tried(256, json!({}));
    let planned = bed.plan();
    assert_eq!((pods(&planned), planned.removals.len()), ((None, Some(4)), 0));
    bed.observed.rollout = planned.rollout;
    let planned = bed.plan();
    assert_eq!(pods(&planned), (Some(1), Some(4)));
    let gone: Vec<_> = planned.removals.iter().map(|gone| (gone.name.clone(), gone.guard.clone())).collect();
    let second = bed.observed.deployments[1].name_any();
    assert_eq!(gone, [(second, Guard::ReplacedBy { name: format!("m-{}", bed.stable), ready: 1 })]);
}

/// Whatever was decided, another strategy or another world decides anew.
#[test]
fn another_strategy_or_world_ends_a_trial() {
    let mut bed = Bed::new().at(RolloutPhase::Aborted, 1, 0, 1);
    bed.fields = context(128, json!({"replicas": 4}));
    let planned = bed.plan();
    assert_eq!((pods(&planned), planned.rollout), ((Some(4), None), None));
    let mut bed = Bed::new().at(RolloutPhase::Measuring, 1, 10, 1);
    let external = json!({"serve": "External", "external": {"provider": "p", "model": "x"}});
    bed.fields = tried(128, external);
    let planned = bed.plan();
    assert!(planned.removals.is_empty(), "the provider does not answer");
    assert_eq!(planned.rollout.map(|trial| (trial.phase, trial.traffic)), Some((RolloutPhase::Withdrawn, 0)));
    (bed.observed.provider_ready, bed.observed.told) = (true, Some(World::External));
    assert_eq!(bed.plan().removals.len(), 2);
    bed.observed.deployments.clear();
    assert_eq!(bed.plan().rollout, None);
}

#[test]
fn the_end_of_a_step_is_looked_for() {
    let bed = Bed::new().at(RolloutPhase::Measuring, 1, 10, 1);
    assert_eq!(bed.plan().due, Some(Timestamp::from_second(60).unwrap()));
}
