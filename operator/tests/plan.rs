//! What a plan says for files as people write them, and what holds for every plan.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A fixture that can't be read fails the test.

mod generated;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use proptest::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};
use weighbridge_crds::manifest::{Manifest, parse};
use weighbridge_crds::{Hold, Rollout, TimeSpan, labels};
use weighbridge_operator::plan::{
    self, Bounds, Images, OfflineError, Planned, Proxies, PullPolicy, restricted,
};
use weighbridge_operator::validate::CONFINING_ANNOTATIONS;

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

/// With no weights at hand.
fn plan_offline(manifests: &[Manifest], images: &Images) -> Result<Vec<Planned>, OfflineError> {
    plan::plan_offline(manifests, images, &mut |_| Ok(None))
}

fn planned(text: &str) -> Vec<Planned> {
    plan_offline(&parse(text).expect("the fixture is valid"), &images()).expect("the fixture can be planned")
}

/// As `weighbridge plan` shows it.
fn shown(text: &str) -> String {
    #[derive(Serialize)]
    struct Shown {
        parent: String,
        why: Vec<String>,
        objects: Vec<Value>,
    }
    let shown: Vec<_> = planned(text)
        .into_iter()
        .map(|plan| Shown {
            parent: format!("{} {}/{}", plan.kind, plan.namespace, plan.name),
            why: plan
                .decisions
                .iter()
                .map(|decision| format!("{}: {}", decision.what, decision.why))
                .collect(),
            objects: plan.objects,
        })
        .collect();
    serde_saphyr::to_string(&shown).expect("a plan can be written")
}

macro_rules! snapshots {
    ($($name:ident),+) => {
        $(#[test]
        fn $name() {
            insta::assert_snapshot!(shown(include_str!(concat!("fixtures/", stringify!($name), ".yaml"))));
        })+
    };
}

snapshots!(cpu, gpu, claim, token, https, s3, oci, image, pvc, external, private);

#[test]
fn a_folder_is_quantised_where_the_field_says_so() {
    let text = include_str!("fixtures/pvc.yaml")
        .replace("file.gguf", "model\n    engine: {quantize: Q4_K, kvCacheType: auto}");
    let shown = shown(&text);
    assert!(shown.contains("--quantize=Q4_K") && !shown.contains("--kv-cache-type"), "{shown}");
}

#[test]
fn an_engine_sleeps_where_the_field_says_so() {
    let sleep = |fields: &str| {
        let engine = format!("  openWeights:\n    engine: {{sleep: {{{fields}}}}}\n");
        shown(
            &include_str!("fixtures/gpu.yaml")
                .replace("  openWeights:\n", &engine)
                .replace("gpus: 2", "gpus: 1"),
        )
    };
    let dropped = sleep("afterSeconds: 600");
    assert!(dropped.contains("--sleep-after=600") && !dropped.contains("--sleep-weights"), "{dropped}");
    let host = sleep("afterSeconds: 5, weights: host");
    assert!(host.contains("--sleep-after=5") && host.contains("--sleep-weights=host"), "{host}");
}

#[test]
fn a_value_of_a_secret_is_in_no_plan() {
    assert!(!shown(include_str!("fixtures/external.yaml")).contains("canary"));
}

#[test]
fn a_clouds_place_is_the_proxys_flags() {
    let text = include_str!("fixtures/private.yaml");
    let with = |kind: &str| shown(&text.replace("kind: OpenAICompatible", kind));
    let bedrock = with("kind: Bedrock\n  bedrock: {region: eu-west-1}");
    assert!(
        bedrock.contains("--kind=Bedrock") && bedrock.contains("--bedrock-region=eu-west-1"),
        "{bedrock}"
    );
    assert!(bedrock.contains("any address on 8080:"), "{bedrock}");
    let vertex = with("kind: Vertex\n  vertex: {project: p-1, location: global}");
    assert!(
        vertex.contains("--vertex-project=p-1") && vertex.contains("--vertex-location=global"),
        "{vertex}"
    );
    // The token's host is another than the API's.
    assert!(vertex.contains("any address on 8080 and 443:"), "{vertex}");
}

