use std::sync::Arc;

use serde_json::{Value, json};
use weighbridge_crds::{Promotion, TrialFigures};

use super::*;

fn canary() -> Canary {
    serde_json::from_value(json!({"steps": [
        {"capacity": 1, "traffic": 10, "pause": "60s"},
        {"capacity": "50%", "traffic": 50, "pause": "Manual"},
    ]}))
    .unwrap()
}

fn deployment(revision: &str, ready: i32, marked: bool) -> Arc<Deployment> {
    let annotations = if marked { json!({labels::CANARY_OF: "old"}) } else { json!({}) };
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": format!("m-{revision}"), "labels": {labels::REVISION: revision},
                "annotations": annotations, "generation": 1},
            "spec": {"selector": {}, "template": {}},
            "status": {"observedGeneration": 1, "readyReplicas": ready, "updatedReplicas": ready}}))
        .unwrap(),
    )
}

fn pod(revision: &str, meta: Value) -> Arc<Pod> {
    let mut pod = json!({"metadata": {"name": "x", "labels": {labels::REVISION: revision}}});
    pod["metadata"].as_object_mut().unwrap().extend(meta.as_object().unwrap().clone());
    Arc::new(serde_json::from_value(pod).unwrap())
}

/// A model of four pods whose revision `old` runs, at a time of so many seconds.
struct Bed {
    observed: ObservedModel,
    asked: &'static str,
    replicas: i32,
    canary: Canary,
}

impl Bed {
    fn new() -> Self {
        let observed = ObservedModel { deployments: vec![deployment("old", 4, false)], ..Default::default() };
        Self { observed, asked: "new", replicas: 4, canary: canary() }
    }

    fn look(&self) -> Course {
        let Self { observed, asked, replicas, canary } = self;
        course(&Setting { model: "m", asked, replicas: *replicas, canary }, observed)
    }

    /// Goes on to what comes next, and says it.
    fn goes_on(&mut self) -> Option<RolloutStatus> {
        self.observed.rollout = self.look().status;
        self.observed.rollout.clone()
    }

    fn says(&mut self) -> (RolloutPhase, i32, i32) {
        let said = self.goes_on().expect("a trial");
        (said.phase, said.step, said.traffic)
    }

    fn at(&mut self, second: i64) {
        self.observed.now = Timestamp::from_second(second).unwrap();
    }

    fn ready(&mut self, old: i32, new: i32) {
        self.observed.deployments = vec![deployment("old", old, false), deployment("new", new, true)];
    }

    fn measured(&mut self, stable: (u64, u64), canary: (u64, u64)) {
        let of = |(requests, failed)| RevisionFigures { requests, failed, ..Default::default() };
        let key = self.observed.rollout.as_ref().and_then(RolloutStatus::key).expect("measured");
        let figures = TrialFigures { key, stable_figures: of(stable), canary_figures: of(canary) };
        self.observed.measured = Measured::Known(Some(figures));
    }

    fn promoted(&mut self, said: &str) {
        self.observed.promotion = Promotion::of(said);
    }
}

#[test]
fn a_good_revision_goes_step_by_step_and_each_once_its_pods_are_ready() {
    let mut bed = Bed::new();
    bed.at(100);
    assert_eq!(bed.says(), (RolloutPhase::Preparing, 1, 0), "gateways are told before there are pods");
    assert_eq!(bed.says(), (RolloutPhase::Preparing, 1, 0));
    bed.ready(4, 0);
    assert_eq!(bed.says(), (RolloutPhase::Preparing, 1, 0), "its pod is not ready");
    bed.ready(4, 1);
    assert_eq!(bed.says(), (RolloutPhase::Measuring, 1, 10));
    let begun = bed.observed.rollout.clone().unwrap();
    assert_eq!(begun.progress, "step 1 of 2, 10 %");
    assert_eq!(bed.look().due, Some(Timestamp::from_second(160).unwrap()));
    bed.at(130);
    bed.measured((900, 1), (100, 0));
    assert_eq!(bed.goes_on().unwrap(), begun, "a step's begin is stamped once");
    bed.at(160);
    assert_eq!(bed.says(), (RolloutPhase::Preparing, 2, 10), "what it has it keeps");
    assert_eq!(bed.look().due, None);
    assert_eq!(bed.says(), (RolloutPhase::Preparing, 2, 10), "half of four are two");
    bed.ready(4, 2);
    assert_eq!(bed.says(), (RolloutPhase::Measuring, 2, 50));
    bed.measured((500, 1), (500, 1));
    assert_eq!(bed.says(), (RolloutPhase::Paused, 2, 50), "its pause is Manual");
    for stale in ["new:1", "other:2", "other:all"] {
        bed.promoted(stale);
        assert_eq!(bed.says(), (RolloutPhase::Paused, 2, 50), "{stale}");
    }
    bed.promoted("new:2");
    assert_eq!(bed.says(), (RolloutPhase::Promoting, 2, 50));
    assert_eq!(bed.says(), (RolloutPhase::Promoting, 2, 50), "two of four are ready");
    bed.ready(4, 4);
    assert_eq!(bed.says(), (RolloutPhase::Promoting, 2, 100));
    // The old one is gone, and its pods are not.
    bed.observed.deployments = vec![deployment("new", 4, false)];
    bed.observed.pods = vec![pod("old", json!({}))];
    assert_eq!(bed.says(), (RolloutPhase::Promoting, 2, 100));
    bed.observed.pods = vec![pod("old", json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}))];
    assert_eq!(bed.goes_on(), None);
    assert_eq!(bed.goes_on(), None);
}

