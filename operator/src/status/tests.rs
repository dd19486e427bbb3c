use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::{Value, json};
use weighbridge_crds::condition::Reason;
use weighbridge_crds::{
    ExternalProvider, ExternalProviderStatus, ModelDeployment, ModelDeploymentStatus, ModelRoutes,
    ProviderState, Rollout, RolloutStrategy, World,
};

use super::routable::{Told, Wanted, routable};
use super::{
    ModelOutcome, NamedModel, ProviderOutcome, ProviderSeen, ProviderView, model, provider as provider_status,
};
use crate::engines::{Said, Took};
use crate::gateways::{Gateway, Routes, Seen, Word};
use crate::plan::{
    Applied, Bounds, Images, ModelChildren, ObservedModel, ProviderChildren, Proxies, PullPolicy, Revision,
};
use crate::proxies::Heard;
use crate::validate::{self, KeyLookup, ModelReferences, Named, Place, Refusal};

fn revision() -> Revision {
    Revision::of(&serde_json::from_value(json!({})).unwrap())
}

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

fn parent(replicas: i32, status: Option<&ModelDeploymentStatus>) -> ModelDeployment {
    let mut parent: ModelDeployment = serde_json::from_value(json!({
        "apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ModelDeployment",
        "metadata": {"name": "m", "namespace": "n", "uid": "u", "generation": 3},
        "spec": {"openWeights": {"source": "hf://o/r/f"}, "replicas": replicas}}))
    .unwrap();
    parent.status = status.cloned();
    parent
}

fn children(failure: Option<&str>) -> ModelChildren<Applied> {
    let conditions =
        failure.map(|message| json!([{"type": "ReplicaFailure", "status": "True", "message": message}]));
    let deployment: Deployment =
        serde_json::from_value(json!({"metadata": {}, "spec": {"selector": {}, "template": {}}, "status": {"conditions": conditions}})).unwrap();
    ModelChildren { deployment: Some(deployment), stable: None, service: None, state: PhantomData }
}

fn pod(name: &str, spec: Value, status: Value) -> Arc<Pod> {
    let labels = json!({"serving.weighbridge.dev/revision": revision().as_str()});
    let mut spec = spec;
    spec["containers"] = json!([]);
    Arc::new(
        serde_json::from_value(
            json!({"metadata": {"name": name, "labels": labels}, "spec": spec, "status": status}),
        )
        .unwrap(),
    )
}

fn on_node(name: &str, ready: bool, container: Value) -> Arc<Pod> {
    let ready = if ready { "True" } else { "False" };
    let mut statuses = container;
    statuses["name"] = json!("engine");
    statuses["image"] = json!("image:1");
    statuses["imageID"] = json!("");
    statuses["ready"] = json!(ready == "True");
    statuses["restartCount"] = json!(0);
    pod(
        name,
        json!({"nodeName": "node"}),
        json!({"conditions": [{"type": "Ready", "status": ready}], "containerStatuses": [statuses]}),
    )
}

fn unplaced(message: &str) -> Arc<Pod> {
    let condition =
        json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message});
    pod("p", json!({}), json!({"conditions": [condition]}))
}

/// As a queue holds it back, with the apiserver's words.
fn gated() -> Arc<Pod> {
    let words = "Scheduling is blocked due to non-empty scheduling gates";
    let condition =
        json!({"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": words});
    pod("gated", json!({"schedulingGates": [{"name": "queue"}]}), json!({"conditions": [condition]}))
}

fn derived(
    replicas: i32,
    failure: Option<&str>,
    pods: &[Arc<Pod>],
    old: Option<&ModelDeploymentStatus>,
) -> ModelDeploymentStatus {
    let parent = parent(replicas, old);
    let references = ModelReferences::NOTHING;
    let valid = validate::model(&parent, &references, Place::Cluster).unwrap();
    let outcome = ModelOutcome::Applied {
        said: HashMap::new(),
        model: Box::new(valid),
        children: Box::new(children(failure)),
        revision: Some(revision()),
        rollout: None,
        waiting: None,
        missing: None,
    };
    model(&parent, &outcome, &seen(pods), &[], None, Timestamp::UNIX_EPOCH)
}

fn seen(pods: &[Arc<Pod>]) -> ObservedModel {
    ObservedModel { pods: pods.to_vec(), ..ObservedModel::default() }
}

/// Of all conditions but `Routable`, of which no gateway says anything here.
fn reasons(status: &ModelDeploymentStatus) -> Vec<String> {
    let but_routable = |condition: &&Condition| condition.type_ != "Routable";
    signed(&status.conditions.iter().filter(but_routable).cloned().collect::<Vec<_>>())
}

/// Each condition's reason, after a sign of its status.
fn signed(conditions: &[Condition]) -> Vec<String> {
    let sign = |status: &str| match status {
        "True" => "+",
        "False" => "-",
        _ => "?",
    };
    conditions.iter().map(|condition| format!("{}{}", sign(&condition.status), condition.reason)).collect()
}

fn message(status: &ModelDeploymentStatus, type_: &str) -> String {
    status
        .conditions
        .iter()
        .find(|condition| condition.type_ == type_)
        .map(|condition| condition.message.clone())
        .unwrap_or_default()
}

