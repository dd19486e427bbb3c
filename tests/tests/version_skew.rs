//! An operator beside the CRDs of a later version, whose objects it can't all read, and beside those of an earlier one, which
//! know less than it says.
//!
//! The definitions of a cluster are one for all who use it, so that this test is a program of its own, and takes one after the
//! other.

#[allow(dead_code)]
#[path = "operator/harness.rs"]
mod harness;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher::Config;
use kube::{Api, Client};
use serde_json::{Value, json};
use weighbridge_crds::{ExternalProvider, ModelDeployment};
use weighbridge_tests::testbed::wait;

use harness::{Bench, apply, operator};

/// The definition of `plural`, with its schema changed.
async fn changed(client: &Client, plural: &str, change: fn(&mut Value)) -> Result<()> {
    let name = format!("{plural}.serving.weighbridge.dev");
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/manifests");
    let text = std::fs::read_to_string(manifests.join(format!("{name}.yaml")))?;
    let mut definition: Value = serde_saphyr::from_str(&text)?;
    change(&mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]);
    let kind = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let definitions: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::from_gvk(&kind));
    definitions.patch(&name, &PatchParams::apply("testbed").force(), &Patch::Apply(definition)).await?;
    Ok(())
}

#[tokio::test]
async fn an_operator_works_beside_definitions_of_another_version() -> Result<()> {
    let bench = Bench::new("later").await?;
    let checked = what_a_later_version_wrote_is_told_and_left_as_it_is(&bench).await;
    changed(&bench.client, "externalproviders", |_| {}).await?;
    checked?;
    let bench = Bench::new("earlier").await?;
    let checked = what_an_earlier_version_drops_is_not_written_again_and_again(&bench).await;
    changed(&bench.client, "modeldeployments", |_| {}).await?;
    checked
}

/// A status without some of its fields still says what it has, and comes to rest.
async fn what_an_earlier_version_drops_is_not_written_again_and_again(bench: &Bench) -> Result<()> {
    bench.operator.signal("TERM").await?;
    changed(&bench.client, "modeldeployments", |schema| {
        for (part, names) in
            [("spec", &["hold"][..]), ("status", &["served", "phases", "history", "rollout"])]
        {
            let known = schema[part]["properties"].as_object_mut();
            known.into_iter().for_each(|known| known.retain(|name, _| !names.contains(&name.as_str())));
        }
    })
    .await?;
    let models: Api<ModelDeployment> = bench.api();
    // As above, a moment after.
    let began = Instant::now();
    let weights = |source: &str| json!({"openWeights": {"source": source}});
    let mut unknown = weights("hf://org/repo/file.gguf");
    unknown["hold"] = json!({"maxQueued": 7});
    while bench.model("m", unknown.clone()).await.is_ok() {
        ensure!(began.elapsed() < wait::DEADLINE, "the definition never changes");
        models.delete("m", &DeleteParams::default()).await?;
        wait::until_gone(&models, "m").await?;
    }
    let fresh = operator(bench.namespace.name(), "fresh").await?;
    bench.model("m", weights("hf://org/repo/file.gguf")).await?;
    bench.model_is_ready("m").await?;
    // Another revision, with all that is told on the way to it.
    bench.model("m", weights("hf://org/repo/other.gguf")).await?;
    bench.model_is_ready("m").await?;
    let dropped = models.get("m").await?.status.context("a status")?;
    ensure!(
        dropped.served.is_none() && dropped.phases.is_empty() && dropped.history.is_empty(),
        "{dropped:?}"
    );

    let mut writes = fresh.writes().await?;
    for look in 0..40 {
        let seen = fresh.reconciles("ModelDeployment").await?;
        let touch = Patch::Merge(json!({"metadata": {"annotations": {"looked-at": look.to_string()}}}));
        models.patch("m", &PatchParams::default(), &touch).await?;
        while fresh.reconciles("ModelDeployment").await? == seen {
            ensure!(began.elapsed() < wait::DEADLINE * 2, "it looks no more");
            tokio::task::yield_now().await;
        }
        let now = fresh.writes().await?;
        // What was on its way to rest may still be told in the first looks.
        ensure!(now == writes || look < 20, "look {look} at what is at rest wrote {}", now - writes);
        writes = now;
    }
    Ok(())
}

async fn what_a_later_version_wrote_is_told_and_left_as_it_is(bench: &Bench) -> Result<()> {
    apply(&bench.api::<Secret>(), "account", json!({"stringData": {"token": "x"}})).await?;
    let spec = |kind: &str| {
        json!({"kind": kind, "baseURL": "https://api.example.com/v1",
            "apiKeys": [{"name": "account", "key": "token"}]})
    };
    bench.provider("acme", spec("OpenAICompatible")).await?;
    bench.provider_says("acme", "Ready", "is True", |condition| condition.status == "True").await?;
    // A watch that is open while a definition changes goes on with the old one for a while: who looks begins after it.
    bench.operator.signal("TERM").await?;
    changed(&bench.client, "externalproviders", |schema| {
        if let Some(kinds) = schema["spec"]["properties"]["kind"]["enum"].as_array_mut() {
            kinds.push(json!("Telepathy"));
        }
    })
    .await?;
    let resource = ApiResource::erase::<ExternalProvider>(&());
    let namespace = bench.namespace.name();
    let providers: Api<DynamicObject> = Api::namespaced_with(bench.client.clone(), namespace, &resource);
    let written = json!({"apiVersion": resource.api_version, "kind": resource.kind,
        "metadata": {"name": "acme"}, "spec": spec("Telepathy")});
    let params = PatchParams::apply("kubectl").force();
    // The apiserver goes by a definition a moment after it took it.
    let began = Instant::now();
    while let Err(error) = providers.patch("acme", &params, &Patch::Apply(&written)).await {
        ensure!(began.elapsed() < wait::DEADLINE, "{error}");
    }
    let fresh = operator(namespace, "fresh").await?;
    told_by(bench, "fresh").await?;
    let counted = fresh.count("weighbridge_reconcile_malformed_objects_total", &[]).await?;
    ensure!(counted > 0.0, "it is not counted");
    // It takes nothing away of what it can't see the owner of.
    bench.model("m", json!({"external": {"provider": "acme", "model": "large"}})).await?;
    let not_found = |condition: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
        condition.reason == "ProviderNotFound"
    };
    bench.model_says("m", "Accepted", "nobody that it knows", not_found).await?;
    let proxy = bench.api::<Deployment>().get_opt("acme-proxy").await?.context("the proxy is gone")?;
    ensure!(proxy.metadata.deletion_timestamp.is_none());
    // What it can read again it works with again.
    bench.provider("acme", spec("OpenAICompatible")).await?;
    bench.model_is_ready("m").await?;
    drop(fresh);
    Ok(())
}

/// An Event on the provider, by this operator, with the word that it does not know.
async fn told_by(bench: &Bench, identity: &'static str) -> Result<()> {
    let told = move |events: &[Event]| {
        events.iter().any(|event| {
            let words = event.message.as_deref().unwrap_or_default();
            event.reason.as_deref() == Some("Unreadable")
                && event.reporting_instance.as_deref() == Some(identity)
                && event.involved_object.name.as_deref() == Some("acme")
                && words.contains("Telepathy")
                && words.contains("update the operator")
        })
    };
    wait::until_all(&bench.api(), Config::default(), "an Event on what can't be read", told).await.map(drop)
}
