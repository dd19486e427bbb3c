//! Weights through a ModelCache: one Job for all who ask, engines that only read, and room that is made.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::runtime::watcher::Config;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use weighbridge_crds::{CacheEntry, EntryState, ModelCache, ModelDeployment, labels};
use weighbridge_tests::testbed::wait;

use super::harness::{Bench, SOURCE, apply};

const OTHER: &str = "hf://org/repo/other.gguf";

/// A volume that goes with the namespace, for the claim of a class of its own.
pub async fn volume(bench: &Bench) -> Result<String> {
    let name = bench.namespace.name().to_owned();
    let namespace = Api::<Namespace>::all(bench.client.clone()).get(&name).await?;
    let owner = json!([{"apiVersion": "v1", "kind": "Namespace", "name": name, "uid": namespace.uid()}]);
    let api: Api<PersistentVolume> = Api::all(bench.client.clone());
    let spec = json!({"capacity": {"storage": "20Gi"}, "accessModes": ["ReadWriteMany"],
        "storageClassName": name, "hostPath": {"path": "/nowhere"}});
    apply(&api, &name, json!({"metadata": {"ownerReferences": owner}, "spec": spec})).await?;
    Ok(name)
}

async fn cache(bench: &Bench, fields: Value) -> Result<ModelCache> {
    let mut spec = json!({"claim": {"size": "10Gi", "storageClassName": bench.namespace.name()}});
    for (name, value) in fields.as_object().into_iter().flatten() {
        spec[name] = value.clone();
    }
    apply(&bench.api(), "store", json!({"spec": spec})).await
}

/// The pod of the Job that does `component`'s work, once it runs.
async fn pod_of(bench: &Bench, component: &str) -> Result<Pod> {
    let watched = Config::default().labels(&format!("app.kubernetes.io/component={component}"));
    let runs = |pod: &Pod| {
        pod.metadata.deletion_timestamp.is_none()
            && pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
    };
    let found =
        wait::until_all(&bench.api(), watched, component, move |pods: &[Pod]| pods.iter().any(runs)).await?;
    found.into_iter().find(runs).context("it was there")
}

/// Has the pod end, as a kubelet tells it.
async fn ends(bench: &Bench, pod: &Pod, code: i32, words: &str) -> Result<()> {
    let mut containers =
        serde_json::to_value(pod.status.as_ref().and_then(|status| status.container_statuses.as_ref()))?;
    containers[0]["state"] = json!({"terminated": {"exitCode": code, "message": words}});
    let phase = if code == 0 { "Succeeded" } else { "Failed" };
    let mut conditions = pod.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    for condition in conditions.iter_mut().filter(|condition| condition.type_.ends_with("Ready")) {
        condition.status = "False".to_owned();
    }
    let status = json!({"phase": phase, "conditions": conditions, "containerStatuses": containers});
    let status = Patch::Merge(json!({ "status": status }));
    bench.api::<Pod>().patch_status(&pod.name_any(), &PatchParams::default(), &status).await?;
    Ok(())
}

pub async fn fetched(bench: &Bench, bytes: u64) -> Result<()> {
    let pod = pod_of(bench, "fetch").await?;
    let words =
        json!({"digest": format!("sha256:{}", "0".repeat(64)), "bytes": bytes, "fetchedBytes": bytes});
    ends(bench, &pod, 0, &words.to_string()).await
}

async fn entries_are(
    bench: &Bench,
    what: &str,
    fits: impl Fn(&[CacheEntry]) -> bool + Clone + Send + Sync + 'static,
) -> Result<ModelCache> {
    wait::until(&bench.api(), "store", what, move |cache: &ModelCache| {
        fits(cache.status.as_ref().map(|status| status.entries.as_slice()).unwrap_or_default())
    })
    .await
}

fn artifact(
    reason: &'static str,
    words: &'static str,
) -> impl Fn(&Condition) -> bool + Clone + Send + Sync + 'static {
    move |condition| condition.reason == reason && condition.message.contains(words)
}