#[test]
fn a_profile_that_the_file_lacks_is_named() {
    let text = include_str!("fixtures/gpu.yaml").split_once("---").expect("two objects").1;
    let error = plan_offline(&parse(text).expect("valid"), &images())
        .expect_err("the profile is not there")
        .to_string();
    assert!(
        error.contains("ModelDeployment team-a/big") && error.contains("ResourceProfile \"one-l4\""),
        "{error}"
    );
    assert!(error.contains("add it to the file") && !error.contains("kubectl"), "{error}");
}

#[test]
fn a_provider_that_the_file_lacks_is_named() {
    let text = include_str!("fixtures/external.yaml").rsplit_once("---").expect("three objects").1;
    let error = plan_offline(&parse(text).expect("valid"), &images()).expect_err("no provider").to_string();
    assert!(error.contains("ExternalProvider \"acme\"") && error.contains("add it to the file"), "{error}");
}

/// Where a host holds a provider to a region, the proxy is pinned to it; elsewhere the request and the answer are.
#[test]
fn a_region_is_a_host_where_the_provider_has_one() {
    let arguments = |kind: &str| {
        let text = include_str!("fixtures/external.yaml").replace(
            "kind: OpenAICompatible\n  baseURL: https://api.example.com/v1",
            &format!("kind: {kind}\n  dataPolicy: {{region: us}}"),
        );
        let plans = planned(&text);
        let pod = deployments(&plans).remove(0).spec.and_then(|spec| spec.template.spec).expect("a pod");
        let told = plans
            .iter()
            .flat_map(|plan| &plan.decisions)
            .any(|decision| decision.why.contains("region is us"));
        (pod.containers[0].args.clone().unwrap_or_default(), told)
    };
    let (openai, told) = arguments("OpenAI");
    assert!(openai.contains(&"--base-url=https://us.api.openai.com/v1".to_owned()) && told, "{openai:?}");
    let (anthropic, told) = arguments("Anthropic");
    assert!(!anthropic.iter().any(|argument| argument.starts_with("--base-url")) && !told, "{anthropic:?}");
}

#[test]
fn a_registry_that_wants_a_secret_gets_it_for_engines_and_proxies() {
    let with = Images {
        pull_policy: PullPolicy::Always,
        pull_secrets: vec!["one".to_owned(), "two".to_owned()],
        ..images()
    };
    for text in [include_str!("fixtures/cpu.yaml"), include_str!("fixtures/external.yaml")] {
        let plans = plan_offline(&parse(text).expect("valid"), &with).expect("plannable");
        let pods = deployments(&plans);
        assert_eq!(pods.len(), 1);
        let pod = pods[0].spec.clone().and_then(|spec| spec.template.spec).expect("a pod");
        let names: Vec<_> =
            pod.image_pull_secrets.into_iter().flatten().map(|reference| reference.name).collect();
        assert_eq!(names, ["one", "two"]);
        assert_eq!(pod.containers[0].image_pull_policy.as_deref(), Some("Always"));
        let told = plans.iter().flat_map(|plan| &plan.decisions);
        assert!(told.into_iter().any(|decision| decision.what.contains("Secret one, two")), "{plans:?}");
        // Without them nothing is in the template that could change its revision.
        let plain = deployments(&planned(text)).remove(0);
        let pod = plain.spec.and_then(|spec| spec.template.spec).expect("a pod");
        assert_eq!(pod.image_pull_secrets, None);
    }
}

#[test]
fn a_signature_is_told_to_engines_and_not_to_who_looks_at_a_header() {
    let pem = "-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----";
    let signed = format!(
        "    signature: {{bundle: model.sig, publicKey: {}}}\n    storage:",
        serde_json::to_string(pem).expect("text")
    );
    let text = include_str!("fixtures/https.yaml").replace("    storage:", &signed);
    let pod = deployments(&planned(&text)).remove(0).spec.and_then(|spec| spec.template.spec).expect("a pod");
    let args = pod.containers[0].args.clone().unwrap_or_default();
    assert!(args.contains(&"--signature-bundle=model.sig".to_owned()), "{args:?}");
    assert!(args.contains(&format!("--signature-key={pem}")), "{args:?}");
}