#[test]
fn each_state_of_the_pods_is_told_by_the_conditions() {
    let waiting = |reason: &str| json!({"state": {"waiting": {"reason": reason, "message": "words"}}});
    let ended = |reason: &str, words: &str| {
        json!({"state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 3, "reason": reason, "message": words}}})
    };
    let up = || on_node("up", true, json!({}));
    type Case = (i32, Option<&'static str>, Vec<Arc<Pod>>, [&'static str; 3]);
    let cases: Vec<Case> = vec![
        (0, None, vec![], ["+ScaledToZero", "-ScaledToZero", "-ScaledToZero"]),
        (1, None, vec![], ["-Progressing", "-Progressing", "-Progressing"]),
        (1, Some("exceeded quota"), vec![], ["-PodsRefused", "-Progressing", "-PodsRefused"]),
        (
            1,
            None,
            vec![unplaced("0/3 nodes")],
            ["-InsufficientCapacity", "-Progressing", "-InsufficientCapacity"],
        ),
        (
            1,
            None,
            vec![unplaced("0/2 nodes are available: 2 cannot allocate all claims.")],
            ["-InsufficientCapacity", "-Progressing", "-InsufficientCapacity"],
        ),
        (
            1,
            None,
            vec![unplaced("persistentvolumeclaim \"c\" not found")],
            ["-ClaimNotReady", "-Progressing", "-ClaimNotReady"],
        ),
        (1, None, vec![gated()], ["-Progressing", "-Progressing", "-Progressing"]),
        (
            2,
            None,
            vec![gated(), unplaced("0/3 nodes")],
            ["-InsufficientCapacity", "-Progressing", "-InsufficientCapacity"],
        ),
        (1, None, vec![on_node("p", false, json!({}))], ["+PodsScheduled", "-Progressing", "-Progressing"]),
        (
            1,
            None,
            vec![on_node("p", false, waiting("ContainerCreating"))],
            ["+PodsScheduled", "-Progressing", "-Progressing"],
        ),
        (
            1,
            None,
            vec![on_node("p", false, waiting("ErrImagePull"))],
            ["+PodsScheduled", "-ImagePull", "-ImagePull"],
        ),
        (
            1,
            None,
            vec![on_node("p", false, waiting("CreateContainerConfigError"))],
            ["+PodsScheduled", "-ContainerRefused", "-ContainerRefused"],
        ),
        (
            1,
            None,
            vec![on_node("p", false, ended("OOMKilled", ""))],
            ["+PodsScheduled", "-OutOfMemory", "-OutOfMemory"],
        ),
        (
            1,
            None,
            vec![on_node("p", false, ended("Error", "boom"))],
            ["+PodsScheduled", "-CrashLoop", "-CrashLoop"],
        ),
        (
            1,
            None,
            vec![on_node(
                "p",
                false,
                ended(
                    "Error",
                    "{\"level\":\"INFO\",\"message\":\"can't fetch yet\"}\nError: digest: f has a, expected b",
                ),
            )],
            ["+PodsScheduled", "-DigestMismatch", "-DigestMismatch"],
        ),
        (
            1,
            None,
            vec![on_node(
                "p",
                false,
                ended("Error", "Error: signature: of pvc://c/f: \"f\" has a, and b was signed"),
            )],
            ["+PodsScheduled", "-SignatureInvalid", "-SignatureInvalid"],
        ),
        (
            1,
            None,
            vec![on_node("p", false, ended("Error", "Error: can't fetch hf://o/r/f: 401"))],
            ["+PodsScheduled", "-DownloadFailed", "-DownloadFailed"],
        ),
        (1, None, vec![up()], ["+PodsScheduled", "+EngineAnswering", "+Serving"]),
        (
            2,
            None,
            vec![up(), on_node("p", false, ended("Error", "boom"))],
            ["+PodsScheduled", "-CrashLoop", "+Serving"],
        ),
        (2, None, vec![up(), unplaced("0/3 nodes")], ["-InsufficientCapacity", "-Progressing", "+Serving"]),
    ];
    for (replicas, failure, pods, wanted) in cases {
        let status = derived(replicas, failure, &pods, None);
        let told = reasons(&status);
        assert_eq!([&told[0], &told[3]], ["+Valid", "+NotSuspended"]);
        assert_eq!([&told[1], &told[2], &told[4]], wanted, "{pods:#?}");
        assert!(status.conditions.iter().all(|condition| condition.observed_generation == Some(3)));
    }
}

#[test]
fn a_pod_that_a_queue_holds_back_waits_in_the_schedulers_words() {
    let told = message(&derived(1, None, &[gated()], None), "Scheduled");
    assert_eq!(told, "0 of 1 pods have a node: Scheduling is blocked due to non-empty scheduling gates");
}

#[test]
fn a_node_that_fell_silent_is_named() {
    let mut silent = (*on_node("p", false, json!({}))).clone();
    // As the kubelet wrote it last: only the pod's own readiness was taken by the controller.
    let statuses = silent.status.as_mut().and_then(|status| status.container_statuses.as_mut()).unwrap();
    statuses[0].ready = true;
    let status = derived(1, None, &[Arc::new(silent)], None);
    assert_eq!(reasons(&status)[2], "-NodeSilent");
    assert_eq!(reasons(&status)[4], "-NodeSilent");
    assert_eq!(
        message(&status, "EngineReady"),
        "0 of 1 pods answer: node node of pod p has stopped reporting"
    );
}

#[test]
fn the_scheduler_and_the_container_are_quoted() {
    let unschedulable =
        derived(1, None, &[unplaced("0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")], None);
    assert!(message(&unschedulable, "Ready").contains("3 Insufficient nvidia.com/gpu."));
    let crash = json!({"state": {"terminated": {"exitCode": 101, "reason": "Error", "message": "first\n\nlast words\n"}}});
    let crashed = derived(1, None, &[on_node("p", false, crash)], None);
    assert_eq!(
        message(&crashed, "Ready"),
        "0 of 1 pods answer: the container ended with code 101 and said: first | last words"
    );
}

#[test]
fn pods_of_another_revision_or_on_their_way_out_do_not_make_ready() {
    let mut old = (*on_node("old", true, json!({}))).clone();
    old.metadata.labels = Some([("serving.weighbridge.dev/revision".to_owned(), "other".to_owned())].into());
    let mut leaving = (*on_node("leaving", true, json!({}))).clone();
    leaving.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH));
    let mut evicted = (*on_node("evicted", true, json!({}))).clone();
    evicted.status.get_or_insert_default().phase = Some("Failed".to_owned());
    let status = derived(1, None, &[Arc::new(old), Arc::new(leaving), Arc::new(evicted)], None);
    assert_eq!(reasons(&status)[4], "-Progressing");
    assert_eq!((status.replicas, status.ready_replicas), (1, 0), "the old revision's pod is still a pod");
}

