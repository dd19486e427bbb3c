//! Open weights: children, readiness, failures in words, revisions, scale, deletion.

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Pod, ResourceQuota, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use weighbridge_crds::{ModelDeployment, labels};
use weighbridge_tests::testbed::{self, Behaviour, L4, SimulatedNode, TestNamespace, wait};

use super::harness::{Bench, SOURCE, merge};

fn revision_of(model: &ModelDeployment) -> String {
    model.status.as_ref().and_then(|status| status.revision.clone()).unwrap_or_default()
}

#[tokio::test]
async fn a_model_gets_its_children_and_becomes_ready() -> Result<()> {
    let bench = Bench::new("open").await?;
    let made = bench
        .model("smol", json!({"openWeights": {"source": SOURCE, "engine": {"contextLength": 2048}}}))
        .await?;
    let model = bench.model_is_ready("smol").await?;
    let revision = revision_of(&model);
    let deployment: Deployment = bench.api().get(&format!("smol-{revision}")).await?;
    let service: Service = bench.api().get("smol-engine").await?;
    for owners in [deployment.owner_references(), service.owner_references()] {
        assert_eq!(owners[0].uid, made.uid().unwrap_or_default());
        assert_eq!(owners[0].controller, Some(true));
    }
    let status = model.status.context("a status")?;
    assert_eq!((status.replicas, status.ready_replicas), (1, 1));
    assert_eq!(
        status.served.map(|served| (served.backend, served.model)),
        Some(("Open".to_owned(), SOURCE.to_owned()))
    );
    for type_ in ["Accepted", "Scheduled", "EngineReady", "Ready"] {
        let condition = status.conditions.iter().find(|condition| condition.type_ == type_).context(type_)?;
        assert_eq!(
            (condition.status.as_str(), condition.observed_generation),
            ("True", model.metadata.generation),
            "{type_}"
        );
    }
    // What gateways read: the Service's label is on its EndpointSlices.
    let slices: Vec<EndpointSlice> = wait::until_all(
        &bench.api(),
        kube::runtime::watcher::Config::default().labels(&format!("{}=smol", labels::MODEL)),
        "an EndpointSlice with an address",
        |slices: &[EndpointSlice]| slices.iter().any(|slice| !slice.endpoints.is_empty()),
    )
    .await?;
    assert!(
        slices[0]
            .ports
            .iter()
            .flatten()
            .any(|port| port.name.as_deref() == Some("http") && port.port == Some(8000))
    );
    wait::until_all(
        &bench.api(),
        kube::runtime::watcher::Config::default(),
        "one Event of all that was made",
        |events: &[Event]| {
            let said = |event: &Event| {
                let note = event.message.clone().unwrap_or_default();
                event.involved_object.name.as_deref() == Some("smol")
                    && event.reason.as_deref() == Some("Created")
                    && ["Secret smol", "Service smol", "Deployment smol"]
                        .iter()
                        .all(|child| note.contains(child))
            };
            events.iter().any(said)
        },
    )
    .await?;
    Ok(())
}