#[test]
fn a_worse_revision_is_aborted_and_not_tried_again_until_another_is_asked_for() {
    let mut bed = Bed::new();
    bed.goes_on();
    bed.ready(4, 1);
    bed.goes_on();
    bed.measured((900, 3), (100, 20));
    let aborted = bed.goes_on().unwrap();
    assert_eq!(
        (aborted.phase, aborted.traffic, aborted.progress.as_str()),
        (RolloutPhase::Aborted, 0, "aborted")
    );
    assert_eq!(aborted.message.as_deref(), Some("error rate 20.0 % against 0.3 % over 100 requests"));
    // With its pods gone, its figures forgotten and the operator new.
    bed.observed.deployments = vec![deployment("old", 4, false)];
    bed.observed.measured = Measured::default();
    bed.at(1_000_000);
    for replicas in [4, 0, 9] {
        bed.replicas = replicas;
        assert_eq!(bed.goes_on().as_ref(), Some(&aborted));
    }
    bed.promoted("new:1");
    assert_eq!(bed.goes_on().as_ref(), Some(&aborted), "a person's word of before");
    bed.asked = "better";
    let next = bed.goes_on().unwrap();
    assert_eq!(
        (next.phase, next.stable.as_str(), next.canary.as_str()),
        (RolloutPhase::Preparing, "old", "better")
    );
    // And what was aborted may be tried once more after that.
    bed.asked = "new";
    assert_eq!(bed.says(), (RolloutPhase::Preparing, 1, 0));
}

#[test]
fn a_person_takes_an_aborted_revision_all_the_same_or_goes_back() {
    let mut bed = Bed::new();
    bed.goes_on();
    bed.ready(4, 1);
    bed.goes_on();
    bed.measured((900, 3), (100, 20));
    bed.goes_on();
    let aborted = bed.observed.clone();
    bed.promoted("new:all");
    assert_eq!(bed.says(), (RolloutPhase::Promoting, 1, 0), "it gets nothing before all of it is ready");
    bed.ready(4, 4);
    assert_eq!(bed.says(), (RolloutPhase::Promoting, 1, 100));
    let mut bed = Bed { observed: aborted, asked: "old", ..Bed::new() };
    assert_eq!(bed.says(), (RolloutPhase::Withdrawn, 1, 0), "its pods are there still");
    bed.observed.deployments = vec![deployment("old", 4, false)];
    assert_eq!(bed.goes_on(), None);
}

#[test]
fn a_revision_that_is_withdrawn_gets_nothing_until_its_last_pod_is_gone() {
    let mut bed = Bed::new();
    bed.goes_on();
    bed.ready(4, 1);
    bed.goes_on();
    bed.asked = "old";
    assert_eq!(bed.says(), (RolloutPhase::Withdrawn, 1, 0));
    bed.observed.deployments = vec![deployment("old", 4, false)];
    bed.observed.pods = vec![pod("new", json!({}))];
    assert_eq!(bed.says(), (RolloutPhase::Withdrawn, 1, 0), "an endpoint may be left");
    let before = bed.observed.clone();
    bed.observed.pods.clear();
    assert_eq!(bed.goes_on(), None);
    // Asked for again meanwhile, it begins anew.
    let mut bed = Bed { observed: before, ..Bed::new() };
    assert_eq!(bed.says(), (RolloutPhase::Preparing, 1, 0));
}

#[test]
fn where_nothing_answers_or_a_revision_came_without_a_trial_there_is_none() {
    for (deployments, replicas) in [
        (vec![], 4),
        (vec![deployment("old", 0, false)], 4),
        (vec![deployment("old", 4, false)], 0),
        // It came by Surge, and the strategy is another since.
        (vec![deployment("old", 4, false), deployment("new", 1, false)], 4),
        (vec![deployment("new", 4, false)], 4),
    ] {
        let observed = ObservedModel { deployments, ..Default::default() };
        let mut bed = Bed { observed, replicas, ..Bed::new() };
        assert_eq!(bed.goes_on(), None);
    }
    // A status that was lost: the mark says which is which.
    let mut bed = Bed::new();
    bed.ready(4, 1);
    let begun = bed.goes_on().unwrap();
    assert_eq!((begun.stable.as_str(), begun.canary.as_str()), ("old", "new"));
}