#[test]
fn the_order_of_pods_and_the_clock_change_nothing() {
    let (a, b) = (
        on_node("a", false, json!({})),
        on_node("b", false, json!({"state": {"waiting": {"reason": "ErrImagePull"}}})),
    );
    let first = derived(2, None, &[a.clone(), b.clone()], None);
    let parent = parent(2, Some(&first));
    let references = ModelReferences::NOTHING;
    let valid = validate::model(&parent, &references, Place::Cluster).unwrap();
    let outcome = ModelOutcome::Applied {
        said: HashMap::new(),
        model: Box::new(valid),
        children: Box::new(children(None)),
        revision: Some(revision()),
        rollout: None,
        waiting: None,
        missing: None,
    };
    assert_eq!(model(&parent, &outcome, &seen(&[b, a]), &[], None, Timestamp::MAX), first);
}

#[test]
fn a_time_of_transition_moves_with_the_status_only() {
    let first = derived(1, None, &[], None);
    let parent = parent(1, Some(&first));
    let refusal = ModelOutcome::Refused(Refusal::new(Reason::InvalidSpec, "words"));
    let refused = model(&parent, &refusal, &seen(&[]), &[], None, Timestamp::MAX);
    let time = |status: &ModelDeploymentStatus, type_: &str| {
        status
            .conditions
            .iter()
            .find(|condition| condition.type_ == type_)
            .map(|condition| condition.last_transition_time.0)
    };
    assert_eq!(time(&refused, "Accepted"), Some(Timestamp::MAX), "True to False");
    assert_eq!(
        time(&refused, "Ready"),
        Some(Timestamp::UNIX_EPOCH),
        "False stays False, with another reason"
    );
}

#[test]
fn a_spec_that_is_refused_still_tells_what_answers() {
    let first = derived(1, None, &[on_node("p", true, json!({}))], None);
    let parent = parent(1, Some(&first));
    let refusal = ModelOutcome::Refused(Refusal::new(Reason::InvalidSpec, "words"));
    let refused =
        model(&parent, &refusal, &seen(&[on_node("p", true, json!({}))]), &[], None, Timestamp::MAX);
    assert_eq!(reasons(&refused), ["-InvalidSpec", "+NotSuspended", "-InvalidSpec"]);
    assert_eq!((refused.revision, refused.served, refused.ready_replicas), (first.revision, first.served, 1));
}