#[tokio::test]
async fn gpus_are_asked_for_and_a_model_that_asks_too_many_says_so() -> Result<()> {
    let client = testbed::client().await?;
    let nodes = vec![SimulatedNode::new("gpu").with_gpus(L4, 2)];
    let node = TestNamespace::with_nodes(&client, "gpu", nodes).await?;
    let bench = Bench::in_namespace(client, node).await?;
    let profile = bench.profile(json!({"cpu": "1", "memory": "1Gi", "gpu": {"product": L4.product}})).await?;
    let asks = |gpus: i32| json!({"openWeights": {"source": SOURCE, "resources": {"profile": profile, "gpus": gpus}}});
    bench.model("fits", asks(1)).await?;
    bench.model_is_ready("fits").await?;
    let pods: Api<Pod> = bench.api();
    let pods = pods.list(&ListParams::default().labels(&format!("{}=fits", labels::MODEL))).await?;
    assert_eq!(
        pods.items[0].spec.as_ref().and_then(|spec| spec.node_name.as_ref()),
        bench.namespace.nodes().first()
    );
    let spec = serde_json::to_value(&pods.items[0].spec)?;
    let container = &spec["containers"][0];
    assert!(
        container["args"].as_array().is_some_and(|args| args.contains(&json!("--device=cuda"))),
        "{container}"
    );
    assert_eq!(container["resources"]["limits"]["nvidia.com/gpu"], "1");
    assert_eq!(spec["nodeSelector"]["nvidia.com/gpu.product"], L4.product);
    let tolerated = |taint: &Value| taint["key"] == "nvidia.com/gpu" && taint["effect"] == "NoSchedule";
    assert!(spec["tolerations"].as_array().is_some_and(|taints| taints.iter().any(tolerated)), "{spec}");
    let told = |condition: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
        condition.message.contains("each pod's log and /readyz say why")
    };
    bench.model_says("fits", "Ready", "what becomes of the GPU", told).await?;

    bench.model("greedy", asks(8)).await?;
    let says = |condition: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
        condition.reason == "InsufficientCapacity"
            && condition.message.contains("Insufficient nvidia.com/gpu")
    };
    bench.model_says("greedy", "Scheduled", "the scheduler's words", says).await?;
    bench.model_says("greedy", "Ready", "the same reason", says).await?;
    // Asking for less mends it, with nothing done by hand.
    bench.model("greedy", asks(1)).await?;
    bench.model_is_ready("greedy").await?;
    Ok(())
}

#[tokio::test]
async fn what_befalls_a_pod_reaches_the_model_in_words_and_passes() -> Result<()> {
    let bench = Bench::new("fate").await?;
    bench.model("m", json!({"openWeights": {"source": SOURCE}})).await?;
    for (fare, reason, words) in [
        (Behaviour::ImagePullFailure, "ImagePull", "inference-server:test"),
        (Behaviour::OutOfMemory, "OutOfMemory", "more memory"),
        (Behaviour::Crash, "CrashLoop", "code 1"),
    ] {
        bench.namespace.pods_fare(fare).await?;
        for type_ in ["EngineReady", "Ready"] {
            bench
                .model_says("m", type_, reason, move |condition| {
                    condition.reason == reason && condition.message.contains(words)
                })
                .await?;
        }
    }
    bench.namespace.pods_fare(Behaviour::Ready).await?;
    bench.model_is_ready("m").await?;
    no_pod_by_quota(&bench).await?;
    bench.model("claim", json!({"openWeights": {"source": "pvc://nowhere/file.gguf"}})).await?;
    bench
        .model_says("claim", "Ready", "the missing claim", |condition| {
            condition.reason == "ClaimNotReady" && condition.message.contains("\"nowhere\" not found")
        })
        .await?;
    Ok(())
}

/// A pod that a ResourceQuota forbids never is: its Deployment says so, and the model in its words.
async fn no_pod_by_quota(bench: &Bench) -> Result<()> {
    let quotas: Api<ResourceQuota> = bench.api();
    let quota = json!({"metadata": {"name": "full"}, "spec": {"hard": {"pods": "0"}}});
    quotas.create(&PostParams::default(), &serde_json::from_value(quota)?).await?;
    // Before it is counted, it holds nobody.
    wait::until(&quotas, "full", "its count", |quota: &ResourceQuota| {
        quota.status.as_ref().is_some_and(|status| status.hard.is_some())
    })
    .await?;
    bench.model("full", json!({"openWeights": {"source": SOURCE}})).await?;
    for type_ in ["Scheduled", "Ready"] {
        bench
            .model_says("full", type_, "the quota", |condition| {
                condition.reason == "PodsRefused" && condition.message.contains("exceeded quota: full")
            })
            .await?;
    }
    quotas.delete("full", &DeleteParams::default()).await?;
    bench.model_is_ready("full").await?;
    Ok(())
}

#[tokio::test]
async fn a_file_of_one_machine_is_refused_and_a_mended_spec_recovers() -> Result<()> {
    let bench = Bench::new("mend").await?;
    bench.model("m", json!({"openWeights": {"source": "file:///srv/m.gguf"}})).await?;
    bench
        .model_says("m", "Accepted", "names pvc://", |condition| {
            condition.reason == "InvalidSpec" && condition.message.contains("pvc://")
        })
        .await?;
    bench
        .model(
            "m",
            json!({"openWeights": {"source": SOURCE, "resources": {"profile": bench.namespace.name()}}}),
        )
        .await?;
    bench
        .model_says("m", "Ready", "the missing profile", |condition| {
            condition.reason == "ResourceProfileNotFound"
        })
        .await?;
    bench.profile(json!({"cpu": "100m", "memory": "64Mi"})).await?;
    bench.model_is_ready("m").await?;
    Ok(())
}