#[test]
fn proxies_are_variables_of_pods_that_fetch_and_the_models_own_word_wins() {
    let proxies = Proxies {
        https_proxy: Some("http://proxy:3128".to_owned()),
        http_proxy: None,
        no_proxy: Some(".svc".to_owned()),
    };
    let with = Images { proxies, ..images() };
    let variables = |text: &str| {
        let plans = plan_offline(&parse(text).expect("valid"), &with).expect("plannable");
        let pod = deployments(&plans).remove(0).spec.and_then(|spec| spec.template.spec).expect("a pod");
        let named = pod.containers[0].env.clone().unwrap_or_default().into_iter();
        named.map(|variable| (variable.name, variable.value)).collect::<Vec<_>>()
    };
    let set = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
    let token = ("HF_TOKEN".to_owned(), None);
    let all = [token, set("HTTPS_PROXY", "http://proxy:3128"), set("NO_PROXY", ".svc")];
    assert_eq!(variables(include_str!("fixtures/token.yaml")), all);
    assert_eq!(variables(include_str!("fixtures/https.yaml")), all[1..]);
    assert_eq!(variables(include_str!("fixtures/pvc.yaml")), [], "nothing is fetched, nothing rolls");
    let own = include_str!("fixtures/https.yaml").replace(
        "    caCertificates",
        "    podTemplate: {spec: {containers: [{name: engine, env: [{name: HTTPS_PROXY, value: 'http://own:1'}]}]}}\n    caCertificates",
    );
    assert_eq!(variables(&own), [set("NO_PROXY", ".svc"), set("HTTPS_PROXY", "http://own:1")]);
}

#[test]
fn a_proxys_memory_holds_what_it_takes_in_and_its_bounds_follow_from_it() {
    for (mebibytes, memory) in [(1, "512Mi"), (32, "512Mi"), (128, "1280Mi")] {
        let bounds = Bounds { max_body_bytes: mebibytes << 20, idle_timeout: 7, ..Bounds::default() };
        let with = Images { bounds, ..images() };
        let pods = deployments(
            &plan_offline(&parse(include_str!("fixtures/external.yaml")).expect("valid"), &with)
                .expect("plannable"),
        );
        let pod = pods[0].spec.clone().and_then(|spec| spec.template.spec).expect("a pod");
        let container = &pod.containers[0];
        let limits =
            container.resources.as_ref().and_then(|resources| resources.limits.as_ref()).expect("limits");
        assert_eq!(limits["memory"].0, memory);
        // The proxy itself derives its bounds, and tests that they fit: `Limits::within` of the gateway crate.
        let told = container.env.iter().flatten().find(|env| env.name == "WEIGHBRIDGE_MEMORY_LIMIT");
        let told =
            told.and_then(|env| env.value_from.as_ref()?.resource_field_ref.as_ref()).expect("its limit");
        assert_eq!(told.resource, "limits.memory");
        let args = container.args.as_ref().expect("flags");
        let said = args.iter().any(|flag| *flag == format!("--max-body-bytes={}", mebibytes << 20));
        assert_eq!(said, mebibytes != 32, "the default is not said: {args:?}");
        assert!(
            args.contains(&"--idle-timeout=7".to_owned())
                && !args.iter().any(|flag| flag.contains("first-byte"))
        );
        let engine = deployments(
            &plan_offline(&parse(include_str!("fixtures/cpu.yaml")).expect("valid"), &with)
                .expect("plannable"),
        );
        let args = engine[0].spec.clone().and_then(|spec| spec.template.spec).expect("a pod").containers[0]
            .args
            .clone();
        let said = args.iter().flatten().any(|flag| *flag == format!("--max-body-bytes={}", mebibytes << 20));
        assert_eq!(said, mebibytes != 32, "{args:?}");
    }
}

#[test]
fn what_replicas_say_of_an_external_model_is_decided_in_words() {
    let said = |replicas: i32| {
        let open = "serve: External, openWeights: {source: 'pvc://c/f'}";
        let text = include_str!("fixtures/external.yaml").replace(
            "spec:\n  external:\n    provider: acme\n    model: large-1",
            &format!("spec: {{replicas: {replicas}, {open}, external: {{provider: acme, model: large-1}}}}"),
        );
        let plan = planned(&text).pop().expect("the model is last");
        assert_eq!((plan.kind.as_str(), plan.objects.len()), ("ModelDeployment", 0));
        plan.decisions
            .iter()
            .map(|decision| format!("{}: {}\n", decision.what, decision.why))
            .collect::<String>()
    };
    assert!(said(0).contains("no call goes to the provider: spec.replicas is 0"), "{}", said(0));
    assert!(!said(1).contains("replicas"), "{}", said(1));
    assert!(said(3).contains("spec.replicas 3 is kept for openWeights"), "{}", said(3));
}