/// A provider whose status speaks of `generation`; its spec is of generation 2.
fn provider(generation: i64, status: &str) -> ExternalProvider {
    serde_json::from_value(json!({"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ExternalProvider",
        "metadata": {"name": "p", "namespace": "n", "uid": "x", "generation": 2},
        "spec": {"kind": "OpenAICompatible", "baseURL": "https://e.example/v1", "apiKeys": [{"name": "s", "key": "k"}]},
        "status": {"conditions": [{"type": "Ready", "status": status, "reason": "Why", "message": "words",
            "observedGeneration": generation, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}))
    .unwrap()
}

/// The status of a model with `spec`, which names `found`.
fn external(spec: Value, found: &ExternalProvider) -> ModelDeploymentStatus {
    external_after(spec, found, Heard::NotYet, None)
}

/// The same, where the provider's proxy was `heard` and the status was `old`.
fn external_after(
    spec: Value,
    found: &ExternalProvider,
    heard: Heard,
    old: Option<&ModelDeploymentStatus>,
) -> ModelDeploymentStatus {
    let mut parent = parent(1, old);
    parent.spec = serde_json::from_value(spec).unwrap();
    let references = ModelReferences { provider: Named::Found(found.clone()), ..ModelReferences::NOTHING };
    let valid = validate::model(&parent, &references, Place::Cluster).unwrap();
    let none = ModelChildren { deployment: None, stable: None, service: None, state: PhantomData };
    let outcome = ModelOutcome::Applied {
        model: Box::new(valid),
        children: Box::new(none),
        revision: None,
        rollout: None,
        waiting: None,
        missing: None,
        said: HashMap::new(),
    };
    let seen = ProviderSeen { provider: Arc::new(found.clone()), heard };
    model(&parent, &outcome, &ObservedModel::default(), &[], Some(&seen), Timestamp::UNIX_EPOCH)
}

#[test]
fn an_external_model_is_as_its_provider_says_of_its_present_spec() {
    for (found, wanted) in [
        (provider(2, "True"), "+Serving"),
        (provider(1, "True"), "-ProxyNotReady"),
        (provider(2, "False"), "-ProxyNotReady"),
    ] {
        let status = external(json!({"external": {"provider": "p", "model": "large"}}), &found);
        assert_eq!(reasons(&status)[5], wanted);
    }
}

/// The known gap: an external model that stays Ready while its upstream is dead.
#[test]
fn an_external_model_is_not_ready_while_its_upstream_is_dead() {
    let spec = || json!({"external": {"provider": "p", "model": "large"}});
    for reason in ["CredentialsInvalid", "QuotaExhausted", "ProviderUnreachable"] {
        let mut found = provider(2, "False");
        found.status.as_mut().unwrap().conditions[0].reason = reason.to_owned();
        let status = external(spec(), &found);
        assert_eq!(reasons(&status)[4..], [format!("-{reason}"), format!("-{reason}")]);
        assert!(
            message(&status, "Ready").contains("ExternalProvider p: words"),
            "{}",
            message(&status, "Ready")
        );
    }
}

#[test]
fn a_model_that_the_provider_does_not_list_is_unhealthy_and_told() {
    let spec = || json!({"external": {"provider": "p", "model": "large"}});
    let listed = |name: &str| {
        let list = json!({"complete": true, "models": [{"name": name}]});
        said(json!({"probed": true, "keys": [{"state": "Usable"}], "models": list}))
    };
    let found = provider(2, "True");
    let there = external_after(spec(), &found, listed("large"), None);
    assert_eq!(reasons(&there)[4..], ["+ProviderAnswering", "+Serving"]);
    let gone = external_after(spec(), &found, listed("larger"), None);
    assert_eq!(reasons(&gone)[4..], ["-ModelNotFound", "+Serving"]);
    assert!(message(&gone, "Healthy").contains("\"large\""));
    // An operator that starts anew has heard nothing yet, and changes nothing.
    assert_eq!(external_after(spec(), &found, Heard::NotYet, Some(&gone)), gone);
    assert_eq!(reasons(&external_after(spec(), &found, Heard::Lost, Some(&gone)))[4], "?StateUnknown");
}

fn said(mut state: Value) -> Heard {
    for (field, value) in [("namespace", json!("n")), ("provider", json!("p")), ("version", json!(1))] {
        state[field] = value;
    }
    let state: ProviderState = serde_json::from_value(state).unwrap();
    Heard::Said(Arc::new(state))
}

/// The status of a provider whose proxy runs, whose pod was `heard`, and whose status was `old`.
fn of_provider(heard: Heard, old: Option<&ExternalProviderStatus>) -> ExternalProviderStatus {
    let mut parent = provider(2, "True");
    parent.status = old.cloned();
    let deployment: Deployment =
        serde_json::from_value(json!({"metadata": {}, "spec": {"selector": {}, "template": {}}})).unwrap();
    let children = ProviderChildren {
        network_policy: Default::default(),
        service: Default::default(),
        deployment,
        state: PhantomData,
    };
    let outcome = ProviderOutcome::Applied { children: Box::new(children), revision: revision() };
    let mut pod = (*on_node("proxy", true, json!({}))).clone();
    pod.metadata.uid = Some("pod".to_owned());
    let view = ProviderView {
        pods: vec![Arc::new(pod)],
        heard: [("pod".to_owned(), heard)].into(),
        models: vec![NamedModel { deployment: "m".to_owned(), model: "large".to_owned() }],
    };
    provider_status(&parent, &outcome, &view, Timestamp::UNIX_EPOCH)
}

fn provider_reasons(status: &ExternalProviderStatus) -> Vec<String> {
    signed(&status.conditions)
}

#[test]
fn a_provider_says_what_its_proxy_says() {
    let unheard = of_provider(Heard::NotYet, None);
    assert_eq!(
        provider_reasons(&unheard),
        [
            "+Valid",
            "+PodsScheduled",
            "+ProxyAnswering",
            "?StateUnknown",
            "?StateUnknown",
            "?StateUnknown",
            "-Progressing"
        ]
    );
    // A proxy that is mute, such as one of an earlier version, is trusted to answer all the same.
    let mute = of_provider(Heard::Lost, Some(&unheard));
    assert_eq!(provider_reasons(&mute)[3..], ["?StateUnknown", "?StateUnknown", "?StateUnknown", "+Serving"]);
    assert_eq!(
        of_provider(Heard::NotYet, Some(&mute)),
        mute,
        "and stays so with an operator that starts anew"
    );
    let list = json!({"complete": true, "models": [{"name": "large"}]});
    let good =
        json!({"probed": true, "keys": [{"state": "Usable"}], "models": list, "upstream": "Answering"});
    let good = of_provider(said(good), Some(&unheard));
    assert_eq!(
        provider_reasons(&good)[3..],
        ["+CredentialsAccepted", "+QuotaLeft", "+ModelsListed", "+Serving"]
    );
    assert_eq!(
        serde_json::to_value(&good.keys).unwrap(),
        json!([{"name": "s", "key": "k", "state": "Usable"}])
    );
    let error =
        json!({"time": "2026-03-05T12:00:00Z", "status": 401, "class": "credential", "message": "no"});
    let dead = json!({"probed": true, "keys": [{"state": "Refused"}], "lastUpstreamError": error});
    let dead = of_provider(said(dead), Some(&good));
    assert_eq!(
        provider_reasons(&dead)[3..],
        ["-CredentialsInvalid", "?CredentialsInvalid", "?ModelsNotListed", "-CredentialsInvalid"]
    );
    assert_eq!(dead.last_upstream_error.as_ref().and_then(|error| error.status), Some(401));
    // An operator that starts anew has heard nothing yet: what is dead stays dead.
    assert_eq!(of_provider(Heard::NotYet, Some(&dead)), dead);
}

#[test]
fn what_differs_in_its_time_only_is_the_same() {
    let with = |time: &str, message: &str| {
        let error = json!({"time": time, "class": "upstream", "message": message});
        said(json!({"probed": true, "keys": [{"state": "Usable"}], "lastUpstreamError": error}))
    };
    let first = of_provider(with("2026-03-05T12:00:00Z", "boom"), None);
    assert_eq!(of_provider(with("2026-03-05T12:00:09Z", "boom"), Some(&first)), first);
    assert_ne!(of_provider(with("2026-03-05T12:00:09Z", "bang"), Some(&first)), first);
}

#[test]
fn an_external_model_at_zero_sleeps_like_an_open_one() {
    let found = provider(2, "True");
    let spec = json!({"external": {"provider": "p", "model": "large"}, "replicas": 0});
    let status = external(spec, &found);
    assert_eq!(reasons(&status), reasons(&derived(0, None, &[], None)));
    assert!(message(&status, "Ready").contains("spec.replicas is 0: no call goes to ExternalProvider p"));
}

#[test]
fn a_suspended_model_says_so_in_either_world_whatever_its_replicas() {
    let both = |serve: &str, replicas: i32| {
        json!({"serve": serve, "suspend": true, "replicas": replicas,
            "external": {"provider": "p", "model": "large"}, "openWeights": {"source": "hf://o/r/f"}})
    };
    for (serve, replicas) in [("OpenWeights", 2), ("OpenWeights", 0), ("External", 1)] {
        let status = external(both(serve, replicas), &provider(2, "True"));
        let wanted = ["+Valid", "+Suspended", "-Suspended", "-Suspended", "-Suspended"];
        assert_eq!(reasons(&status), wanted, "{serve}");
        assert!(message(&status, "Ready").starts_with("spec.suspend is true: no "), "{serve}");
    }
    let mut parent = parent(1, None);
    parent.spec.suspend = true;
    let refusal = ModelOutcome::Refused(Refusal::new(Reason::InvalidSpec, "words"));
    let refused = model(&parent, &refusal, &seen(&[]), &[], None, Timestamp::UNIX_EPOCH);
    assert_eq!(reasons(&refused), ["-InvalidSpec", "-Suspended", "-Suspended"]);
}

#[test]
fn replicas_kept_for_the_other_arm_are_told() {
    let spec = json!({"serve": "External", "external": {"provider": "p", "model": "large"},
        "openWeights": {"source": "hf://o/r/f"}, "replicas": 4});
    let accepted = message(&external(spec, &provider(2, "True")), "Accepted");
    assert!(accepted.contains("spec.replicas 4 is kept for openWeights"), "{accepted}");
}

#[test]
fn what_becomes_of_a_gpu_is_told() {
    let mut parent = parent(1, None);
    let weights = json!({"openWeights": {"source": "hf://o/r/f", "resources": {"profile": "p"}}});
    parent.spec = serde_json::from_value(weights).unwrap();
    let says = |gpu: Value, reason: Option<&str>| {
        let profile = serde_json::from_value(json!({"apiVersion": "serving.weighbridge.dev/v1alpha1",
            "kind": "ResourceProfile", "metadata": {"name": "p"},
            "spec": {"cpu": "1", "memory": "1Gi", "gpu": gpu}}))
        .unwrap();
        let (token, provider) = (KeyLookup::Unnamed, Named::Unnamed);
        let references =
            ModelReferences { profile: Named::Found(profile), token, provider, ..ModelReferences::NOTHING };
        let valid = validate::model(&parent, &references, Place::Cluster).unwrap();
        let said = Said::Started { without_gpu: reason.map(str::to_owned), phases: Vec::new() };
        let outcome = ModelOutcome::Applied {
            said: HashMap::from([("p".to_owned(), said)]),
            model: Box::new(valid),
            children: Box::new(children(None)),
            revision: Some(revision()),
            rollout: None,
            waiting: None,
            missing: None,
        };
        let pods = [on_node("p", true, json!({}))];
        let status = model(&parent, &outcome, &seen(&pods), &[], None, Timestamp::UNIX_EPOCH);
        ["Accepted", "Ready"].map(|type_| {
            let message = message(&status, type_);
            let told = ["/readyz say why", "shared out to 2 GPUs", "the CPU computes: no driver"];
            told.map(|words| message.contains(words))
        })
    };
    assert_eq!(says(json!({}), None), [[true, false, false]; 2]);
    assert_eq!(says(json!({"count": 2}), None), [[true, true, false]; 2]);
    assert_eq!(says(json!({}), Some("no driver")), [[false, false, true]; 2]);
    assert_eq!(says(Value::Null, None), [[false, false, false]; 2]);
}

#[test]
fn a_start_is_told_while_it_goes_and_how_long_it_took_when_it_went() {
    let valid = || {
        let references = ModelReferences::NOTHING;
        validate::model(&parent(1, None), &references, Place::Cluster).unwrap()
    };
    let told = |ready: bool, said: Option<Said>, old: Option<&ModelDeploymentStatus>| {
        let outcome = ModelOutcome::Applied {
            said: said.into_iter().map(|said| ("p".to_owned(), said)).collect(),
            model: Box::new(valid()),
            children: Box::new(children(None)),
            revision: Some(revision()),
            rollout: None,
            waiting: None,
            missing: None,
        };
        model(
            &parent(1, old),
            &outcome,
            &seen(&[on_node("p", ready, json!({}))]),
            &[],
            None,
            Timestamp::UNIX_EPOCH,
        )
    };
    let words = "fetching the model (download: 120 of 500 MB)";
    let starting = told(false, Some(Said::Starting(words.to_owned())), None);
    assert_eq!(message(&starting, "EngineReady"), format!("0 of 1 pods answer: {words}"));
    assert_eq!(message(&starting, "Ready"), format!("0 of 1 pods answer: {words}"));
    let phases = vec![Took { phase: "total".to_owned(), seconds: 4.5 }];
    let started = told(true, Some(Said::Started { without_gpu: None, phases }), Some(&starting));
    assert_eq!(started.phases.iter().map(|phase| phase.milliseconds).collect::<Vec<_>>(), [4500]);
    assert!(!message(&started, "Ready").contains("fetching"));
    // Who was started anew has not asked yet, and says what was known.
    assert_eq!(told(true, None, Some(&started)).phases, started.phases);
    let other = ModelDeploymentStatus { revision: Some("other".to_owned()), ..started };
    assert!(told(true, None, Some(&other)).phases.is_empty());
}

#[test]
fn what_waits_for_old_pods_to_go_says_for_which() {
    let observed = ObservedModel { pods: vec![on_node("m-old-x", true, json!({}))], ..Default::default() };
    let mut parent = parent(2, None);
    parent.spec.rollout = Some(Rollout { strategy: RolloutStrategy::Replace, canary: None });
    let references = ModelReferences::NOTHING;
    let mut told = |suspend: bool| {
        parent.spec.suspend = suspend;
        let valid = validate::model(&parent, &references, Place::Cluster).unwrap();
        let waiting = crate::plan::model(&valid, &observed, &images()).waiting;
        assert!(waiting.is_some());
        let outcome = ModelOutcome::Applied {
            model: Box::new(valid),
            children: Box::new(ModelChildren {
                deployment: None,
                stable: None,
                service: None,
                state: PhantomData,
            }),
            revision: None,
            rollout: None,
            waiting,
            missing: None,
            said: HashMap::new(),
        };
        model(&parent, &outcome, &observed, &[], None, Timestamp::UNIX_EPOCH)
    };
    let status = told(false);
    let waits = "-WaitingForOldPods";
    assert_eq!(reasons(&status), ["+Valid", waits, waits, "+NotSuspended", waits]);
    assert!(message(&status, "Ready").contains("m-old-x"), "{}", message(&status, "Ready"));
    assert_eq!((status.revision, status.ready_replicas, status.replicas), (None, 0, 1));
    assert_eq!(reasons(&told(true))[4], "-Suspended", "whatever else is so");
}

/// What answers, and Ready, for a model in both worlds of which `served` answered last: with its engine's pod ready or not,
/// and its provider.
fn swapping(fields: Value, served: Option<&str>, pod: Option<bool>, provided: &str) -> (String, String) {
    let mut spec =
        json!({"openWeights": {"source": "hf://o/r/f"}, "external": {"provider": "p", "model": "large"}});
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let status = served.map(|backend| json!({"served": {"backend": backend, "model": "what was"}}));
    let mut parent = parent(1, None);
    parent.spec = serde_json::from_value(spec).unwrap();
    parent.status = status.map(|status| serde_json::from_value(status).unwrap());
    let found = provider(2, provided);
    let references = ModelReferences { provider: Named::Found(found.clone()), ..ModelReferences::NOTHING };
    let valid = validate::model(&parent, &references, Place::Cluster).unwrap();
    let open = matches!(valid.served, validate::Served::Open(_));
    let deployment = children(None).deployment.filter(|_| open);
    let outcome = ModelOutcome::Applied {
        model: Box::new(valid),
        children: Box::new(ModelChildren { deployment, stable: None, service: None, state: PhantomData }),
        revision: open.then(revision),
        rollout: None,
        waiting: None,
        missing: None,
        said: HashMap::new(),
    };
    let pods: Vec<_> = pod.into_iter().map(|ready| on_node("p", ready, json!({}))).collect();
    let provided = ProviderSeen { provider: Arc::new(found), heard: Heard::NotYet };
    let status = model(&parent, &outcome, &seen(&pods), &[], Some(&provided), Timestamp::UNIX_EPOCH);
    let served = status.served.clone().unwrap();
    (format!("{} {}", served.backend, served.model), message(&status, "Ready"))
}

#[test]
fn the_world_before_answers_until_the_next_one_can_take_over() {
    let (open, closed) = ("Open hf://o/r/f", "Closed p/large");
    let to = |serve: &str| json!({"serve": serve});
    let with = |serve: &str, name: &str, value: Value| json!({"serve": serve, name: value});
    let (up, starting, none) = (Some(true), Some(false), None);
    for (fields, served, pod, provided, answers, swaps) in [
        // To the closed world: its proxy decides.
        (to("External"), Some("Open"), up, "False", open, true),
        (to("External"), Some("Open"), up, "True", closed, false),
        (to("External"), Some("Open"), none, "False", open, true),
        // To the open one: every pod of the revision does.
        (to("OpenWeights"), Some("Closed"), none, "True", closed, true),
        (to("OpenWeights"), Some("Closed"), starting, "True", closed, true),
        (to("OpenWeights"), Some("Closed"), up, "True", open, false),
        (with("OpenWeights", "replicas", json!(2)), Some("Closed"), up, "True", closed, true),
        // A provider that fails meanwhile may answer again.
        (to("OpenWeights"), Some("Closed"), starting, "False", closed, true),
        // No swap: the first word, and one that is over.
        (to("External"), None, none, "False", closed, false),
        (to("OpenWeights"), None, starting, "True", open, false),
        (to("OpenWeights"), Some("Open"), starting, "True", open, false),
        // The spec says that the world before must not; one that sleeps is woken by who asks.
        (with("OpenWeights", "suspend", json!(true)), Some("Closed"), none, "True", open, false),
        (with("OpenWeights", "replicas", json!(0)), Some("Closed"), none, "True", open, false),
        (with("External", "suspend", json!(true)), Some("Open"), up, "False", closed, false),
        (with("OpenWeights", "external", Value::Null), Some("Closed"), none, "True", open, false),
        (with("External", "openWeights", Value::Null), Some("Open"), up, "False", closed, false),
    ] {
        let (now, ready) = swapping(fields.clone(), served, pod, provided);
        let told = ready.contains("until it can take over");
        assert_eq!((now.as_str(), told), (answers, swaps), "{fields} {served:?} {pod:?} {provided}: {ready}");
    }
}

#[test]
fn a_swap_whose_spec_is_refused_leaves_the_world_before() {
    let mut parent = parent(1, None);
    let spec = json!({"serve": "OpenWeights", "openWeights": {"source": "file:///f"}, "external": {"provider": "p", "model": "x"}});
    parent.spec = serde_json::from_value(spec).unwrap();
    parent.status =
        Some(serde_json::from_value(json!({"served": {"backend": "Closed", "model": "p/x"}})).unwrap());
    let refusal = ModelOutcome::Refused(Refusal::new(Reason::InvalidSpec, "words"));
    let status = model(&parent, &refusal, &seen(&[]), &[], None, Timestamp::UNIX_EPOCH);
    assert_eq!(status.served.as_ref().map(|served| served.backend.as_str()), Some("Closed"));
    assert_eq!(message(&status, "Ready"), "words; calls go to p/x until it can take over");
}

#[test]
fn what_was_before_is_listed_the_newest_first_and_not_what_is_there_again() {
    let record = |name: &str, generation: i64| {
        let labels = json!({"serving.weighbridge.dev/revision": name});
        let data = json!({"spec": {"openWeights": {"source": format!("hf://o/{name}/f")}}});
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": format!("m-{name}"), "labels": labels,
            "creationTimestamp": "2026-03-05T12:00:00Z"}, "revision": generation, "data": data}))
            .unwrap(),
        )
    };
    let now = revision();
    let observed = ObservedModel {
        history: vec![record("a", 2), record("b", 4), record(now.as_str(), 3)],
        ..ObservedModel::default()
    };
    let references = ModelReferences::NOTHING;
    let parent = parent(1, None);
    let valid = validate::model(&parent, &references, Place::Cluster).unwrap();
    let applied = ModelOutcome::Applied {
        model: Box::new(valid),
        children: Box::new(children(None)),
        revision: Some(now),
        rollout: None,
        waiting: None,
        missing: None,
        said: HashMap::new(),
    };
    let refused = ModelOutcome::Refused(Refusal::new(Reason::InvalidSpec, "words"));
    for (outcome, wanted) in [(applied, 2), (refused, 3)] {
        let history = model(&parent, &outcome, &observed, &[], None, Timestamp::UNIX_EPOCH).history;
        assert_eq!(history.len(), wanted);
        assert_eq!((history[0].revision.as_str(), history[0].source.as_str()), ("b", "hf://o/b/f"));
        assert!(history[0].superseded_at.is_some());
    }
}

