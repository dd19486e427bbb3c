//! What is too much, too long, of no Latin letters, or all at once.

use std::collections::BTreeSet;
use std::future::ready;
use std::pin::pin;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Secret, Service};
use kube::api::{DeleteParams, ListParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, watcher};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::time::timeout;
use weighbridge_crds::{ModelAccess, ModelCache, ModelDeployment, labels};
use weighbridge_tests::testbed::wait;

use super::caches::{fetched, volume};
use super::harness::{Bench, SOURCE, apply};

const MANY: usize = 1000;

/// An engine with a variable of this value.
fn with_variable(value: &str) -> Value {
    let variable = json!({"name": "NOTE", "value": value});
    let template = json!({"spec": {"containers": [{"name": "engine", "env": [variable]}]}});
    json!({"openWeights": {"source": SOURCE, "podTemplate": template}})
}

/// Waits until as many models as there are have said how they are. Each is looked at once a change, and none is kept: a view of
/// all of them after each change is what a test of a thousand would spend its time on.
async fn each_is_told_of(models: &Api<ModelDeployment>) -> Result<()> {
    let told = |model: &ModelDeployment| {
        let conditions = model.status.iter().flat_map(|status| &status.conditions);
        conditions.into_iter().any(|condition| {
            condition.type_ == "Ready" && (condition.status == "True" || condition.reason == "ScaledToZero")
        })
    };
    let mut names = BTreeSet::new();
    let watched = watcher(models.clone(), Config::default()).default_backoff().touched_objects();
    let mut watched = pin!(watched.try_filter(|model| ready(told(model))));
    let all = async {
        while names.len() < MANY {
            let model = watched.try_next().await?.context("the watch ended")?;
            names.insert(model.name_any());
        }
        anyhow::Ok(())
    };
    let ended = timeout(wait::DEADLINE * 2, all).await;
    ended.with_context(|| format!("of {MANY} models {} say how they are", names.len()))?
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
    wait::until_all(
        &bench.api::<k8s_openapi::api::core::v1::Pod>(),
        Config::default(),
        "a pod that reads",
        |pods| {
            pods.iter().any(|pod| pod.metadata.name.as_ref().is_some_and(|name| name.contains("-inspect-")))
        },
    )
    .await?;
    Ok(())
}

#[tokio::test]
async fn letters_of_every_language_come_through_unchanged() -> Result<()> {
    let bench = Bench::new("letters").await?;
    let words = "gewählt 模型 \u{1f9e8} e\u{301} \u{202e}tfel";
    let provider = account(&bench).await?;
    bench.provider("acme", provider).await?;
    bench.model("far", json!({"external": {"provider": "acme", "model": words}})).await?;
    let mut spec = with_variable(words);
    spec["openWeights"]["source"] = json!(format!("hf://org/repo/{words}.gguf"));
    spec["openWeights"]["podTemplate"]["metadata"] = json!({"annotations": {"example.com/note": words}});
    bench.model("near", spec).await?;
    let far = bench.model_is_ready("far").await?;
    assert_eq!(
        far.status.and_then(|status| status.served).map(|served| served.model),
        Some(format!("acme/{words}"))
    );
    bench.model_is_ready("near").await?;
    let made = bench.api::<Deployment>().list(&ListParams::default()).await?.items;
    let of_near =
        made.iter().filter(|made| made.metadata.name.as_ref().is_some_and(|name| name.starts_with("near-")));
    let template = serde_json::to_value(of_near.map(|made| made.spec.as_ref()).collect::<Vec<_>>())?;
    let template = &template[0]["template"];
    assert_eq!(template["metadata"]["annotations"]["example.com/note"], words);
    let container = template["spec"]["containers"][0].to_string();
    ensure!(
        container.contains(&format!("{words}.gguf")) && container.contains(&json!(words).to_string()),
        "{container}"
    );
    // No label of a pod can be like that: the apiserver's words say so, and where.
    let mut spec = with_variable("");
    spec["openWeights"]["podTemplate"]["metadata"] = json!({"labels": {"team": words}});
    bench.model("near", spec).await?;
    bench
        .model_says("near", "Accepted", "the label", |condition| {
            condition.status == "False" && condition.message.contains("spec.template.labels")
        })
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_thousand_models_come_and_go_at_once_and_the_next_one_is_served() -> Result<()> {
    let bench = Bench::new("thousand").await?;
    let models: Api<ModelDeployment> = bench.api();
    let provider = account(&bench).await?;
    bench.provider("acme", provider).await?;
    bench.provider_says("acme", "Ready", "is True", |condition| condition.status == "True").await?;
    let applied = stream::iter(0..MANY).map(|number| {
        let bench = &bench;
        // Those of the one world have no children, and those of the other have three.
        let spec = match number % 10 {
            0 => json!({"openWeights": {"source": SOURCE}, "replicas": 0}),
            _ => json!({"external": {"provider": "acme", "model": "large"}}),
        };
        async move { bench.model(&format!("m{number}"), spec).await }
    });
    applied.buffer_unordered(64).try_collect::<Vec<_>>().await?;
    each_is_told_of(&models).await?;
    models.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    let of_models = Config::default().labels(labels::MODEL);
    wait::until_all(&bench.api(), of_models.clone(), "no Deployment", <[Deployment]>::is_empty).await?;
    wait::until_all(&bench.api(), of_models, "no Service", <[Service]>::is_empty).await?;
    bench.model("next", json!({"openWeights": {"source": SOURCE}})).await?;
    bench.model_is_ready("next").await?;
    Ok(())
}