#[test]
fn the_grace_of_a_pod_follows_its_drain_timeout_and_the_default_is_not_said() {
    let pod = |fields: &str| {
        let text = include_str!("fixtures/cpu.yaml").replace("spec:\n", &format!("spec:\n{fields}"));
        let pod = deployments(&planned(&text)).remove(0).spec.and_then(|spec| spec.template.spec);
        let pod = pod.expect("a pod");
        let args = pod.containers[0].args.clone().unwrap_or_default();
        let flag = args.into_iter().find(|flag| flag.starts_with("--drain-timeout"));
        (pod.termination_grace_period_seconds, flag)
    };
    assert_eq!(pod(""), (Some(310), None));
    assert_eq!(pod("  drainTimeout: 300s\n"), pod("  drainTimeout: 5m\n"));
    assert_eq!(pod("  drainTimeout: 5m\n"), (Some(310), None));
    assert_eq!(pod("  drainTimeout: 0s\n"), (Some(10), Some("--drain-timeout=0".to_owned())));
    assert_eq!(pod("  drainTimeout: 1h\n"), (Some(3610), Some("--drain-timeout=3600".to_owned())));
}

#[test]
fn a_pod_template_adds_and_takes_nothing_away() {
    let added = "  openWeights:\n    podTemplate:\n      metadata: { labels: { team: a } }\n      spec:\n        \
                 priorityClassName: high\n        nodeSelector: { zone: a }\n        tolerations: [{ key: k, operator: Exists }]\n        \
                 volumes: [{ name: ca, configMap: { name: ca } }]\n        containers:\n          - name: engine\n            \
                 env: [{ name: NCCL_TOPO_FILE, value: /etc/nccl/topology.xml }]\n            \
                 volumeMounts: [{ name: ca, mountPath: /etc/nccl }]\n";
    let plain = include_str!("fixtures/cpu.yaml");
    let template = |text: &str| deployments(&planned(text)).remove(0).spec.expect("a spec").template;
    let (before, after) = (template(plain), template(&plain.replacen("  openWeights:\n", added, 1)));
    let after_spec = after.spec.clone().expect("a pod");
    assert_eq!(restricted::violations(after.metadata.as_ref(), &after_spec), Vec::<String>::new());
    assert_eq!(after_spec.priority_class_name.as_deref(), Some("high"));
    assert_eq!(
        after_spec.node_selector.as_ref().and_then(|labels| labels.get("zone")),
        Some(&"a".to_owned())
    );
    let of = |template: &PodTemplateSpec| {
        let metadata = template.metadata.as_ref().and_then(|metadata| metadata.labels.clone());
        metadata.expect("labels")
    };
    let mut expected = of(&before);
    expected.insert("team".to_owned(), "a".to_owned());
    let revision = expected.insert(labels::REVISION.to_owned(), of(&after)[labels::REVISION].clone());
    assert_eq!(of(&after), expected);
    assert_ne!(revision, expected.get(labels::REVISION).cloned(), "a change rolls the pods");
    let engine = |template: &PodTemplateSpec| {
        template.spec.as_ref().map(|pod| pod.containers.clone()).unwrap_or_default().remove(0)
    };
    let (before, mut after) = (engine(&before), engine(&after));
    let mounts = after.volume_mounts.get_or_insert_default();
    assert_eq!(mounts.pop().map(|mount| mount.mount_path), Some("/etc/nccl".to_owned()));
    let variables = after.env.get_or_insert_default();
    assert_eq!(variables.pop().map(|variable| variable.name), Some("NCCL_TOPO_FILE".to_owned()));
    after.env = Some(variables.clone()).filter(|variables| !variables.is_empty());
    assert_eq!(after, before, "nothing else of the engine");
}

