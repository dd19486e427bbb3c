//! How one revision follows another, and what is told meanwhile.

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use weighbridge_crds::{ModelDeployment, labels};
use weighbridge_tests::testbed::{self, Behaviour, L4, SimulatedNode, TestNamespace, wait};

use super::harness::{Bench, SOURCE, merge};

/// Open weights with this context, which makes the revision, and these fields beside them.
fn with(context: i32, fields: Value) -> Value {
    let mut spec = json!({"openWeights": {"source": SOURCE, "engine": {"contextLength": context}}});
    for (name, value) in fields.as_object().into_iter().flatten() {
        spec[name] = value.clone();
    }
    spec
}

fn replace() -> Value {
    json!({"rollout": {"strategy": "Replace"}})
}

fn revision_of(model: &ModelDeployment) -> String {
    model.status.as_ref().and_then(|status| status.revision.clone()).unwrap_or_default()
}

async fn deployments(bench: &Bench) -> Result<Vec<String>> {
    let found = bench.api::<Deployment>().list(&ListParams::default()).await?;
    Ok(found.items.iter().map(ResourceExt::name_any).collect())
}

#[tokio::test]
async fn by_replace_the_old_pods_are_gone_before_the_new_ones_are_made() -> Result<()> {
    let bench = Bench::new("replace").await?;
    bench.model("m", with(1024, replace())).await?;
    let old = revision_of(&bench.model_is_ready("m").await?);
    // Its streams take their time.
    bench.namespace.pods_fare(Behaviour::LingersWhenDeleted).await?;
    bench.model("m", with(2048, replace())).await?;
    for type_ in ["Scheduled", "EngineReady", "Ready"] {
        let says = |condition: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
            condition.reason == "WaitingForOldPods" && condition.message.contains("1 pod of an old revision")
        };
        bench.model_says("m", type_, "waits", says).await?;
    }
    wait::until_gone(&bench.api::<Deployment>(), &format!("m-{old}")).await?;
    let pods: Api<Pod> = bench.api();
    let going = |pods: &[Pod]| pods.len() == 1 && pods[0].metadata.deletion_timestamp.is_some();
    wait::until_all(&pods, Default::default(), "one pod that drains", going).await?;
    // Whatever else is changed meanwhile, nothing is made beside it.
    let models: Api<ModelDeployment> = bench.api();
    let scaled = merge(&models, "m", json!({"spec": {"replicas": 2}})).await?;
    let seen = move |condition: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
        condition.reason == "WaitingForOldPods" && condition.observed_generation == scaled.metadata.generation
    };
    bench.model_says("m", "Ready", "still waits", seen).await?;
    assert_eq!(deployments(&bench).await?, Vec::<String>::new());

    bench.namespace.pods_fare(Behaviour::Ready).await?;
    let model = bench.model_is_ready("m").await?;
    let new = revision_of(&model);
    assert_ne!(new, old);
    assert_eq!(deployments(&bench).await?, [format!("m-{new}")]);
    let of_new = |pods: &[Pod]| {
        pods.len() == 2 && pods.iter().all(|pod| pod.labels().get(labels::REVISION) == Some(&new))
    };
    wait::until_all(&pods, Default::default(), "two pods of the new revision", of_new).await?;
    Ok(())
}

/// Where there is no GPU to spare: by Surge both revisions wait for each other, and one field mends it.
#[tokio::test]
async fn a_rollout_that_finds_no_second_gpu_goes_on_by_replace() -> Result<()> {
    let client = testbed::client().await?;
    let nodes = vec![SimulatedNode::new("gpu").with_gpus(L4, 1)];
    let namespace = TestNamespace::with_nodes(&client, "onegpu", nodes).await?;
    let bench = Bench::in_namespace(client, namespace).await?;
    let profile = bench.profile(json!({"cpu": "1", "memory": "1Gi", "gpu": {"product": L4.product}})).await?;
    let on_gpu = |context: i32, fields: Value| {
        let mut spec = with(context, fields);
        spec["openWeights"]["resources"] = json!({"profile": profile});
        spec
    };
    bench.model("m", on_gpu(1024, json!({}))).await?;
    let first = revision_of(&bench.model_is_ready("m").await?);
    bench.model("m", on_gpu(2048, json!({}))).await?;
    bench.model_says("m", "Ready", "no GPU", |condition| condition.reason == "InsufficientCapacity").await?;
    let there = deployments(&bench).await?;
    assert!(there.len() == 2 && there.contains(&format!("m-{first}")), "the old one answers: {there:?}");

    let model = bench.model("m", on_gpu(2048, replace())).await?;
    let second = revision_of(&bench.model_is_ready("m").await?);
    wait::until_gone(&bench.api::<Deployment>(), &format!("m-{first}")).await?;
    assert_eq!(deployments(&bench).await?, [format!("m-{second}")], "the strategy is in no pod");

    // From here on each goes before the next comes, and the next before it is ready.
    let before = model.metadata.generation.context("a generation")?;
    bench.model("m", on_gpu(4096, replace())).await?;
    let third = bench.model_is_ready("m").await?;
    assert_eq!(third.metadata.generation, Some(before + 1));
    assert_eq!(deployments(&bench).await?, [format!("m-{}", revision_of(&third))]);
    Ok(())
}

#[tokio::test]
async fn what_was_before_is_recorded_listed_and_forgotten_when_it_is_there_again() -> Result<()> {
    let bench = Bench::new("history").await?;
    let records: Api<ControllerRevision> = bench.api();
    bench.model("m", with(64, json!({"drainTimeout": "90s"}))).await?;
    let first = bench.model_is_ready("m").await?;
    assert!(records.list(&ListParams::default()).await?.items.is_empty(), "there is one revision only");
    assert!(first.status.as_ref().is_some_and(|status| status.history.is_empty()));

    bench.model("m", with(128, json!({}))).await?;
    bench.model_is_ready("m").await?;
    let models: Api<ModelDeployment> = bench.api();
    let listed = |names: Vec<String>| {
        move |model: &ModelDeployment| {
            let history = model.status.iter().flat_map(|status| &status.history);
            history.map(|past| past.revision.clone()).eq(names.iter().cloned())
        }
    };
    let (old, new) = (revision_of(&first), revision_of(&models.get("m").await?));
    let model = wait::until(&models, "m", "the first one in its history", listed(vec![old.clone()])).await?;
    let past = &model.status.as_ref().context("a status")?.history[0];
    assert_eq!((past.source.as_str(), past.superseded_at.is_some()), (SOURCE, true));
    let record = records.get(&format!("m-{old}")).await?;
    let mut part = with(64, json!({"drainTimeout": "90s"}));
    assert_eq!(record.data.context("data")?.0["spec"].take(), part.take());
    assert_eq!(record.metadata.owner_references.iter().flatten().count(), 1);

    // What it holds brings that very revision back.
    bench.model("m", with(64, json!({"drainTimeout": "90s"}))).await?;
    wait::until(&models, "m", "the second one in its history", listed(vec![new.clone()])).await?;
    wait::until_gone(&records, &format!("m-{old}")).await?;
    assert_eq!(revision_of(&bench.model_is_ready("m").await?), old);
    models.delete("m", &Default::default()).await?;
    wait::until_gone(&records, &format!("m-{new}")).await?;
    Ok(())
}
