//! Claims of GPUs by dynamic resource allocation: what they ask for, whose their templates are, and when they go.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A fixture that can't be read fails the test.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::resource::v1::ResourceClaimTemplate;
use kube::ResourceExt;
use serde_json::{Value, json};
use weighbridge_crds::ModelDeployment;
use weighbridge_crds::condition::Reason;
use weighbridge_operator::plan::{
    self, Bounds, Images, ModelPlan, ObservedModel, Proxies, PullPolicy, restricted,
};
use weighbridge_operator::validate::{self, ModelReferences, Named, Place, Refusal, ValidatedModel};

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

/// A model with these fields of `openWeights`, on a profile with this `gpu`.
fn validated(gpu: Value, fields: Value) -> Result<ValidatedModel, Refusal> {
    let mut weights = json!({"source": "hf://o/r/f.gguf", "resources": {"profile": "p"}});
    weights.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let model: ModelDeployment =
        serde_json::from_value(json!({"apiVersion": "serving.weighbridge.dev/v1alpha1",
        "kind": "ModelDeployment", "metadata": {"name": "m", "namespace": "n", "uid": "u", "generation": 1},
        "spec": {"openWeights": weights}}))
        .unwrap();
    let profile = json!({"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ResourceProfile",
        "metadata": {"name": "p"}, "spec": {"cpu": "1", "memory": "1Gi", "gpu": gpu}});
    let references = ModelReferences {
        profile: Named::Found(serde_json::from_value(profile).unwrap()),
        ..ModelReferences::NOTHING
    };
    validate::model(&model, &references, Place::Cluster)
}

fn plan(gpu: Value, fields: Value, observed: &ObservedModel) -> ModelPlan {
    plan::model(&validated(gpu, fields).unwrap(), observed, &images())
}

fn class(more: Value) -> Value {
    let mut gpu = json!({"deviceClass": "gpu.nvidia.com"});
    gpu.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    gpu
}

/// A planned Deployment as a server would have it.
fn stored(plan: &ModelPlan) -> Arc<Deployment> {
    let mut deployment = plan.children.deployment.clone().unwrap();
    deployment.metadata.uid = Some(format!("uid of {}", deployment.name_any()));
    Arc::new(deployment)
}

fn seen(deployments: &[&Arc<Deployment>], templates: &[ResourceClaimTemplate]) -> ObservedModel {
    ObservedModel {
        deployments: deployments.iter().map(|deployment| Arc::clone(deployment)).collect(),
        claim_templates: templates.iter().cloned().map(Arc::new).collect(),
        ..ObservedModel::default()
    }
}

fn owners(template: &ResourceClaimTemplate) -> Vec<String> {
    template.owner_references().iter().map(|owner| format!("{} {}", owner.kind, owner.name)).collect()
}

/// Everything but `resourceClaims` and `claims` is as with a device plugin.
#[test]
fn a_pod_names_a_claim_of_as_many_devices_as_its_gpus() {
    let selectors = json!(["device.driver == 'gpu.nvidia.com'"]);
    let gpu = class(json!({"count": 2, "product": "NVIDIA-L4", "selectors": selectors}));
    let made = plan(gpu, json!({}), &ObservedModel::default());
    let [template] = &made.claim_templates[..] else { panic!("{:?}", made.claim_templates) };
    assert_eq!(
        serde_json::to_value(&template.spec).unwrap(),
        json!({"spec": {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu.nvidia.com",
            "allocationMode": "ExactCount", "count": 2,
            "selectors": [{"cel": {"expression": "device.driver == 'gpu.nvidia.com'"}}]}}]}}})
    );
    let deployment = made.children.deployment.as_ref().unwrap();
    assert_eq!(template.namespace(), deployment.namespace());
    assert_eq!(template.labels()["serving.weighbridge.dev/model-uid"], "u");
    let pods = &deployment.spec.as_ref().unwrap().template;
    let pod = pods.spec.as_ref().unwrap();
    assert_eq!(restricted::violations(pods.metadata.as_ref(), pod), Vec::<String>::new());
    let mut pod = serde_json::to_value(pod).unwrap();
    assert_eq!(
        pod["resourceClaims"].take(),
        json!([{"name": "gpu", "resourceClaimTemplateName": template.name_any()}])
    );
    let resources = &mut pod["containers"][0]["resources"];
    assert_eq!(resources["claims"].take(), json!([{"name": "gpu"}]));
    assert!(!resources.to_string().contains("nvidia.com"), "{resources}");
    let arguments = pod["containers"][0]["args"].to_string();
    assert!(arguments.contains("--device=cuda") && arguments.contains("--tensor-parallel=2"), "{arguments}");
    assert_eq!(pod["nodeSelector"], json!({"nvidia.com/gpu.product": "NVIDIA-L4"}));
    assert_eq!(pod["tolerations"][0]["key"], "nvidia.com/gpu");
}