#[test]
fn a_suspended_model_has_a_deployment_without_pods_and_no_calls() {
    let text =
        include_str!("fixtures/cpu.yaml").replace("spec:\n", "spec:\n  suspend: true\n  replicas: 3\n");
    let (suspended, active) = (
        deployments(&planned(&text)).remove(0),
        deployments(&planned(include_str!("fixtures/cpu.yaml"))).remove(0),
    );
    let replicas = |deployment: &Deployment| deployment.spec.as_ref().and_then(|spec| spec.replicas);
    assert_eq!((replicas(&suspended), replicas(&active)), (Some(0), Some(1)));
    assert_eq!(suspended.metadata.name, active.metadata.name, "the same revision");
    assert!(shown(&text).contains("spec.suspend is true"), "{}", shown(&text));
    let text = include_str!("fixtures/external.yaml")
        .replace("  external:\n    provider", "  suspend: true\n  external:\n    provider");
    assert!(shown(&text).contains("no call goes to the provider: spec.suspend is true"), "{}", shown(&text));
}

#[test]
fn adapters_are_flags_their_claims_are_mounted_once_and_their_digests_make_revisions() {
    let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
    let plan = |of_tone: &str| {
        let model = json!({"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ModelDeployment",
            "metadata": {"name": "m", "namespace": "n"}, "spec": {"openWeights": {
                "source": "pvc://models/m.gguf", "engine": {"adapters": [
                    {"name": "tone", "source": "pvc://tuned/tone.gguf", "digest": digest(of_tone)},
                    {"name": "legal", "source": "pvc://tuned/legal"},
                    {"name": "near", "source": "pvc://models/near"},
                    {"name": "hub", "source": "hf://o/r/a.gguf", "revision": "v1"}]}}}});
        deployments(
            &plan_offline(&parse(&model.to_string()).expect("the CRD takes it"), &images())
                .expect("plannable"),
        )
        .remove(0)
    };
    let deployment = plan("1");
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()).expect("a pod");
    let args = pod.containers[0].args.as_ref().expect("flags");
    for flag in [
        "--adapter=tone=file:///adapters/tuned/tone.gguf",
        &format!("--adapter-digest=tone={}", digest("1")),
        "--adapter=legal=file:///adapters/tuned/legal",
        "--adapter=near=file:///models/near",
        "--adapter=hub=hf://o/r/a.gguf",
        "--adapter-revision=hub=v1",
    ] {
        assert!(args.iter().any(|found| found == flag), "{flag}: {args:?}");
    }
    let claims = pod.volumes.iter().flatten().filter_map(|volume| volume.persistent_volume_claim.as_ref());
    let claims: Vec<(&str, Option<bool>)> =
        claims.map(|claim| (claim.claim_name.as_str(), claim.read_only)).collect();
    assert_eq!(claims, [("models", Some(true)), ("tuned", Some(true))]);
    let mounts = pod.containers[0].volume_mounts.iter().flatten();
    let mounts: Vec<&str> = mounts.map(|mount| mount.mount_path.as_str()).collect();
    assert!(mounts.contains(&"/adapters/tuned"), "{mounts:?}");
    assert_ne!(deployment.metadata.name, plan("2").metadata.name, "another digest is another revision");
}

fn deployments(plans: &[Planned]) -> Vec<Deployment> {
    let objects = plans.iter().flat_map(|plan| &plan.objects);
    objects
        .filter(|object| object["kind"] == "Deployment")
        .map(|object| serde_json::from_value(object.clone()).expect("a Deployment"))
        .collect()
}

/// What the pods of a Deployment are made from.
fn pod(deployment: Deployment) -> (Option<ObjectMeta>, PodSpec) {
    let PodTemplateSpec { metadata, spec } = deployment.spec.expect("a spec").template;
    (metadata, spec.expect("a pod"))
}

/// Of everything that makes pods.
fn pods(plans: &[Planned]) -> Vec<(Option<ObjectMeta>, PodSpec)> {
    let templates = plans.iter().flat_map(|plan| &plan.objects).filter_map(|object| {
        let template = object.pointer("/spec/template")?;
        template.get("spec")?;
        let PodTemplateSpec { metadata, spec } =
            serde_json::from_value(template.clone()).expect("a template");
        Some((metadata, spec.expect("a pod")))
    });
    templates.collect()
}

