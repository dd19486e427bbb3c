//! A model held against its hardware: before its header is read, once it was, and by `weighbridge plan`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A fixture that can't be read fails the test.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};
use weighbridge_crds::condition::Reason;
use weighbridge_crds::manifest::parse;
use weighbridge_crds::{InspectedModel, ModelDeployment, labels};
use weighbridge_fit::ModelFacts;
use weighbridge_operator::plan::{
    self, Bounds, ChildKind, Images, Inspection, InspectionState, ModelPlan, ObservedModel, OfflineError,
    Planned, Proxies, PullPolicy, restricted,
};
use weighbridge_operator::validate::{
    self, Fitting, Header, ModelReferences, Named, Place, Refusal, Served, ValidatedModel,
};

const GIB: u64 = 1 << 30;

fn images() -> Images {
    Images {
        inference_server: "images.example/inference-server:1".to_owned(),
        gateway: "images.example/gateway:1".to_owned(),
        pull_policy: PullPolicy::IfNotPresent,
        pull_secrets: Vec::new(),
        gateway_namespace: "weighbridge-system".to_owned(),
        operator_namespace: "weighbridge-system".to_owned(),
        bounds: Bounds::default(),
        proxies: Proxies::default(),
    }
}

/// 15 GiB of weights, and 1 GiB of keys and values for each of 16 contexts.
fn facts() -> ModelFacts {
    let device = |cards: u64| {
        let of = cards.max(1);
        json!({"cards": cards, "weights": 15 * GIB / of, "kvBlock": (2 << 20) / of, "spareBlocks": 1, "scratch": 0,
            "fullScratch": 0})
    };
    serde_json::from_value(
        json!({"architecture": "llama", "parameters": 8, "bytes": 16, "bytesByType": {"BF16": 16},
        "layers": 32, "heads": 32, "kvHeads": 8, "headLength": 128, "vocabulary": 512, "builtContext": 8192,
        "contextLength": 8192, "maxSequences": 16, "kvBytesPerToken": 131_072,
        "devices": [device(0), device(1), device(2), device(4)]}),
    )
    .unwrap()
}

fn model(resources: Value, engine: Value) -> ModelDeployment {
    serde_json::from_value(json!({"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ModelDeployment",
        "metadata": {"name": "m", "namespace": "n", "uid": "u", "generation": 1},
        "spec": {"openWeights": {"source": "pvc://models/m.gguf", "resources": resources, "engine": engine}}}))
    .unwrap()
}

fn profile(gpu: Value) -> Value {
    json!({"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ResourceProfile", "metadata": {"name": "p"},
        "spec": {"cpu": "4", "memory": "16Gi", "gpu": gpu}})
}

fn validated(
    gpu: Value,
    resources: Value,
    engine: Value,
    known: Vec<InspectedModel>,
) -> Result<ValidatedModel, Refusal> {
    let references = ModelReferences {
        profile: Named::Found(serde_json::from_value(profile(gpu)).unwrap()),
        header: Header::Inspected(known),
        ..ModelReferences::NOTHING
    };
    validate::model(&model(resources, engine), &references, Place::Cluster)
}

/// What stands for the settings of `engine`.
fn inspection(engine: Value) -> String {
    let valid = validated(json!({"memory": "1Gi"}), json!({"profile": "p"}), engine, Vec::new()).unwrap();
    match fitting(&valid) {
        Fitting::Unread { inspection } => inspection,
        other => panic!("{other:?}"),
    }
}

fn fitting(valid: &ValidatedModel) -> Fitting {
    match &valid.served {
        Served::Open(open) => open.fitting.clone(),
        Served::Closed(closed) => panic!("{closed:?}"),
    }
}

/// With the header known.
fn fitted(gpu: Value, resources: Value, engine: Value) -> Result<ValidatedModel, Refusal> {
    let known = InspectedModel { inspection: inspection(engine.clone()), facts: facts() };
    validated(gpu, resources, engine, vec![known])
}

fn gpus(valid: &ValidatedModel) -> i32 {
    match &valid.served {
        Served::Open(open) => open.hardware.gpu().map_or(0, |gpu| gpu.count),
        Served::Closed(closed) => panic!("{closed:?}"),
    }
}