#[test]
fn the_revision_that_runs_is_kept_over_a_third_one() {
    let mut bed = Bed::new();
    bed.goes_on();
    bed.ready(1, 4);
    bed.asked = "third";
    let begun = bed.goes_on().unwrap();
    assert_eq!((begun.stable.as_str(), begun.canary.as_str(), begun.traffic), ("old", "third", 0));
    // Somebody took it away: what is asked for comes, for there is nothing to compare it with.
    bed.observed.deployments = vec![deployment("new", 4, true)];
    assert_eq!(bed.goes_on(), None);
}

#[test]
fn a_model_that_sleeps_takes_its_step_up_again_when_it_wakes() {
    let mut bed = Bed::new();
    bed.goes_on();
    bed.ready(4, 1);
    assert_eq!(bed.says(), (RolloutPhase::Measuring, 1, 10));
    bed.replicas = 0;
    bed.ready(0, 0);
    assert_eq!(bed.says(), (RolloutPhase::Preparing, 1, 0));
    bed.replicas = 1;
    assert_eq!(bed.says(), (RolloutPhase::Preparing, 1, 0));
    bed.ready(1, 1);
    bed.at(500);
    assert_eq!(bed.says(), (RolloutPhase::Measuring, 1, 10));
    assert_eq!(bed.look().due, Some(Timestamp::from_second(560).unwrap()));
}

#[test]
fn figures_of_another_step_count_for_nothing() {
    let mut bed = Bed::new();
    bed.goes_on();
    bed.ready(4, 1);
    bed.goes_on();
    bed.measured((900, 3), (100, 20));
    let Measured::Known(Some(mut figures)) = bed.observed.measured.clone() else { panic!("known") };
    figures.key.begun_at = Time(Timestamp::from_second(7).unwrap());
    bed.observed.measured = Measured::Known(Some(figures));
    assert_eq!(bed.says(), (RolloutPhase::Measuring, 1, 10));
    bed.at(3600);
    let known = std::mem::replace(&mut bed.observed.measured, Measured::NotYet);
    assert_eq!(bed.says(), (RolloutPhase::Measuring, 1, 10), "who has not heard yet does not judge");
    bed.observed.measured = known;
    assert_eq!(bed.says(), (RolloutPhase::Paused, 1, 10), "nothing was measured of it");
    // Enough of them come at last.
    bed.measured((900, 3), (100, 0));
    assert_eq!(bed.says(), (RolloutPhase::Preparing, 2, 10));
}

#[test]
fn steps_that_are_edited_under_way_are_taken_up_from_where_it_is() {
    let mut bed = Bed::new();
    bed.goes_on();
    bed.ready(4, 2);
    bed.goes_on();
    bed.canary.steps[0].traffic = 5;
    assert_eq!(bed.says(), (RolloutPhase::Preparing, 1, 5), "less at once");
    assert_eq!(bed.says(), (RolloutPhase::Measuring, 1, 5));
    bed.canary.steps[0].traffic = 20;
    assert_eq!(bed.says(), (RolloutPhase::Preparing, 1, 5));
    bed.promoted("new:2");
    bed.goes_on();
    bed.observed.rollout.as_mut().unwrap().step = 2;
    bed.canary.steps.truncate(1);
    assert_eq!(bed.says().1, 1, "the last there is");
}

#[test]
fn a_spec_that_is_refused_sets_its_trial_aside_and_a_good_one_takes_the_step_up_again() {
    let mut bed = Bed::new();
    bed.goes_on();
    let told = bed.observed.rollout.clone().unwrap();
    assert_eq!(set_aside(&told), told, "it gets nothing yet");
    bed.ready(4, 1);
    bed.goes_on();
    let aside = set_aside(bed.observed.rollout.as_ref().unwrap());
    assert_eq!((aside.phase, aside.step, aside.traffic), (RolloutPhase::Preparing, 1, 0));
    assert_eq!(set_aside(&aside), aside);
    bed.observed.rollout = Some(aside);
    assert_eq!(bed.says(), (RolloutPhase::Measuring, 1, 10));
    let aborted = RolloutStatus { phase: RolloutPhase::Aborted, ..bed.observed.rollout.clone().unwrap() };
    assert_eq!(set_aside(&aborted), aborted);
}