/// The testbed's apiserver has no image volumes, and drops them without a word.
#[tokio::test]
async fn an_image_that_the_cluster_can_t_mount_is_said_and_gets_no_pods() -> Result<()> {
    let bench = Bench::new("image").await?;
    let source = "oci://registry.example.com/models/small:v1/model.gguf";
    bench.model("m", json!({"openWeights": {"source": source, "storage": {"imageVolume": true}}})).await?;
    bench
        .model_says("m", "Ready", "no image volumes", |condition| {
            condition.reason == "ChildRefused"
                && condition.message.contains("this cluster serves no image volumes")
        })
        .await?;
    assert!(bench.api::<Deployment>().list(&ListParams::default()).await?.items.is_empty());
    merge(&bench.api::<ModelDeployment>(), "m", json!({"spec": {"openWeights": {"storage": null}}})).await?;
    bench.model_is_ready("m").await?;
    Ok(())
}

#[tokio::test]
async fn a_new_revision_comes_up_beside_the_old_one_which_then_goes() -> Result<()> {
    let bench = Bench::new("revise").await?;
    let with =
        |context: i32| json!({"openWeights": {"source": SOURCE, "engine": {"contextLength": context}}});
    bench.model("m", with(1024)).await?;
    let old = revision_of(&bench.model_is_ready("m").await?);
    // Pods of the next revision are not ready yet: the old one must stay.
    bench
        .namespace
        .script(&[
            testbed::Rule {
                pods: [(labels::REVISION.to_owned(), old.clone())].into(),
                fare: Behaviour::Ready,
            },
            testbed::Rule { pods: Default::default(), fare: Behaviour::NeverReady },
        ])
        .await?;
    bench.model("m", with(2048)).await?;
    let model = bench
        .model_says("m", "Ready", "counts only the new revision", |condition| {
            condition.reason == "Progressing"
        })
        .await?;
    let new = revision_of(&model);
    assert_ne!(new, old);
    let deployments: Api<Deployment> = bench.api();
    wait::until(&deployments, &format!("m-{new}"), "a pod that is not ready", |new| {
        new.status
            .as_ref()
            .is_some_and(|status| status.updated_replicas == Some(1) && status.ready_replicas.is_none())
    })
    .await?;
    assert!(
        deployments.get(&format!("m-{old}")).await?.metadata.deletion_timestamp.is_none(),
        "the old revision answers"
    );
    bench.namespace.pods_fare(Behaviour::Ready).await?;
    bench.model_is_ready("m").await?;
    wait::until_gone(&deployments, &format!("m-{old}")).await?;

    // Back to the first template: the same revision again.
    bench.model("m", with(1024)).await?;
    let back = wait::until(&bench.api::<ModelDeployment>(), "m", "the first revision", {
        let old = old.clone();
        move |model: &ModelDeployment| revision_of(model) == old
    })
    .await?;
    assert_eq!(revision_of(&back), old);
    wait::until_gone(&deployments, &format!("m-{new}")).await?;
    Ok(())
}

