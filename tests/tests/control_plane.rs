//! The testbed's own promises: the control plane is the real one, and simulated nodes behave.

use anyhow::Result;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, PostParams};
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use weighbridge_tests::testbed::{self, Behaviour, L4, SimulatedNode, TestNamespace, audit, wait};

/// A pod template that Pod Security "restricted" accepts and that asks for `gpus`.
fn template(gpus: u32) -> Value {
    json!({
        "metadata": {"labels": {"app": "demo"}},
        "spec": {
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "containers": [{
                "name": "main", "image": "images.weighbridge.local/demo:1",
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                "resources": {"limits": {"nvidia.com/gpu": gpus.to_string()}},
            }],
        },
    })
}

fn deployment(replicas: u32, gpus: u32) -> Result<Deployment> {
    Ok(serde_json::from_value(json!({
        "metadata": {"name": "demo"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "demo"}}, "template": template(gpus),
        },
    }))?)
}

fn pod(gpus: u32) -> Result<Pod> {
    let mut pod = template(gpus);
    pod["metadata"]["name"] = json!("demo");
    Ok(serde_json::from_value(pod)?)
}

fn condition<'pod>(pod: &'pod Pod, kind: &str) -> Option<&'pod k8s_openapi::api::core::v1::PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

fn ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|condition| condition.status == "True")
}

fn available(deployment: &Deployment) -> i32 {
    deployment.status.as_ref().and_then(|status| status.available_replicas).unwrap_or_default()
}

#[tokio::test]
async fn a_deployment_gets_pods_on_a_gpu_node_and_they_become_ready() -> Result<()> {
    let client = testbed::client().await?;
    let node = SimulatedNode::new("gpu").with_gpus(L4, 2);
    let namespace = TestNamespace::with_nodes(&client, "deployment", vec![node]).await?;
    let deployments: Api<Deployment> = namespace.api();
    deployments.create(&PostParams::default(), &deployment(2, 1)?).await?;
    wait::until(&deployments, "demo", "two available replicas", |found| available(found) == 2).await?;

    let pods: Api<Pod> = namespace.api();
    let pods = pods.list(&Default::default()).await?.items;
    let addresses: std::collections::BTreeSet<_> =
        pods.iter().filter_map(|pod| pod.status.as_ref()?.pod_ip.clone()).collect();
    assert_eq!(addresses.len(), 2, "each pod has an address of its own");
    for pod in &pods {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        assert_eq!(&node, &namespace.nodes()[0]);
        let node = Api::<Node>::all(client.clone()).get(&node).await?;
        assert_eq!(node.labels()["nvidia.com/gpu.product"], "NVIDIA-L4");
        assert_eq!(node.labels()["nvidia.com/gpu.memory"], "23034");
    }
    Ok(())
}

#[tokio::test]
async fn a_pod_that_asks_for_more_gpus_than_there_are_is_pending_in_the_schedulers_words() -> Result<()> {
    let client = testbed::client().await?;
    let node = SimulatedNode::new("gpu").with_gpus(L4, 2);
    let namespace = TestNamespace::with_nodes(&client, "too-many-gpus", vec![node]).await?;
    let pods: Api<Pod> = namespace.api();
    pods.create(&PostParams::default(), &pod(3)?).await?;
    let unschedulable = |pod: &Pod| {
        condition(pod, "PodScheduled")
            .is_some_and(|condition| condition.reason.as_deref() == Some("Unschedulable"))
    };
    let found = wait::until(&pods, "demo", "the scheduler's refusal", unschedulable).await?;
    let words = condition(&found, "PodScheduled").and_then(|condition| condition.message.clone());
    assert!(words.unwrap_or_default().contains("1 Insufficient nvidia.com/gpu"));
    Ok(())
}

#[tokio::test]
async fn pod_security_restricted_is_enforced() -> Result<()> {
    let client = testbed::client().await?;
    let namespace = TestNamespace::create(&client, "restricted").await?;
    let mut bad = pod(0)?;
    if let Some(spec) = &mut bad.spec {
        spec.security_context = None;
    }
    let refusal = namespace.api::<Pod>().create(&PostParams::default(), &bad).await.unwrap_err().to_string();
    assert!(refusal.contains("violates PodSecurity \"restricted"), "{refusal}");
    assert!(refusal.contains("runAsNonRoot"), "{refusal}");
    Ok(())
}

#[tokio::test]
async fn pods_fare_as_the_test_says_and_recover_when_it_says_so() -> Result<()> {
    let client = testbed::client().await?;
    let namespace = TestNamespace::create(&client, "behaviour").await?;
    namespace.pods_fare(Behaviour::ImagePullFailure).await?;
    let pods: Api<Pod> = namespace.api();
    pods.create(&PostParams::default(), &pod(0)?).await?;
    let state = |pod: &Pod| -> Value {
        let status = pod.status.as_ref().and_then(|status| status.container_statuses.clone());
        json!(status.unwrap_or_default().first())
    };
    wait::until(&pods, "demo", "the failing pull", |pod| {
        state(pod)["state"]["waiting"]["reason"] == "ImagePullBackOff"
    })
    .await?;
    namespace.pods_fare(Behaviour::OutOfMemory).await?;
    wait::until(&pods, "demo", "the memory kill", |pod| {
        state(pod)["lastState"]["terminated"]["reason"] == "OOMKilled"
    })
    .await?;
    namespace.pods_fare(Behaviour::NeverReady).await?;
    wait::until(&pods, "demo", "running, not ready", |pod| {
        state(pod)["state"]["running"].is_object() && !ready(pod)
    })
    .await?;
    namespace.pods_fare(Behaviour::LingersWhenDeleted).await?;
    wait::until(&pods, "demo", "readiness", ready).await?;
    pods.delete("demo", &DeleteParams::default()).await?;
    wait::until(&pods, "demo", "the end of readiness while it drains", |pod| !ready(pod)).await?;
    namespace.pods_fare(Behaviour::Ready).await?;
    wait::until_gone(&pods, "demo").await
}

#[tokio::test]
async fn writes_are_known_by_who_made_them() -> Result<()> {
    let client = testbed::client().await?;
    let namespace = TestNamespace::create(&client, "audit").await?;
    namespace.api().create(&PostParams::default(), &deployment(1, 0)?).await?;
    let pods: Api<Pod> = namespace.api();
    wait::until_all(&pods, watcher::Config::default(), "a ready pod", |pods| pods.iter().any(ready)).await?;
    let writes = audit::writes(namespace.name())?;
    let by = |user: &str, resource: &str| {
        writes.iter().any(|write| write.user.username == user && write.object_ref.resource == resource)
    };
    assert!(by("admin", "deployments"));
    assert!(by("system:serviceaccount:kube-system:replicaset-controller", "pods"));
    Ok(())
}

#[tokio::test]
async fn a_namespace_goes_with_everything_in_it() -> Result<()> {
    let client = testbed::client().await?;
    let node = SimulatedNode::new("gpu").with_gpus(L4, 1);
    let namespace = TestNamespace::with_nodes(&client, "gone", vec![node]).await?;
    let own = namespace.nodes()[0].clone();
    let deployments: Api<Deployment> = namespace.api();
    deployments.create(&PostParams::default(), &deployment(1, 1)?).await?;
    wait::until(&deployments, "demo", "an available replica", |found| available(found) == 1).await?;
    namespace.delete().await?;
    assert!(Api::<Node>::all(client).get_opt(&own).await?.is_none());
    Ok(())
}