proptest! {
    // Each case reads YAML as strictly as an apiserver, which takes most of a test's time.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_pod_passes_pod_security_restricted(manifests in generated::model()) {
        let plans = plan_offline(&manifests, &images()).expect("plannable");
        for (metadata, pod) in pods(&plans) {
            prop_assert_eq!(restricted::violations(metadata.as_ref(), &pod), Vec::<String>::new());
        }
    }

    #[test]
    fn replicas_change_no_name_and_no_template(manifests in generated::model(), replicas in 0..1000_i32) {
        let mut scaled = manifests.clone();
        for manifest in &mut scaled {
            if let Manifest::ModelDeployment(model) = manifest {
                model.spec.replicas = replicas;
            }
        }
        let before = deployments(&plan_offline(&manifests, &images()).expect("plannable"));
        let after = deployments(&plan_offline(&scaled, &images()).expect("plannable"));
        prop_assert_eq!(&before[0].metadata, &after[0].metadata);
        let template = |deployment: &Deployment| deployment.spec.as_ref().map(|spec| spec.template.clone());
        prop_assert_eq!(template(&before[0]), template(&after[0]));
        prop_assert_eq!(after[0].spec.as_ref().and_then(|spec| spec.replicas), Some(replicas));
    }

    #[test]
    fn what_gateways_hold_changes_nothing_at_all(manifests in generated::model(), seconds in 0..3600_u64, max_queued in 0..1000_i32) {
        let mut held = manifests.clone();
        for manifest in &mut held {
            if let Manifest::ModelDeployment(model) = manifest {
                model.spec.hold = Some(Hold { max_wait: TimeSpan::seconds(seconds), max_queued, ..Hold::default() });
            }
        }
        let planned = |manifests| plan_offline(manifests, &images()).expect("plannable");
        prop_assert_eq!(planned(&manifests), planned(&held));
    }

    #[test]
    fn how_revisions_follow_each_other_changes_no_child(manifests in generated::model(), traffic in 1..99_i32) {
        let canary = json!({"strategy": "Canary", "canary": {"steps": [
            {"capacity": "100%", "traffic": traffic, "pause": "Manual"}], "onInconclusive": "Abort"}});
        let planned = |manifests: &[Manifest]| plan_offline(manifests, &images()).expect("plannable");
        for rollout in [json!({"strategy": "Replace"}), canary] {
            let rollout: Rollout = serde_json::from_value(rollout).expect("a rollout");
            let mut changed = manifests.clone();
            for manifest in &mut changed {
                if let Manifest::ModelDeployment(model) = manifest {
                    model.spec.rollout = Some(rollout.clone());
                }
            }
            prop_assert_eq!(planned(&manifests), planned(&changed));
        }
    }

    #[test]
    fn the_same_file_gives_the_same_plan(manifests in generated::model()) {
        prop_assert_eq!(plan_offline(&manifests, &images()).expect("plannable"), plan_offline(&manifests, &images()).expect("plannable"));
    }

    #[test]
    fn names_of_children_are_labels_of_dns(manifests in generated::model()) {
        for plan in plan_offline(&manifests, &images()).expect("plannable") {
            for object in plan.objects {
                let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                prop_assert!(!name.is_empty() && name.len() <= 63, "{name}");
            }
        }
    }
}

#[test]
fn proxies_pass_pod_security_restricted() {
    for text in [include_str!("fixtures/external.yaml"), include_str!("fixtures/private.yaml")] {
        for deployment in deployments(&planned(text)) {
            let (metadata, pod) = pod(deployment);
            assert_eq!(restricted::violations(metadata.as_ref(), &pod), Vec::<String>::new());
        }
    }
}

/// Whether a rule of the chart's NetworkPolicy lets the operator out to pods with these labels, at this port of theirs.
fn operator_reaches(labels: &Value, port: &str) -> bool {
    let golden = include_str!("../../charts/weighbridge/golden/default.yaml");
    let objects: Vec<Value> = serde_saphyr::from_multiple(golden).expect("YAML");
    let is_policy = |object: &&Value| {
        object["kind"] == "NetworkPolicy" && object["metadata"]["name"] == "weighbridge-operator"
    };
    let policy = objects.iter().find(is_policy).expect("the operator's policy");
    let all = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let selects = |peer: &Value| {
        assert_eq!(peer["namespaceSelector"], json!({}), "ours may be in any namespace: {peer}");
        let selector = &peer["podSelector"];
        let mut pairs = selector["matchLabels"].as_object().into_iter().flatten();
        pairs.all(|(key, value)| labels[key] == *value)
            && all(&selector["matchExpressions"]).iter().all(|expression| {
                assert_eq!(expression["operator"], "In");
                all(&expression["values"]).contains(&labels[expression["key"].as_str().expect("a key")])
            })
    };
    all(&policy["spec"]["egress"])
        .iter()
        .filter(|rule| all(&rule["ports"]).iter().any(|open| open["port"] == port))
        .any(|rule| {
            let peers = all(&rule["to"]);
            peers.iter().filter(|peer| peer["namespaceSelector"].is_object()).any(selects)
        })
}