#[tokio::test]
async fn a_scale_survives_the_yaml_applied_again() -> Result<()> {
    let bench = Bench::new("scale").await?;
    let spec = json!({"openWeights": {"source": SOURCE}});
    bench.model("m", spec.clone()).await?;
    let name = format!("m-{}", revision_of(&bench.model_is_ready("m").await?));
    let models: Api<ModelDeployment> = bench.api();
    models
        .patch_scale(
            "m",
            &kube::api::PatchParams::default(),
            &kube::api::Patch::Merge(json!({"spec": {"replicas": 3}})),
        )
        .await?;
    let ready = |count: i32| {
        move |model: &ModelDeployment| {
            model
                .status
                .as_ref()
                .is_some_and(|status| status.ready_replicas == count && status.replicas == count)
        }
    };
    wait::until(&models, "m", "three ready pods", ready(3)).await?;
    let scale = models.get_scale("m").await?;
    assert_eq!(scale.status.as_ref().map(|status| status.replicas), Some(3));
    let selector = scale.status.and_then(|status| status.selector).unwrap_or_default();
    let pods: Api<Pod> = bench.api();
    assert_eq!(pods.list(&ListParams::default().labels(&selector)).await?.items.len(), 3);

    let again = bench.model("m", spec).await?;
    assert_eq!(again.spec.replicas, 3, "the YAML says nothing of replicas");
    assert_eq!(bench.api::<Deployment>().get(&name).await?.spec.and_then(|spec| spec.replicas), Some(3));

    models
        .patch_scale(
            "m",
            &kube::api::PatchParams::default(),
            &kube::api::Patch::Merge(json!({"spec": {"replicas": 0}})),
        )
        .await?;
    bench.model_says("m", "Ready", "says why", |condition| condition.reason == "ScaledToZero").await?;
    wait::until(&models, "m", "no pods", ready(0)).await?;
    Ok(())
}

#[tokio::test]
async fn a_suspended_model_has_no_pods_and_comes_back_as_it_was() -> Result<()> {
    let bench = Bench::new("suspend").await?;
    let spec = json!({"openWeights": {"source": SOURCE}, "replicas": 2});
    bench.model("m", spec).await?;
    let revision = revision_of(&bench.model_is_ready("m").await?);
    let models: Api<ModelDeployment> = bench.api();
    merge(&models, "m", json!({"spec": {"suspend": true}})).await?;
    for (type_, status) in [("Accepted", "True"), ("Active", "False"), ("Ready", "False")] {
        let says = move |condition: &Condition| {
            condition.status == status && (type_ == "Accepted" || condition.reason == "Suspended")
        };
        bench.model_says("m", type_, "is suspended", says).await?;
    }
    let none = |pods: &[Pod]| pods.is_empty();
    wait::until_all(&bench.api::<Pod>(), Default::default(), "no pod", none).await?;
    let deployments: Api<Deployment> = bench.api();
    let kept = deployments.get(&format!("m-{revision}")).await?;
    assert_eq!(kept.spec.and_then(|spec| spec.replicas), Some(0), "the revision stays");
    // Neither a wake nor a scale brings it back.
    let scale = kube::api::Patch::Merge(json!({"spec": {"replicas": 1}}));
    models.patch_scale("m", &kube::api::PatchParams::default(), &scale).await?;
    bench.model_says("m", "Active", "still", |condition| condition.reason == "Suspended").await?;
    assert_eq!(deployments.get(&format!("m-{revision}")).await?.spec.and_then(|spec| spec.replicas), Some(0));

    merge(&models, "m", json!({"spec": {"suspend": false}})).await?;
    let back = bench.model_is_ready("m").await?;
    assert_eq!((revision_of(&back), back.spec.replicas), (revision, 1));
    bench.model_says("m", "Active", "again", |condition| condition.status == "True").await?;
    Ok(())
}

#[tokio::test]
async fn deletion_takes_every_child_along() -> Result<()> {
    let bench = Bench::new("delete").await?;
    bench.model("m", json!({"openWeights": {"source": SOURCE}})).await?;
    let name = format!("m-{}", revision_of(&bench.model_is_ready("m").await?));
    bench.api::<ModelDeployment>().delete("m", &DeleteParams::default()).await?;
    wait::until_gone(&bench.api::<Deployment>(), &name).await?;
    wait::until_gone(&bench.api::<Service>(), "m-engine").await?;
    wait::until_all(
        &bench.api::<Pod>(),
        kube::runtime::watcher::Config::default(),
        "no pod",
        |pods: &[Pod]| pods.is_empty(),
    )
    .await?;
    // The name can be used again at once.
    bench.model("m", json!({"openWeights": {"source": SOURCE}})).await?;
    bench.model_is_ready("m").await?;
    Ok(())
}