#[tokio::test]
async fn weights_are_fetched_once_for_all_and_engines_only_read_them() -> Result<()> {
    let bench = Bench::new("cache").await?;
    volume(&bench).await?;
    let secrets: Api<Secret> = bench.api();
    apply(&secrets, "hub", json!({"stringData": {"token": "hf_canary"}})).await?;
    let asks = json!({"openWeights": {"source": SOURCE, "cache": "store",
        "hub": {"tokenSecret": {"name": "hub", "key": "token"}}}});
    bench.model("a", asks.clone()).await?;
    bench
        .model_says("a", "Accepted", "the missing cache", artifact("ModelCacheNotFound", "\"store\""))
        .await?;
    cache(&bench, json!({})).await?;
    bench.model("b", asks).await?;
    for model in ["a", "b"] {
        bench
            .model_says(model, "ArtifactReady", "waits", artifact("Progressing", "ModelCache store"))
            .await?;
    }
    let jobs: Api<Job> = bench.api();
    let pod = pod_of(&bench, "fetch").await?;
    assert_eq!(jobs.list(&ListParams::default()).await?.items.len(), 1, "one for both");
    ensure!(serde_json::to_string(&pod.spec)?.contains("HF_TOKEN"));
    ensure!(bench.api::<Deployment>().list(&ListParams::default()).await?.items.is_empty());
    fetched(&bench, 1_500_000_000).await?;
    for model in ["a", "b"] {
        bench.model_is_ready(model).await?;
        bench.model_says(model, "ArtifactReady", "is held", artifact("ArtifactHeld", "1.5 GB")).await?;
    }
    for engine in bench.api::<Deployment>().list(&ListParams::default()).await?.items {
        let text = serde_json::to_string(&engine.spec)?;
        ensure!(
            !text.contains("HF_TOKEN") && text.contains("\"claimName\":\"store-cache\",\"readOnly\":true"),
            "{text}"
        );
    }
    let claim: PersistentVolumeClaim = bench.api().get("store-cache").await?;
    assert_eq!(claim.owner_references()[0].kind, "ModelCache");
    let seen = entries_are(&bench, "held, and used by both", |entries| {
        entries.len() == 1 && entries[0].state == EntryState::Held && entries[0].used_by == ["a", "b"]
    })
    .await?;
    assert_eq!(seen.status.map(|status| status.bytes), Some(1_500_000_000));
    wait::until_all(&jobs, Config::default(), "no Job left", |jobs: &[Job]| jobs.is_empty()).await?;
    let held = bench.operator.count("weighbridge_cache_bytes", &["cache=\"store\""]).await?;
    assert_eq!(held, 1_500_000_000.0);

    // At rest nothing is written, however often it is looked at.
    let touched = async |round: u32| -> Result<()> {
        let done = bench.operator.count("weighbridge_reconcile_total", &["ModelCache"]).await?;
        let touch = json!({"metadata": {"annotations": {"touched": round.to_string()}}});
        super::harness::merge(&bench.api::<ModelCache>(), "store", touch).await?;
        let began = std::time::Instant::now();
        while bench.operator.count("weighbridge_reconcile_total", &["ModelCache"]).await? <= done {
            ensure!(began.elapsed() < wait::DEADLINE, "it is not looked at");
        }
        Ok(())
    };
    touched(0).await?;
    let before = bench.operator.writes().await?;
    for round in 1..4 {
        touched(round).await?;
    }
    assert_eq!(bench.operator.writes().await?, before);

    bench.api::<ModelDeployment>().delete("b", &DeleteParams::default()).await?;
    entries_are(&bench, "used by one", |entries| entries.iter().any(|entry| entry.used_by == ["a"])).await?;
    // The claim waits for the pods that read it: nothing is taken from under them.
    bench.api::<ModelCache>().delete("store", &DeleteParams::default()).await?;
    bench
        .model_says("a", "Accepted", "the missing cache", artifact("ModelCacheNotFound", "\"store\""))
        .await?;
    let claims: Api<PersistentVolumeClaim> = bench.api();
    let going = |claim: &PersistentVolumeClaim| claim.metadata.deletion_timestamp.is_some();
    wait::until(&claims, "store-cache", "is on its way out, and held by the pods", going).await?;
    bench.api::<ModelDeployment>().delete("a", &DeleteParams::default()).await?;
    wait::until_gone(&claims, "store-cache").await?;
    Ok(())
}