#[test]
fn a_header_is_read_only_where_a_gpu_s_memory_is_known() {
    let asked = |gpu: Value| {
        let valid = validated(gpu, json!({"profile": "p"}), json!({}), Vec::new()).unwrap();
        matches!(fitting(&valid), Fitting::Unread { .. })
    };
    assert!(asked(json!({"memory": "80Gi"})));
    assert!(asked(json!({"resource": "nvidia.com/mig-3g.40gb"})));
    assert!(!asked(json!({})), "nobody says how much memory the GPU has");
    assert!(!asked(Value::Null), "beside a CPU the engine says what it lacks");
}

#[test]
fn what_is_asked_for_is_another_inspection_and_hardware_is_none_of_it() {
    let one = inspection(json!({}));
    assert_eq!(one.len(), 10);
    assert_eq!(one, inspection(json!({"sleep": {"afterSeconds": 60}})));
    for engine in [json!({"contextLength": 64}), json!({"maxSequences": 1}), json!({"kvCacheType": "fp8"})] {
        assert_ne!(one, inspection(engine.clone()), "{engine}");
    }
}

#[test]
fn auto_is_the_fewest_gpus_that_hold_the_model() {
    let auto = json!({"profile": "p", "gpus": "auto"});
    for (memory, engine, expected) in [
        ("80Gi", json!({}), 1),
        ("24Gi", json!({}), 2),
        ("12Gi", json!({}), 4),
        // What is served on one GPU alone gets one, which holds one context.
        ("24Gi", json!({"sleep": {"afterSeconds": 60}}), 1),
        ("24Gi", json!({"adapters": [{"name": "a", "source": "pvc://models/a"}]}), 1),
    ] {
        let valid = fitted(json!({"memory": memory}), auto.clone(), engine.clone()).unwrap();
        assert_eq!(gpus(&valid), expected, "{memory} {engine}");
    }
    let slice = fitted(json!({"resource": "nvidia.com/mig-3g.40gb"}), auto.clone(), json!({})).unwrap();
    assert_eq!(gpus(&slice), 1);
    let claimed =
        fitted(json!({"deviceClass": "gpu.nvidia.com", "memory": "24Gi"}), auto.clone(), json!({})).unwrap();
    let plan = plan::model(&claimed, &ObservedModel::default(), &images());
    let asked = serde_json::to_value(&plan.claim_templates[0].spec).unwrap();
    assert_eq!(
        (gpus(&claimed), &asked["spec"]["devices"]["requests"][0]["exactly"]["count"]),
        (2, &json!(2))
    );
    let slice = json!({"deviceClass": "mig.nvidia.com", "memory": "24Gi"});
    assert_eq!(gpus(&fitted(slice, auto.clone(), json!({})).unwrap()), 1);
    let refused = fitted(json!({"memory": "2Gi"}), auto, json!({})).unwrap_err();
    assert_eq!(refused.reason, Reason::InsufficientCapacity);
    for words in
        ["openWeights.resources.gpus", "on each of 4 GPUs: weights 3.8, KV 0.3", "the card has 2.0 GiB"]
    {
        assert!(refused.message.contains(words), "{words}: {refused}");
    }
}

#[test]
fn a_number_that_does_not_hold_the_model_or_can_t_share_it_is_refused_with_what_would_do() {
    let with = |gpus: i32, memory: &str| {
        fitted(json!({"memory": memory}), json!({"profile": "p", "gpus": gpus}), json!({}))
    };
    let refused = with(1, "16Gi").unwrap_err();
    assert_eq!(refused.reason, Reason::InsufficientCapacity);
    assert!(
        refused.message.contains("needs 16.8 GiB: weights 15.0, KV 1.0 at 1 sequence of 8192"),
        "{refused}"
    );
    assert!(refused.message.ends_with("the card has 16.0 GiB; 2 GPUs would do"), "{refused}");
    let refused = with(3, "80Gi").unwrap_err();
    assert_eq!(refused.reason, Reason::InvalidSpec);
    assert!(refused.message.contains("can't be shared out to 3 GPUs: 1, 2 or 4 can share it"), "{refused}");
    // The profile's own count is held against it too, under its own name.
    let refused = fitted(json!({"memory": "16Gi"}), json!({"profile": "p"}), json!({})).unwrap_err();
    assert!(refused.message.starts_with("ResourceProfile \"p\" does not hold the model"), "{refused}");
    let fits = fitting(&with(2, "16Gi").unwrap());
    assert!(matches!(&fits, Fitting::Fits { gpus: 2, words, .. } if words.starts_with("needs ")), "{fits:?}");
}