#[tokio::test]
async fn drift_is_repaired() -> Result<()> {
    let bench = Bench::new("drift").await?;
    bench.model("m", json!({"openWeights": {"source": SOURCE}})).await?;
    let name = format!("m-{}", revision_of(&bench.model_is_ready("m").await?));
    let deployments: Api<Deployment> = bench.api();
    let before = deployments.get(&name).await?;
    let container = |deployment: &Deployment| {
        deployment
            .spec
            .as_ref()
            .and_then(|spec| spec.template.spec.as_ref())
            .map(|pod| pod.containers[0].clone())
    };
    let wanted = (container(&before), before.labels().clone(), before.owner_references().to_vec());

    let patch: kube::api::Patch<serde_json::Value> =
        kube::api::Patch::Strategic(json!({"spec": {"replicas": 5,
        "template": {"spec": {"containers": [{"name": "engine", "image": "images.example/other:1"}]}}}}));
    deployments.patch(&name, &kube::api::PatchParams::default(), &patch).await?;
    let same = {
        let wanted = wanted.clone();
        move |deployment: &Deployment| {
            deployment.spec.as_ref().and_then(|spec| spec.replicas) == Some(1)
                && (
                    container(deployment),
                    deployment.labels().clone(),
                    deployment.owner_references().to_vec(),
                ) == wanted
        }
    };
    wait::until(&deployments, &name, "image and replicas as planned", same.clone()).await?;
    // What nobody of ours set, so that server-side apply would leave it.
    let pod = |deployment: &Deployment| deployment.spec.as_ref().and_then(|spec| spec.template.spec.clone());
    let planned = pod(&deployments.get(&name).await?);
    let image = "images.example/other:1";
    let patch: kube::api::Patch<serde_json::Value> = kube::api::Patch::Strategic(json!({"spec": {
        "paused": true, "template": {"spec": {"serviceAccountName": "admin", "hostNetwork": true,
        "containers": [{"name": "side", "image": image}, {"name": "engine", "env": [{"name": "MORE", "value": "1"}]}],
        "initContainers": [{"name": "before", "image": image}]}}}}));
    deployments.patch(&name, &kube::api::PatchParams::default(), &patch).await?;
    let as_planned = move |deployment: &Deployment| {
        pod(deployment) == planned
            && deployment.spec.as_ref().is_some_and(|spec| spec.paused != Some(true))
            && same(deployment)
    };
    wait::until(&deployments, &name, "nothing added to its pods", as_planned.clone()).await?;
    let same = as_planned;
    // A label by which we watch, and the owner reference by which we know it, taken away.
    merge(&deployments, &name, json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}}))
        .await?;
    wait::until(&deployments, &name, "the label again", same.clone()).await?;
    merge(&deployments, &name, json!({"metadata": {"ownerReferences": null}})).await?;
    wait::until(&deployments, &name, "the owner again", same).await?;

    let services: Api<Service> = bench.api();
    let old = services.get("m-engine").await?.uid();
    services.delete("m-engine", &DeleteParams::default()).await?;
    wait::until(&services, "m-engine", "made anew", move |service: &Service| service.uid() != old).await?;
    merge(&services, "m-engine", json!({"spec": {"selector": {"else": "where"}}})).await?;
    wait::until(&services, "m-engine", "the selector as planned", |service: &Service| {
        service
            .spec
            .as_ref()
            .and_then(|spec| spec.selector.as_ref())
            .is_some_and(|selector| selector.len() == 1)
    })
    .await?;

    // While the spec is refused, what serves is kept up all the same.
    let missing = json!({"spec": {"openWeights": {"resources": {"profile": bench.namespace.name()}}}});
    merge(&bench.api::<ModelDeployment>(), "m", missing).await?;
    bench
        .model_says("m", "Ready", "the missing profile", |condition| {
            condition.reason == "ResourceProfileNotFound"
        })
        .await?;
    let old = services.get("m-engine").await?.uid();
    services.delete("m-engine", &DeleteParams::default()).await?;
    wait::until(&services, "m-engine", "made anew", move |service: &Service| service.uid() != old).await?;
    merge(&deployments, &name, json!({"spec": {"replicas": 0}})).await?;
    let replicas = |deployment: &Deployment| deployment.spec.as_ref().and_then(|spec| spec.replicas);
    wait::until(&deployments, &name, "its pod again", |kept: &Deployment| replicas(kept) == Some(1)).await?;
    Ok(())
}