#[tokio::test]
async fn why_nothing_comes_is_told_and_what_nobody_needs_makes_room() -> Result<()> {
    let bench = Bench::new("room").await?;
    volume(&bench).await?;
    cache(&bench, json!({"maxSize": "1k"})).await?;
    bench.model("m", json!({"openWeights": {"source": SOURCE, "cache": "store"}})).await?;
    let pod = pod_of(&bench, "fetch").await?;
    let words = "Error: can't fetch hf://org/repo/file.gguf: the hub answered 500";
    ends(&bench, &pod, 1, words).await?;
    bench
        .model_says("m", "ArtifactReady", "the hub's words", artifact("DownloadFailed", "answered 500"))
        .await?;
    // The Job tries again by itself.
    fetched(&bench, 700).await?;
    bench.model_is_ready("m").await?;

    bench.model("m", json!({"openWeights": {"source": OTHER, "cache": "store"}})).await?;
    fetched(&bench, 700).await?;
    // Not before the last pod that reads it is gone, which is after the new one is ready.
    let pod = pod_of(&bench, "evict").await?;
    let engines: Api<Deployment> = bench.api();
    let left = engines.list(&ListParams::default()).await?.items;
    assert_eq!(left.len(), 1);
    ensure!(serde_json::to_string(&left[0].spec)?.contains(OTHER));
    let marked = |entries: &[CacheEntry]| {
        entries.iter().any(|entry| entry.source == SOURCE && entry.state == EntryState::Evicting)
    };
    entries_are(&bench, "marked", marked).await?;
    ends(&bench, &pod, 0, &json!({"evicted": ["x"], "kept": [], "freedBytes": 700}).to_string()).await?;
    let alone = |entries: &[CacheEntry]| {
        entries.len() == 1 && entries[0].source == OTHER && entries[0].state == EntryState::Held
    };
    entries_are(&bench, "only the other one", alone).await?;
    wait::until_all(&bench.api(), Config::default(), "no Job left", |jobs: &[Job]| jobs.is_empty()).await?;
    bench.model_is_ready("m").await?;
    Ok(())
}

#[tokio::test]
async fn a_claim_that_is_named_is_waited_for() -> Result<()> {
    let bench = Bench::new("claim").await?;
    let class = volume(&bench).await?;
    cache(&bench, json!({"claim": {"name": "weights"}, "prefetch": [{"source": SOURCE}]})).await?;
    let says = |what: &'static str, fits: fn(&Condition) -> bool| {
        let caches: Api<ModelCache> = bench.api();
        async move {
            wait::until(&caches, "store", what, move |cache: &ModelCache| {
                let conditions = cache.status.iter().flat_map(|status| &status.conditions);
                conditions.into_iter().any(|condition| condition.type_ == "Ready" && fits(condition))
            })
            .await
        }
    };
    says("the missing claim", |condition| {
        condition.reason == "ClaimNotReady" && condition.message.contains("\"weights\"")
    })
    .await?;
    let claims: Api<PersistentVolumeClaim> = bench.api();
    let spec = json!({"accessModes": ["ReadWriteMany"], "storageClassName": class,
        "resources": {"requests": {"storage": "10Gi"}}});
    apply(&claims, "weights", json!({"spec": spec})).await?;
    fetched(&bench, 700).await?;
    says("all is held", |condition| condition.status == "True").await?;
    // It is somebody's: it stays as it is, and where it is.
    let claim = claims.get("weights").await?;
    ensure!(claim.owner_references().is_empty() && !claim.labels().contains_key(labels::CACHE));
    bench.api::<ModelCache>().delete("store", &DeleteParams::default()).await?;
    wait::until_gone(&bench.api::<ModelCache>(), "store").await?;
    ensure!(claims.get("weights").await?.metadata.deletion_timestamp.is_none());
    Ok(())
}