#[test]
fn a_template_is_named_after_what_it_asks_for_and_nothing_else() {
    let name = |gpu: Value, fields: Value| {
        plan(gpu, fields, &ObservedModel::default()).claim_templates[0].name_any()
    };
    let one = name(class(json!({})), json!({}));
    assert!(one.strip_prefix("m-gpu-").is_some_and(|hash| hash.len() == 10), "{one}");
    assert_eq!(one, name(class(json!({"product": "NVIDIA-L4"})), json!({"engine": {"contextLength": 64}})));
    assert_eq!(
        name(class(json!({"count": 2})), json!({})),
        name(class(json!({})), json!({"resources": {"profile": "p", "gpus": 2}}))
    );
    for other in [
        class(json!({"count": 2})),
        class(json!({"selectors": ["true"]})),
        json!({"deviceClass": "large.example.com"}),
    ] {
        assert_ne!(one, name(other.clone(), json!({})), "{other}");
    }
    let none = plan(json!({}), json!({}), &ObservedModel::default());
    assert_eq!(none.claim_templates, []);
}

/// Kubernetes takes away what has no owner left, so that whose it is decides when it goes.
#[test]
fn a_template_is_the_models_until_deployments_name_it_and_then_theirs() {
    let first = plan(class(json!({})), json!({}), &ObservedModel::default());
    let template = first.claim_templates.clone();
    assert_eq!(owners(&template[0]), ["ModelDeployment m"]);

    let one = stored(&first);
    let second = plan(class(json!({})), json!({}), &seen(&[&one], &template));
    assert_eq!(owners(&second.claim_templates[0]), [format!("Deployment {}", one.name_any())]);

    // Another revision by the same template.
    let longer = json!({"engine": {"contextLength": 64}});
    let next = stored(&plan(class(json!({})), longer.clone(), &ObservedModel::default()));
    let both = plan(class(json!({})), longer, &seen(&[&one, &next], &template));
    assert_eq!(both.claim_templates.len(), 1);
    let mut expected = [one.name_any(), next.name_any()].map(|name| format!("Deployment {name}"));
    let mut found = owners(&both.claim_templates[0]);
    expected.sort();
    found.sort();
    assert_eq!(found, expected);

    // Another template: the old one stays with the old revision, as the model's it would outlive that.
    let more = plan(class(json!({"count": 2})), json!({}), &seen(&[&one], &template));
    let by_name: Vec<_> = more.claim_templates.iter().map(|one| (one.name_any(), owners(one))).collect();
    assert_eq!(by_name[0], (template[0].name_any(), vec![format!("Deployment {}", one.name_any())]));
    assert_eq!(by_name[1].1, ["ModelDeployment m"]);
    assert_eq!(more.claim_templates[0].spec, template[0].spec);
    let plugin = plan(json!({}), json!({}), &seen(&[&one], &template));
    assert_eq!(plugin.claim_templates[0].owner_references()[0].kind, "Deployment");
    let suspended =
        plan::suspended(&validated(class(json!({})), json!({})).unwrap().owner, &seen(&[&one], &template));
    assert_eq!(owners(&suspended.claim_templates[0]), [format!("Deployment {}", one.name_any())]);

    // One on its way out is no owner that holds anything.
    let mut leaving = (*one).clone();
    leaving.metadata.deletion_timestamp =
        Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
    let leaving = Arc::new(leaving);
    let again = plan(class(json!({})), json!({}), &seen(&[&leaving], &template));
    assert_eq!(owners(&again.claim_templates[0]), ["ModelDeployment m"]);
    let other = plan(json!({}), json!({}), &seen(&[&leaving], &template));
    assert_eq!(other.claim_templates, []);

    // Somebody else's of a name that a Deployment has is left alone.
    let mut theirs = template[0].clone();
    theirs.metadata.labels = None;
    let beside = plan(json!({}), json!({}), &seen(&[&one], &[theirs]));
    assert_eq!(beside.claim_templates, []);
}

#[test]
fn what_no_claim_can_hold_is_refused() {
    for (gpu, words) in [
        (
            class(json!({"count": 33})),
            "gpu.count is 33, and a claim (device class gpu.nvidia.com) has at most 32",
        ),
        (
            json!({"deviceClass": "mig.nvidia.com", "count": 2}),
            "slices of cards (device class mig.nvidia.com) can't share a model",
        ),
    ] {
        let refused = validated(gpu.clone(), json!({})).unwrap_err();
        assert_eq!(refused.reason, Reason::InvalidSpec);
        assert!(refused.message.contains(words), "{gpu}: {refused}");
    }
    assert!(validated(json!({"deviceClass": "mig.nvidia.com"}), json!({})).is_ok());
    let auto = json!({"resources": {"profile": "p", "gpus": "auto"}});
    let refused = validated(class(json!({})), auto).unwrap_err();
    assert!(refused.message.contains("gpu.memory, such as 80Gi"), "{refused}");
}