/// What a gateway says that goes by `generation` of the model and sends its calls to `pods` of `world`.
fn sends(generation: i64, world: World, pods: &[&str]) -> Word {
    let (namespace, name, uid) = ("n".to_owned(), "m".to_owned(), "u".to_owned());
    let pods = pods.iter().map(|pod| (*pod).to_owned()).collect();
    Word::Routes(Routes::of(&ModelRoutes { namespace, name, uid, generation, world, pods, trial: None }))
}

fn say(words: &[Word]) -> Seen {
    let names = ["a", "b", "c", "d", "e"];
    let gateways = names.into_iter().zip(words.iter().cloned());
    Seen::Ready(gateways.map(|(name, word)| Gateway { name: name.to_owned(), word }).collect())
}

fn condition_of<'a>(status: &'a ModelDeploymentStatus, type_: &str) -> &'a Condition {
    status.conditions.iter().find(|condition| condition.type_ == type_).unwrap()
}

#[test]
fn every_ready_gateway_has_to_send_calls_to_what_answers() {
    use World::{External, OpenWeights};
    let wanted = |told| Wanted { uid: "u", generation: 3, world: OpenWeights, pods: vec!["p", "q"], told };
    let good = || sends(3, OpenWeights, &["p"]);
    let mut old = condition_of(&derived(0, None, &[], None), "Ready").clone();
    old.type_ = "Routable".to_owned();
    let before = Condition { status: "True".to_owned(), reason: "Routed".to_owned(), ..old.clone() };
    for (words, old, told, expected, message) in [
        (vec![], None, Told::Wanted, "?NoGateway", "no gateway is ready"),
        (vec![good(), good()], None, Told::Wanted, "+Routed", "every ready gateway"),
        // A later spec than ours is ours in a moment, and more pods than we know of are there.
        (vec![sends(4, OpenWeights, &["o", "q"])], None, Told::Wanted, "+Routed", "every"),
        (
            vec![good(), Word::Unknown],
            None,
            Told::Wanted,
            "-AwaitingGateways",
            "gateway b does not know of it",
        ),
        (vec![sends(2, OpenWeights, &["p"])], None, Told::Wanted, "-AwaitingGateways", "generation 2 of 3"),
        (vec![sends(3, External, &["p"])], None, Told::Wanted, "-AwaitingGateways", "the closed world"),
        (vec![sends(3, OpenWeights, &["o"])], None, Told::Wanted, "-AwaitingGateways", "none of the pods"),
        (vec![sends(3, OpenWeights, &[])], None, Told::Wanted, "-AwaitingGateways", "none of the pods"),
        // What one says against it counts, whatever another keeps to itself.
        (vec![Word::Lost, Word::Unknown], None, Told::Wanted, "-AwaitingGateways", "gateway b"),
        (vec![good(), Word::Lost], None, Told::Wanted, "?GatewaysUnheard", "gateway b does not say"),
        (vec![good(), Word::NotYet], None, Told::Wanted, "?GatewaysUnheard", "gateway b has not said yet"),
        // A gateway that has just become ready takes nothing back, and what was bad is not good for it.
        (vec![good(), Word::NotYet], Some(&before), Told::Wanted, "+Routed", ""),
        (vec![good(), Word::NotYet], Some(&old), Told::Wanted, "?GatewaysUnheard", "gateway b"),
        (vec![Word::Unknown; 5], None, Told::Wanted, "-AwaitingGateways", "; and 2 more"),
        // While the world before goes on, gateways are right to call it.
        (vec![sends(3, External, &["p"])], None, Told::Before, "-Progressing", "once the new world can"),
        (vec![sends(3, External, &["p"])], None, Told::Now, "-Progressing", "are told to"),
        (vec![sends(3, External, &["p"])], Some(&before), Told::Now, "+Routed", "every"),
    ] {
        let says = routable(&say(&words), &wanted(told), old);
        let condition = super::conditions::merge(&[], vec![says], 3, Timestamp::UNIX_EPOCH);
        assert_eq!(signed(&condition), [expected], "{words:?} {told:?}");
        assert!(condition[0].message.contains(message), "{words:?}: {}", condition[0].message);
    }
    let another = Wanted { uid: "another", ..wanted(Told::Wanted) };
    assert!(routable(&say(&[good()]), &another, None).message.contains("an earlier one of its name"));
    // Where the provider's pods are not known, some are enough, and none are not.
    let unknown = || Wanted { pods: Vec::new(), ..wanted(Told::Wanted) };
    assert!(routable(&say(&[good()]), &unknown(), None).good());
    assert!(!routable(&say(&[sends(3, OpenWeights, &[])]), &unknown(), None).good());
    // Before gateways are listed, as by an operator that has just begun, all is as it was.
    assert!(routable(&Seen::NotYet, &unknown(), Some(&before)).good());
    assert_eq!(routable(&Seen::NotYet, &unknown(), None).reason, "GatewaysUnheard");
}