#[test]
fn auto_without_a_known_memory_and_a_memory_that_is_none_are_refused() {
    let auto = json!({"profile": "p", "gpus": "auto"});
    let refused = validated(json!({}), auto.clone(), json!({}), Vec::new()).unwrap_err();
    assert_eq!(refused.reason, Reason::InvalidSpec);
    assert!(refused.message.contains("gpus is auto") && refused.message.contains("gpu.memory, such as 80Gi"));
    let refused = validated(json!({"memory": "big"}), auto, json!({}), Vec::new()).unwrap_err();
    assert!(refused.message.contains("gpu.memory \"big\" is not a quantity above zero"), "{refused}");
    let refused = validated(Value::Null, json!({"profile": "p", "gpus": "auto"}), json!({}), Vec::new());
    assert!(refused.unwrap_err().message.contains("has no gpu"));
}

fn unread(observed: &ObservedModel) -> ModelPlan {
    unread_on(json!({"memory": "24Gi"}), observed)
}

fn unread_on(gpu: Value, observed: &ObservedModel) -> ModelPlan {
    let valid = validated(gpu, json!({"profile": "p"}), json!({}), Vec::new()).unwrap();
    plan::model(&valid, observed, &images())
}

fn found(name: &str, state: InspectionState) -> Inspection {
    Inspection { name: name.to_owned(), uid: format!("uid-of-{name}"), state }
}

fn own() -> String {
    format!("m-inspect-{}", inspection(json!({})))
}

#[test]
fn nothing_but_a_restricted_pod_is_made_before_the_header_is_read() {
    let plan = unread(&ObservedModel::default());
    assert!(plan.children.deployment.is_none() && plan.children.service.is_none());
    let pod = plan.inspection.unwrap();
    assert_eq!(pod.metadata.name, Some(own()));
    let metadata = pod.metadata;
    let labels = metadata.labels.clone().unwrap();
    // Whoever carries the model's own labels is counted, and called.
    assert!(
        !labels.keys().any(|label| label.ends_with("/model") || label.ends_with("/model-uid")),
        "{labels:?}"
    );
    let spec = pod.spec.unwrap();
    assert_eq!(restricted::violations(Some(&metadata), &spec), Vec::<String>::new());
    assert_eq!(spec.restart_policy.as_deref(), Some("OnFailure"));
    let container = &spec.containers[0];
    let arguments = container.args.as_ref().unwrap();
    assert_eq!(arguments[..2], ["inspect", "--source=file:///models/m.gguf"]);
    assert!(arguments.contains(&"--output=/dev/termination-log".to_owned()), "{arguments:?}");
    let resources = serde_json::to_string(&container.resources).unwrap();
    assert!(!resources.contains("nvidia.com"), "{resources}");
    assert_eq!(plan.waits.unwrap().reason, Reason::Progressing);
    let claimed = json!({"deviceClass": "gpu.nvidia.com", "memory": "24Gi"});
    let claimed = unread_on(claimed, &ObservedModel::default());
    assert_eq!((claimed.inspection.unwrap().spec, claimed.claim_templates), (Some(spec), vec![]));
}

#[test]
fn what_hinders_the_pod_is_told_with_its_reason() {
    let trouble = Refusal::new(Reason::DownloadFailed, "no such file");
    let inspections = vec![found(&own(), InspectionState::Troubled(trouble))];
    let waits = unread(&ObservedModel { inspections, ..ObservedModel::default() }).waits.unwrap();
    assert_eq!(waits.reason, Reason::DownloadFailed);
    assert!(waits.message.contains(&own()) && waits.message.ends_with("no such file"), "{waits}");
}