/// The operator asks engines, and pods that fetch, at their admin port, and proxies at the one that they answer gateways at.
#[test]
fn the_charts_policy_lets_the_operator_out_to_each_pod_that_it_asks() {
    let mut asked = Vec::new();
    for text in [
        include_str!("fixtures/cpu.yaml"),
        include_str!("fixtures/external.yaml"),
        include_str!("../../examples/cache.yaml"),
    ] {
        for object in planned(text).iter().flat_map(|plan| &plan.objects) {
            let (pod, labels) =
                (&object["spec"]["template"]["spec"], &object["spec"]["template"]["metadata"]["labels"]);
            let component = &labels["app.kubernetes.io/component"];
            let port = match component.as_str() {
                Some("provider-proxy") => labels::SERVING_PORT_NAME,
                Some(_) => labels::ADMIN_PORT_NAME,
                None => continue,
            };
            let answers = |container: &Value| {
                let ports = container["ports"].as_array().expect("ports");
                ports.iter().any(|open| open["name"] == port)
            };
            assert!(pod["containers"].as_array().is_some_and(|all| all.iter().any(answers)), "{pod}");
            assert!(operator_reaches(labels, port), "{component} at {port}");
            asked.push(component.as_str().expect("text").to_owned());
        }
    }
    asked.sort();
    asked.dedup();
    assert_eq!(asked, ["engine", "fetch", "provider-proxy"]);
}

#[test]
fn the_charts_policy_names_every_annotation_that_validation_refuses() {
    let golden = include_str!("../../charts/weighbridge/golden/default.yaml");
    for prefix in CONFINING_ANNOTATIONS {
        assert!(golden.contains(&format!("'{prefix}'")), "{prefix}");
    }
}

#[test]
fn the_check_sees_what_restricted_forbids() {
    let good = deployments(&planned(include_str!("fixtures/token.yaml"))).remove(0);
    let template =
        || serde_json::to_value(good.spec.as_ref().map(|spec| &spec.template)).expect("a template");
    let breaks: [(&str, Value); 11] = [
        (
            "/metadata/annotations",
            json!({"container.apparmor.security.beta.kubernetes.io/engine": "unconfined"}),
        ),
        ("/metadata/annotations", json!({"cdi.k8s.io/gpus": "nvidia.com/gpu=all"})),
        ("/spec/hostNetwork", json!(true)),
        ("/spec/automountServiceAccountToken", json!(true)),
        ("/spec/securityContext/runAsNonRoot", json!(false)),
        ("/spec/securityContext/seccompProfile/type", json!("Unconfined")),
        ("/spec/containers/0/securityContext/allowPrivilegeEscalation", json!(true)),
        ("/spec/containers/0/securityContext/readOnlyRootFilesystem", json!(false)),
        ("/spec/containers/0/securityContext/capabilities/drop", json!([])),
        ("/spec/containers/0/ports/0/hostPort", json!(8000)),
        ("/spec/volumes/0", json!({"name": "host", "hostPath": {"path": "/"}})),
    ];
    for (pointer, value) in breaks {
        let mut broken = template();
        let (parent, key) = pointer.rsplit_once('/').expect("a path");
        match broken.pointer_mut(parent) {
            Some(Value::Array(items)) => items[key.parse::<usize>().expect("an index")] = value,
            Some(fields) => fields[key] = value,
            None => panic!("{pointer}"),
        }
        let PodTemplateSpec { metadata, spec } = serde_json::from_value(broken).expect("a template");
        let found = restricted::violations(metadata.as_ref(), &spec.expect("a pod"));
        assert_eq!(found.len(), 1, "{pointer}: {found:?}");
    }
}