/// The status of a model with one pod, which answers or not, of which gateways say this.
fn routed(gateways: Seen, ready: bool, old: Option<&ModelDeploymentStatus>) -> ModelDeploymentStatus {
    let parent = parent(1, old);
    let references = ModelReferences::NOTHING;
    let valid = validate::model(&parent, &references, Place::Cluster).unwrap();
    let outcome = ModelOutcome::Applied {
        missing: None,
        said: HashMap::new(),
        model: Box::new(valid),
        children: Box::new(children(None)),
        revision: Some(revision()),
        rollout: None,
        waiting: None,
    };
    let observed = ObservedModel { gateways, ..seen(&[on_node("p", ready, json!({}))]) };
    model(&parent, &outcome, &observed, &[], None, Timestamp::UNIX_EPOCH)
}

#[test]
fn ready_includes_routable_where_a_gateway_speaks_against_it() {
    let good = sends(3, World::OpenWeights, &["p"]);
    let signs = |status: &ModelDeploymentStatus| {
        ["EngineReady", "Routable", "Ready"]
            .map(|type_| signed(&[condition_of(status, type_).clone()]).remove(0))
    };
    let serving = routed(say(std::slice::from_ref(&good)), true, None);
    assert_eq!(signs(&serving), ["+EngineAnswering", "+Routed", "+Serving"]);
    let behind = routed(say(&[good.clone(), Word::Unknown]), true, Some(&serving));
    assert_eq!(signs(&behind), ["+EngineAnswering", "-AwaitingGateways", "-AwaitingGateways"]);
    let told = message(&behind, "Ready");
    assert!(
        told.starts_with("1 of 1 pods answer for hf://o/r/f, but gateway b does not know of it"),
        "{told}"
    );
    // What nobody says is not held against it.
    for silent in [say(&[good.clone(), Word::Lost]), say(&[])] {
        let status = routed(silent, true, Some(&serving));
        assert!(
            signs(&status)[1].starts_with('?') && signs(&status)[2] == "+Serving",
            "{:?}",
            signs(&status)
        );
    }
    // Before a pod answers there is nothing that gateways could do.
    let starting = routed(say(&[sends(3, World::OpenWeights, &[])]), false, None);
    assert_eq!(signs(&starting), ["-Progressing", "-Progressing", "-Progressing"]);
}