fn going(plan: &ModelPlan) -> Vec<(&str, &str)> {
    let pods = plan.removals.iter().filter(|removal| removal.kind == ChildKind::Pod);
    pods.map(|removal| (removal.name.as_str(), removal.uid.as_str())).collect()
}

#[test]
fn a_pod_goes_once_the_status_has_its_word_and_not_before() {
    let read = || InspectionState::Read(Box::new(facts()));
    let with = |state, recorded: Option<String>| ObservedModel {
        inspections: vec![found(&own(), state)],
        recorded,
        ..ObservedModel::default()
    };
    let valid = fitted(json!({"memory": "24Gi"}), json!({"profile": "p"}), json!({})).unwrap();
    let applied = |observed: &ObservedModel| plan::model(&valid, observed, &images());
    let refused = |observed: &ObservedModel| plan::refused(&valid.owner, Some(1), observed);
    let uid = format!("uid-of-{}", own());
    let gone = vec![(own(), uid)];
    let names = |plan: &ModelPlan| {
        going(plan).into_iter().map(|(name, uid)| (name.to_owned(), uid.to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(names(&applied(&with(read(), None))), []);
    assert_eq!(names(&applied(&with(read(), Some(own())))), gone);
    // A spec that is refused for what was read, likewise.
    assert_eq!(names(&refused(&with(read(), None))), []);
    assert_eq!(names(&refused(&with(read(), Some(own())))), gone);
    // One that nobody waits for, or that will never say anything.
    assert_eq!(names(&refused(&with(InspectionState::Running, None))), gone);
    assert_eq!(names(&unread(&with(InspectionState::Running, None))), []);
    assert_eq!(names(&unread(&with(InspectionState::Ended, None))), gone);
    assert_eq!(names(&plan::suspended(&valid.owner, &with(read(), None))), gone);
    let other = ObservedModel {
        inspections: vec![found("m-inspect-0", InspectionState::Running)],
        ..ObservedModel::default()
    };
    assert_eq!(going(&unread(&other)), [("m-inspect-0", "uid-of-m-inspect-0")]);
}

/// Guard: only the arm that answers is held against hardware, or nobody could leave for the closed world.
#[test]
fn what_does_not_fit_is_no_hindrance_to_the_other_world() {
    let mut both = model(json!({"profile": "p", "gpus": 1}), json!({}));
    both.spec.external = Some(serde_json::from_value(json!({"provider": "acme", "model": "large"})).unwrap());
    both.spec.serve = Some(weighbridge_crds::World::External);
    let provider = json!({"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ExternalProvider",
        "metadata": {"name": "acme", "namespace": "n"}, "spec": {"kind": "OpenAI", "apiKeys": [{"name": "s", "key": "k"}]}});
    let known = InspectedModel { inspection: inspection(json!({})), facts: facts() };
    let references = ModelReferences {
        profile: Named::Found(serde_json::from_value(profile(json!({"memory": "2Gi"}))).unwrap()),
        provider: Named::Found(serde_json::from_value(provider).unwrap()),
        header: Header::Inspected(vec![known]),
        ..ModelReferences::NOTHING
    };
    let checked = |model: &ModelDeployment| validate::model(model, &references, Place::Cluster);
    assert!(matches!(checked(&both).unwrap().served, Served::Closed(_)));
    both.spec.serve = Some(weighbridge_crds::World::OpenWeights);
    assert_eq!(checked(&both).unwrap_err().reason, Reason::InsufficientCapacity);
}

#[test]
fn while_it_is_suspended_no_header_is_read() {
    let mut suspended = model(json!({"profile": "p"}), json!({}));
    suspended.spec.suspend = true;
    let references = ModelReferences {
        profile: Named::Found(serde_json::from_value(profile(json!({"memory": "24Gi"}))).unwrap()),
        ..ModelReferences::NOTHING
    };
    let valid = validate::model(&suspended, &references, Place::Cluster).unwrap();
    let plan = plan::model(&valid, &ObservedModel::default(), &images());
    assert!(plan.inspection.is_none() && plan.waits.is_some());
}

fn planned(gpu: Value, facts: Result<Option<ModelFacts>, String>) -> Result<Vec<Planned>, OfflineError> {
    let text = format!(
        "{}\n---\n{}",
        profile(gpu),
        json!({"apiVersion": "serving.weighbridge.dev/v1alpha1",
        "kind": "ModelDeployment", "metadata": {"name": "m", "namespace": "n"},
        "spec": {"openWeights": {"source": "pvc://models/m.gguf", "resources": {"profile": "p"}}}})
    );
    let text = text.replace("\"gpu\":null,", "").replace(",\"gpu\":null", "");
    plan::plan_offline(&parse(&text).unwrap(), &images(), &mut |_| facts.clone())
}

fn kinds(planned: &[Planned]) -> Vec<&str> {
    planned[0].objects.iter().filter_map(|object| object["kind"].as_str()).collect()
}

#[test]
fn a_file_is_planned_by_the_same_arithmetic_for_gpus_and_beside_a_cpu() {
    let reasons = |planned: &[Planned]| {
        let decisions = planned[0].decisions.iter();
        decisions
            .map(|decision| format!("{}: {}", decision.what, decision.why))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let gpu = planned(json!({"memory": "80Gi"}), Ok(Some(facts()))).unwrap();
    assert_eq!(kinds(&gpu), ["Deployment", "Service"]);
    assert!(
        reasons(&gpu).contains("one GPU holds the model: it needs 31.8 GiB: weights 15.0, KV 16.0 at 16"),
        "{}",
        reasons(&gpu)
    );
    let refused = planned(json!({"memory": "16Gi"}), Ok(Some(facts()))).unwrap_err();
    assert!(
        refused.to_string().contains("needs 16.8 GiB")
            && refused.source.reason == Reason::InsufficientCapacity
    );
    let refused = planned(Value::Null, Ok(Some(facts()))).unwrap_err();
    assert!(
        refused.to_string().contains("ResourceProfile \"p\" does not hold the model: it needs 17.1 GiB"),
        "{refused}"
    );
    let unread = planned(json!({"memory": "80Gi"}), Ok(None)).unwrap();
    assert_eq!(kinds(&unread), ["Pod"], "what the operator would do first");
    let broken = planned(json!({"memory": "80Gi"}), Err("no file at /x".to_owned())).unwrap_err();
    assert!(
        broken.to_string().contains("the header of the weights can't be read: no file at /x"),
        "{broken}"
    );
}

/// While a spec can't be served, what serves keeps its address, and no fewer pods than people ask for.
#[test]
fn what_serves_is_kept_up_while_a_spec_is_refused() {
    let valid = fitted(json!({"memory": "24Gi"}), json!({"profile": "p"}), json!({})).unwrap();
    let there = |replicas: i32| {
        let mut there =
            plan::model(&valid, &ObservedModel::default(), &images()).children.deployment.unwrap();
        there.spec.as_mut().unwrap().replicas = Some(replicas);
        there.spec.as_mut().unwrap().paused = Some(true);
        Arc::new(there)
    };
    let refused = |replicas: Option<i32>, deployments: Vec<Arc<Deployment>>| {
        let observed = ObservedModel { deployments, ..ObservedModel::default() };
        let plan = plan::refused(&valid.owner, replicas, &observed);
        assert!(plan.removals.is_empty() && plan.children.stable.is_none());
        let pods = plan.children.deployment.map(|kept| kept.spec.unwrap());
        (plan.children.service.is_some(), pods.map(|spec| (spec.replicas, spec.paused)))
    };
    assert_eq!(refused(Some(3), vec![there(1)]), (true, Some((Some(3), None))));
    assert_eq!(refused(Some(1), vec![there(3)]), (true, None), "nothing that serves goes");
    assert_eq!(refused(None, vec![there(0)]), (true, None), "replicas do not count its pods");
    assert_eq!(refused(Some(3), vec![there(1), there(1)]), (true, None), "one of two revisions");
    assert_eq!(refused(Some(3), Vec::new()), (false, None), "nothing serves");
    let mut cached = (*there(1)).clone();
    let marks = cached.spec.as_mut().unwrap().template.metadata.as_mut().unwrap().labels.as_mut().unwrap();
    marks.insert(format!("{}e", labels::HELD_PREFIX), "store".to_owned());
    assert_eq!(refused(Some(3), vec![Arc::new(cached)]), (true, None), "its cache may be what is missing");
}
