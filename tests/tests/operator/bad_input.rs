//! What is too much, and names as long as they may be.

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::ListParams;
use kube::runtime::watcher::Config;
use serde_json::{Value, json};
use weighbridge_crds::{ModelAccess, ModelCache};
use weighbridge_tests::testbed::wait;

use super::caches::{fetched, volume};
use super::harness::{Bench, SOURCE, apply};

/// An engine with a variable of this value.
fn with_variable(value: &str) -> Value {
    let variable = json!({"name": "NOTE", "value": value});
    let template = json!({"spec": {"containers": [{"name": "engine", "env": [variable]}]}});
    json!({"openWeights": {"source": SOURCE, "podTemplate": template}})
}

async fn account(bench: &Bench) -> Result<Value> {
    apply(&bench.api::<Secret>(), "account", json!({"stringData": {"token": "x"}})).await?;
    Ok(json!({"kind": "OpenAICompatible", "baseURL": "https://api.example.com/v1",
        "apiKeys": [{"name": "account", "key": "token"}]}))
}

#[tokio::test]
async fn weights_with_more_than_an_annotation_holds_are_refused_by_name() -> Result<()> {
    let bench = Bench::new("large").await?;
    for bytes in [200 << 10, 1_000_000] {
        bench.model("m", with_variable(&"x".repeat(bytes))).await?;
        bench
            .model_says("m", "Accepted", "the field and the fix", move |condition| {
                condition.reason == "InvalidSpec"
                    && condition.message.contains(&format!("openWeights has {} KiB", (bytes >> 10) + 1))
                    && condition
                        .message
                        .contains("put what is long in openWeights.podTemplate into a ConfigMap")
            })
            .await?;
    }
    ensure!(bench.api::<Deployment>().list(&ListParams::default()).await?.items.is_empty());
    // What is just allowed is no trouble to anybody after us.
    bench.model("m", with_variable(&"x".repeat(127 << 10))).await?;
    bench.model_is_ready("m").await?;
    Ok(())
}

#[tokio::test]
async fn names_as_long_as_they_may_be_make_children_that_are_taken() -> Result<()> {
    let bench = Bench::new("long-names").await?;
    let name = "a23456789-123456789-123456789-1234567890";
    assert_eq!(name.len(), 40);
    let class = volume(&bench).await?;
    let provider = account(&bench).await?;
    bench.provider(name, provider).await?;
    let claim = json!({"size": "10Gi", "storageClassName": class});
    apply(&bench.api::<ModelCache>(), name, json!({"spec": {"claim": claim}})).await?;
    let other = name.replace('a', "b");
    bench.model(&other, json!({"external": {"provider": name, "model": "large"}})).await?;
    bench.model(name, json!({"openWeights": {"source": SOURCE, "cache": name}})).await?;
    let key = json!({"name": "k".repeat(63), "sha256": format!("sha256:{}", "0".repeat(64))});
    let adapted = format!("{name}:{}", "a".repeat(63));
    let access = json!({"keys": [key], "models": [name, other, adapted]});
    apply(&bench.api::<ModelAccess>(), &"a".repeat(253), json!({"spec": access})).await?;
    fetched(&bench, 700).await?;
    bench.provider_says(name, "Ready", "is True", |condition| condition.status == "True").await?;
    bench.model_is_ready(name).await?;
    bench.model_is_ready(&other).await?;
    wait::until(&bench.api(), name, "the cache to be ready", |cache: &ModelCache| {
        let conditions = cache.status.iter().flat_map(|status| &status.conditions);
        conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    })
    .await?;
    bench
        .access_says(&"a".repeat(253), "Ready", "two are there", |condition| condition.status == "True")
        .await?;
    let hardware = bench.profile(json!({"cpu": "1", "memory": "1Gi", "gpu": {"memory": "24Gi"}})).await?;
    let read = json!({"openWeights": {"source": SOURCE, "resources": {"profile": hardware}}});
    bench.model(&name.replace('a', "c"), read).await?;
    wait::until_all(&bench.api::<Pod>(), Config::default(), "a pod that reads", |pods| {
        pods.iter().any(|pod| pod.metadata.name.as_ref().is_some_and(|name| name.contains("-inspect-")))
    })
    .await?;
    Ok(())
}