/// An operator or a gateway that starts anew, and one more or fewer of them, is no write for any model.
#[test]
fn what_gateways_do_for_themselves_changes_no_status() {
    let good = sends(3, World::OpenWeights, &["p"]);
    let serving = routed(say(&[good.clone(), good.clone()]), true, None);
    for gateways in [
        Seen::NotYet,
        say(std::slice::from_ref(&good)),
        say(&[good.clone(), good.clone(), good.clone()]),
        say(&[Word::NotYet]),
        say(&[good.clone(), Word::NotYet]),
        say(&[sends(3, World::OpenWeights, &["p", "q"])]),
    ] {
        assert_eq!(routed(gateways.clone(), true, Some(&serving)), serving, "{gateways:?}");
    }
}

/// What is said of a trial at this place, with one pod of each revision, and the Event of it where another was said before.
fn on_trial(phase: &str, traffic: i32) -> ModelDeploymentStatus {
    let mut parent = parent(1, None);
    let steps = json!([{"capacity": 1, "traffic": 10, "pause": "5m"}, {"capacity": "50%", "traffic": 50, "pause": "Manual"}]);
    parent.spec.rollout =
        serde_json::from_value(json!({"strategy": "Canary", "canary": {"steps": steps}})).unwrap();
    let references = ModelReferences::NOTHING;
    let valid = validate::model(&parent, &references, Place::Cluster).unwrap();
    let rollout = (!phase.is_empty()).then(|| {
        serde_json::from_value(
            json!({"phase": phase, "stable": revision().as_str(), "canary": "new", "step": 1,
            "traffic": traffic, "progress": "step 1 of 2, 10 %", "message": "the figures"}),
        )
        .unwrap()
    });
    let outcome = ModelOutcome::Applied {
        missing: None,
        model: Box::new(valid),
        children: Box::new(children(None)),
        revision: Some(revision()),
        rollout: rollout.map(Box::new),
        waiting: None,
        said: HashMap::new(),
    };
    let pods = [on_node("p", true, json!({}))];
    model(&parent, &outcome, &seen(&pods), &[], None, Timestamp::UNIX_EPOCH)
}

