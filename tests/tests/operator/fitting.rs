//! Hardware by the header of the weights: the pod that reads it, what is chosen by it, and what is refused.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use weighbridge_crds::{ModelDeployment, labels};
use weighbridge_tests::testbed::{self, Behaviour, L4, Rule, SimulatedNode, TestNamespace, wait};

use super::harness::{Bench, SOURCE};

/// 15 GiB of weights, and 1 GiB of keys and values for each of 16 contexts.
fn facts() -> Value {
    let device = |cards: u64| {
        json!({"cards": cards, "weights": (15_u64 << 30) / cards, "kvBlock": (2_u64 << 20) / cards, "spareBlocks": 1,
            "scratch": 0, "fullScratch": 0})
    };
    json!({"architecture": "llama", "parameters": 8_030_261_248_u64, "bytes": 15_u64 << 30,
        "bytesByType": {"BF16": 15_u64 << 30}, "layers": 32, "heads": 32, "kvHeads": 8, "headLength": 128,
        "vocabulary": 128_256, "builtContext": 8192, "contextLength": 8192, "maxSequences": 16,
        "kvBytesPerToken": 131_072, "devices": [device(1), device(2), device(4)]})
}

/// A namespace with a node of `count` GPUs, whose pods that read headers end at once.
async fn bench(hint: &str, count: u32) -> Result<Bench> {
    let client = testbed::client().await?;
    let nodes = vec![SimulatedNode::new(hint).with_gpus(L4, count)];
    let namespace = TestNamespace::with_nodes(&client, hint, nodes).await?;
    let inspections = [("app.kubernetes.io/component".to_owned(), "inspection".to_owned())].into();
    let rules = [Rule { pods: inspections, fare: Behaviour::Succeeds }];
    namespace.script(&rules).await?;
    Bench::in_namespace(client, namespace).await
}

/// The pod that reads the header of `model`, once it has ended.
async fn inspection(bench: &Bench, model: &str) -> Result<Pod> {
    let of_model = format!("{}={model}", labels::INSPECTED);
    let ended = |pod: &Pod| {
        pod.metadata.deletion_timestamp.is_none()
            && pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Succeeded")
    };
    let pods = wait::until_all(
        &bench.api(),
        kube::runtime::watcher::Config::default().labels(&of_model),
        "a pod that has read the header",
        move |pods: &[Pod]| pods.iter().any(ended),
    )
    .await?;
    pods.into_iter().find(ended).context("it was there")
}

/// Lets the pod have said what the header holds, as the kubelet would tell it.
async fn says(bench: &Bench, pod: &Pod, facts: &Value) -> Result<()> {
    let mut containers =
        serde_json::to_value(pod.status.as_ref().and_then(|status| status.container_statuses.as_ref()))?;
    containers[0]["state"]["terminated"]["message"] = json!(facts.to_string());
    let status = Patch::Merge(json!({"status": {"containerStatuses": containers}}));
    bench.api::<Pod>().patch_status(&pod.name_any(), &PatchParams::default(), &status).await?;
    Ok(())
}

async fn is_gone(bench: &Bench, model: &str) -> Result<()> {
    let of_model = format!("{}={model}", labels::INSPECTED);
    let watched = kube::runtime::watcher::Config::default().labels(&of_model);
    wait::until_all(&bench.api(), watched, "no pod that reads", |pods: &[Pod]| pods.is_empty()).await?;
    Ok(())
}

async fn engines(bench: &Bench, model: &str) -> Result<Vec<Deployment>> {
    let of_model = ListParams::default().labels(&format!("{}={model}", labels::MODEL));
    Ok(bench.api::<Deployment>().list(&of_model).await?.items)
}

#[tokio::test]
async fn as_few_gpus_as_hold_the_model_are_taken_by_its_header() -> Result<()> {
    let bench = bench("fitting", 2).await?;
    let profile = bench.profile(json!({"cpu": "1", "memory": "1Gi", "gpu": {"memory": "24Gi"}})).await?;
    let asks = json!({"openWeights": {"source": SOURCE, "resources": {"profile": profile, "gpus": "auto"}}});
    bench.model("m", asks).await?;
    let pod = inspection(&bench, "m").await?;
    ensure!(engines(&bench, "m").await?.is_empty(), "no engine comes before the header is read");
    says(&bench, &pod, &facts()).await?;
    let model = bench.model_is_ready("m").await?;
    let status = model.status.context("a status")?;
    let known = status.model.context("what the header says")?;
    assert_eq!((known.facts.architecture.as_str(), known.facts.kv_bytes_per_token), ("llama", 131_072));
    assert_eq!(status.replicas, 1, "what reads a header is no replica");
    let engines = engines(&bench, "m").await?;
    let container = serde_json::to_value(&engines[0].spec)?["template"]["spec"]["containers"][0].take();
    assert_eq!(container["resources"]["limits"]["nvidia.com/gpu"], "2");
    assert!(container["args"].to_string().contains("--tensor-parallel=2"), "{container}");
    let accepted =
        status.conditions.iter().find(|condition| condition.type_ == "Accepted").context("Accepted")?;
    assert!(accepted.message.contains("on each of 2 GPUs: weights 7.5, KV 8.0"), "{}", accepted.message);
    is_gone(&bench, "m").await?;
    let known: Api<ModelDeployment> = bench.api();
    assert!(known.get("m").await?.status.and_then(|status| status.model).is_some());
    Ok(())
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_the_sum_before_a_pod_is_made() -> Result<()> {
    let bench = bench("nofit", 2).await?;
    let profile = bench.profile(json!({"cpu": "1", "memory": "1Gi", "gpu": {"memory": "16Gi"}})).await?;
    let asks = |gpus: Value| json!({"openWeights": {"source": SOURCE, "resources": {"profile": profile, "gpus": gpus}}});
    bench.model("m", asks(json!(1))).await?;
    let pod = inspection(&bench, "m").await?;
    says(&bench, &pod, &facts()).await?;
    let refused = |condition: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
        condition.reason == "InsufficientCapacity"
            && condition.status == "False"
            && condition.message.contains("needs 16.8 GiB: weights 15.0, KV 1.0 at 1 sequence of 8192")
            && condition.message.ends_with("the card has 16.0 GiB; 2 GPUs would do")
    };
    bench.model_says("m", "Accepted", "the sum", refused).await?;
    bench.model_says("m", "Ready", "the same", refused).await?;
    is_gone(&bench, "m").await?;
    ensure!(engines(&bench, "m").await?.is_empty(), "no engine was made");
    // What it says mends it, and the header is not read again.
    bench.model("m", asks(json!(2))).await?;
    bench.model_is_ready("m").await?;
    let read = ListParams::default().labels(&format!("{}=m", labels::INSPECTED));
    ensure!(bench.api::<Pod>().list(&read).await?.items.is_empty());
    Ok(())
}

#[tokio::test]
async fn what_hinders_the_reading_reaches_the_model_in_words() -> Result<()> {
    let bench = bench("unread", 1).await?;
    bench.namespace.pods_fare(Behaviour::ImagePullFailure).await?;
    let profile = bench.profile(json!({"cpu": "1", "memory": "1Gi", "gpu": {"memory": "16Gi"}})).await?;
    bench.model("m", json!({"openWeights": {"source": SOURCE, "resources": {"profile": profile}}})).await?;
    let says = |condition: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
        condition.reason == "ImagePull"
            && condition.message.contains("the header of the weights can't be read")
    };
    bench.model_says("m", "Accepted", "the kubelet's words", says).await?;
    Ok(())
}