#[test]
fn a_trial_is_told_beside_what_runs_which_answers_as_before() {
    for (phase, traffic, reason, words) in [
        ("Preparing", 0, "-CanaryProgressing", "0 of 1 pods of revision new are ready"),
        ("Measuring", 10, "-CanaryProgressing", "step 1 of 2, 10 %: revision new is measured beside"),
        ("Paused", 10, "-CanaryPaused", "stays beside"),
        ("Promoting", 10, "-CanaryProgressing", "every step is passed: 0 of 1 pods"),
        ("Promoting", 100, "-CanaryProgressing", "has every request"),
        ("Aborted", 0, "-RolloutAborted", "has every request: the figures"),
        ("Withdrawn", 0, "-CanaryProgressing", "not asked for any more"),
        ("", 0, "+RolloutComplete", "no revision is on trial"),
    ] {
        let status = on_trial(phase, traffic);
        let told = reasons(&status);
        assert_eq!(told[4], reason, "{phase}: {told:?}");
        assert_eq!((told[5].as_str(), status.ready_replicas), ("+Serving", 1), "{phase}");
        assert!(message(&status, "RolledOut").contains(words), "{phase}: {}", message(&status, "RolledOut"));
        assert_eq!(status.rollout.is_some(), !phase.is_empty());
    }
}
